//! The server's state as a plain value: time is a parameter, and nothing waits.

use std::collections::BTreeMap;

use jiff::Timestamp;
use scaivault_contract::SecretPath;

use crate::{
    error::ApiError,
    glob,
    keys::{Fault, Keys},
    random::Random,
    route::Route,
    seed::{Identity, Permission, Rule, Seed},
};

use buckets::Buckets;
use leases::Leases;
use secrets::Secrets;
use subscriptions::{NewEvent, Subscriptions};
use tokens::Tokens;

pub(crate) mod buckets;
pub(crate) mod faults;
pub(crate) mod leases;
pub(crate) mod secrets;
pub(crate) mod subscriptions;
mod tokens;

/// All that the server knows.
pub(crate) struct Vault {
    pub(crate) tenant: String,
    audience: String,
    pub(crate) keys: Keys,
    identities: Vec<Identity>,
    policies: BTreeMap<String, Vec<Rule>>,
    pub(crate) secrets: Secrets,
    pub(crate) tokens: Tokens,
    pub(crate) leases: Leases,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) buckets: Buckets,
    pub(crate) faults: faults::Faults,
    pub(crate) random: Random,
}

impl Vault {
    pub(crate) fn new(seed: Seed, keys: Keys, random: Random, now: Timestamp) -> Self {
        let Seed { tenant, audience, token_seconds, identities, policies, secrets, engines, rate_limits } =
            seed;
        Self {
            tenant,
            audience,
            keys,
            identities,
            policies,
            secrets: Secrets::new(secrets, now),
            tokens: Tokens::new(token_seconds),
            leases: Leases::new(engines),
            subscriptions: Subscriptions::default(),
            buckets: Buckets::new(rate_limits),
            faults: faults::Faults::default(),
            random,
        }
    }

    /// Issues a token for the service account in `subject_token`.
    pub(crate) fn exchange(
        &mut self,
        subject_token: &str,
        audience: Option<&str>,
        role: Option<&str>,
        now: Timestamp,
    ) -> Result<(String, u64), ApiError> {
        if audience.is_some_and(|audience| audience != self.audience) {
            return Err(ApiError::new("token_invalid", "the audience is another one"));
        }
        let account = self.keys.verify(subject_token, &self.audience, now).map_err(|fault| match fault {
            Fault::Invalid(what) => ApiError::new("token_invalid", format!("the token is refused: {what}")),
            Fault::Expired => ApiError::new("token_expired", "the token has expired"),
        })?;
        let account = format!("{}/{}", account.namespace, account.name);
        let is_account = |pattern: &String| glob::matches(pattern, &account);
        let identity = self.identities.iter().find(|identity| {
            identity.service_accounts.iter().any(is_account) && role.is_none_or(|role| role == identity.id)
        });
        let Some(identity) = identity else {
            let wanted = role.map(|role| format!(" as {role}")).unwrap_or_default();
            let what = format!("no identity is mapped to the service account {account}{wanted}");
            return Err(ApiError::new("access_denied", what));
        };
        Ok(self.tokens.issue(&identity.id, now, &mut self.random))
    }

    /// Issues a token for client credentials; `None` if they are unknown.
    pub(crate) fn client_credentials(
        &mut self,
        id: &str,
        secret: &str,
        now: Timestamp,
    ) -> Option<(String, u64)> {
        let is_client = |identity: &&Identity| {
            identity.client.as_ref().is_some_and(|client| client.id == id && client.secret == secret)
        };
        let identity = self.identities.iter().find(is_client)?;
        Some(self.tokens.issue(&identity.id, now, &mut self.random))
    }

    /// The identity of a token, if it may use the route.
    pub(crate) fn authenticate(
        &self,
        authorization: Option<&str>,
        tenant: Option<&str>,
        route: Route,
        now: Timestamp,
    ) -> Result<Identity, ApiError> {
        let token = authorization
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or_else(|| ApiError::new("authentication_required", "no bearer token"))?;
        let id = self.tokens.identity(token, now)?;
        let identity = self.identities.iter().find(|identity| identity.id == id);
        let identity = identity.ok_or_else(|| ApiError::new("identity_not_found", "the identity is gone"))?;
        if let Some(scope) = route.scope()
            && !identity.scopes.iter().any(|held| held == scope)
        {
            return Err(ApiError::new("insufficient_scope", format!("the token lacks the scope {scope}")));
        }
        if tenant.is_some_and(|tenant| tenant != self.tenant) {
            return Err(ApiError::new("tenant_access_denied", "another tenant needs partner-admin rights"));
        }
        Ok(identity.clone())
    }

    /// Whether a policy of the identity allows the operation.
    pub(crate) fn authorize(
        &self,
        identity: &Identity,
        path: &SecretPath,
        permission: Permission,
    ) -> Result<(), ApiError> {
        let rules = identity.policies.iter().filter_map(|policy| self.policies.get(policy)).flatten();
        let mut matching = rules.filter(|rule| glob::matches(&rule.path_pattern, path.as_str()));
        let allows = |rule: &Rule| {
            rule.permissions.iter().any(|held| *held == permission || *held == Permission::Admin)
        };
        if matching.any(allows) {
            return Ok(());
        }
        let what = format!("No policy permits {} on this path", format!("{permission:?}").to_lowercase());
        Err(ApiError::of_path("access_denied", path.as_str(), what))
    }

    /// Adds a version and publishes its events.
    pub(crate) fn write(
        &mut self,
        path: &SecretPath,
        data: serde_json::Map<String, serde_json::Value>,
        secret_type: Option<String>,
        by: Writer,
        now: Timestamp,
    ) -> u64 {
        let written = self.secrets.write(path, data, secret_type, now);
        for (kind, data) in subscriptions::of_write(&written, by) {
            let event = NewEvent { kind, path, data, identity: by.identity() };
            self.subscriptions.publish(event, &self.tenant, now, &mut self.random);
        }
        written.new_version
    }
}

/// The origin of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// A `PUT` of a client.
    Person,
    /// A rotation policy.
    Rotation,
}

impl Writer {
    fn identity(self) -> &'static str {
        match self {
            Self::Person => "user:dev",
            Self::Rotation => "system:rotation-scheduler",
        }
    }
}
