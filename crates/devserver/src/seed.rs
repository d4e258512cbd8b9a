//! The initial content of the server: a YAML or JSON file.

use std::collections::BTreeMap;

use scaivault_contract::{EngineName, RoleName, SecretPath};
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::route::Category;

pub(crate) use engine::Placeholders;
pub use engine::{ConnectionUrl, Engine, Postgres, Role, Statement};

mod engine;

/// The initial content of the server.
///
/// ```yaml
/// policies:
///   billing: [{path_pattern: "environments/production/billing/**", permissions: [read]}]
/// identities:
///   - id: sa:billing-prod
///     service_accounts: [billing/billing-prod]
///     policies: [billing]
///     dynamic: [postgres-prod/readonly]
/// secrets:
///   environments/production/billing/database: {data: {username: billing, password: example}}
/// engines:
///   postgres-prod: {roles: {readonly: {default_ttl: 1h, max_ttl: 24h}}}
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Seed {
    /// The one tenant.
    pub tenant: String,
    /// The audience that a service account's token must have.
    pub audience: String,
    /// Lifetime of `ScaiVault`'s tokens in seconds.
    pub token_seconds: u64,
    /// The identities that may log in.
    pub identities: Vec<Identity>,
    /// Rules, by the name of their policy.
    pub policies: BTreeMap<String, Vec<Rule>>,
    /// The secrets.
    pub secrets: BTreeMap<SecretPath, SeedSecret>,
    /// The dynamic engines.
    pub engines: BTreeMap<EngineName, Engine>,
    /// Rate limits per minute that differ from the published ones.
    pub rate_limits: BTreeMap<Category, u32>,
}

impl Default for Seed {
    fn default() -> Self {
        Self {
            tenant: "tnt_dev".to_owned(),
            audience: "scaivault".to_owned(),
            token_seconds: 3600,
            identities: Vec::new(),
            policies: BTreeMap::new(),
            secrets: BTreeMap::new(),
            engines: BTreeMap::new(),
            rate_limits: BTreeMap::new(),
        }
    }
}

impl Seed {
    /// Parses a seed. JSON is valid YAML.
    pub fn new(text: &str) -> Result<Self, SeedError> {
        // Without the lines around the error, because they may contain a database's password.
        let options = serde_saphyr::options! { with_snippet: false };
        let seed: Self = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| SeedError::Yaml(error.to_string()))?;
        for identity in &seed.identities {
            if let Some(policy) = identity.policies.iter().find(|policy| !seed.policies.contains_key(*policy))
            {
                let defined = seed.policies.keys().cloned().collect();
                return Err(SeedError::Policy {
                    identity: identity.id.clone(),
                    policy: policy.clone(),
                    defined,
                });
            }
            if let Some(account) = identity.service_accounts.iter().find(|account| !account.contains('/')) {
                return Err(SeedError::ServiceAccount {
                    identity: identity.id.clone(),
                    account: account.clone(),
                });
            }
        }
        for (name, engine) in &seed.engines {
            engine.check().map_err(|(role, what)| SeedError::Role { engine: name.clone(), role, what })?;
        }
        Ok(seed)
    }

    /// Sets this password in the URLs of PostgreSQL servers that have none.
    #[must_use]
    pub fn with_postgres_password(mut self, password: &str) -> Self {
        let servers = self.engines.values_mut().filter_map(|engine| engine.postgres.as_mut());
        servers.for_each(|server| server.connection_url.set_password(password));
        self
    }
}

/// An identity that may log in, and its permissions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Such as `sa:billing-prod`.
    pub id: String,
    /// The service accounts of this identity, `namespace/name`; `*` matches any.
    #[serde(default)]
    pub service_accounts: Vec<String>,
    /// The client credentials of this identity.
    #[serde(default)]
    pub client: Option<ClientCredentials>,
    /// The scopes of its tokens.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// The policies bound to it.
    #[serde(default)]
    pub policies: Vec<String>,
    /// The dynamic roles that it may use, `engine/role`; `*` matches any. `ScaiVault`'s own
    /// notation is not documented.
    #[serde(default)]
    pub dynamic: Vec<String>,
}

/// The identifier and secret of an application.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCredentials {
    /// `client_id`.
    pub id: String,
    /// `client_secret`.
    pub secret: String,
}

/// A policy's rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The paths.
    pub path_pattern: String,
    /// The allowed operations.
    pub permissions: Vec<Permission>,
}

/// An operation on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Read values.
    Read,
    /// Write versions.
    Write,
    /// Delete.
    Delete,
    /// List.
    List,
    /// Rotate.
    Rotate,
    /// All of them.
    Admin,
}

/// A secret of the seed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedSecret {
    /// What it holds.
    pub data: Map<String, Value>,
    /// A type hint, as in `ScaiVault`.
    #[serde(default = "default_type")]
    pub secret_type: String,
}

/// Why a seed is invalid.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SeedError {
    /// Not in the format of a seed.
    #[error("the seed cannot be read: {0}")]
    Yaml(String),
    /// A policy that is not defined.
    #[error(
        "the identity {identity} has the policy {policy}, which the seed does not define; write it under `policies`, \
         or use one of those there: {}",
        .defined.join(", ")
    )]
    Policy {
        /// The identity.
        identity: String,
        /// Its name.
        policy: String,
        /// The defined policies.
        defined: Vec<String>,
    },
    /// An invalid service account.
    #[error(
        "the identity {identity} has the service account {account}; write namespace/name, with * for any of either"
    )]
    ServiceAccount {
        /// The identity.
        identity: String,
        /// The invalid value.
        account: String,
    },
    /// A contradictory role of an engine.
    #[error("the role {role} of the engine {engine}: {what}")]
    Role {
        /// The engine.
        engine: EngineName,
        /// Its name.
        role: RoleName,
        /// The problem and the fix.
        what: String,
    },
}

fn default_scopes() -> Vec<String> {
    ["secrets:read", "secrets:list", "dynamic:read", "subscriptions:read", "subscriptions:write"]
        .map(str::to_owned)
        .to_vec()
}

fn default_type() -> String {
    "json".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_error(text: &str, expected: &[&str]) {
        let error = Seed::new(text).unwrap_err().to_string();
        for expected in expected {
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn policies_of_an_identity_must_exist() {
        let policy = "{policies: {all: []}, identities: [{id: 'sa:x', policies: [none]}]}";
        check_error(policy, &["sa:x", "the policy none", "those there: all"]);
        let account = "identities: [{id: 'sa:x', service_accounts: [web]}]";
        check_error(account, &["sa:x", "service account web", "namespace/name"]);
    }

    #[test]
    fn a_wrong_key_is_found() {
        check_error("secret: {}", &["secret", "secrets"]);
        check_error("secrets: {Upper/Case: {data: {}}}", &["Upper/Case"]);
        check_error("rate_limits: {reads: 1}", &["reads", "batch-read"]);
        assert!(Seed::new("{}").is_ok());
    }
}
