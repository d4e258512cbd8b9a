//! What the server knows when it starts: a file, YAML or JSON.

use std::collections::BTreeMap;

use scaivault_contract::{Duration as Ttl, EngineName, RoleName, SecretPath};
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::route::Category;

/// What the server knows when it starts.
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
    /// Who may log in.
    pub identities: Vec<Identity>,
    /// Rules by the name of their policy.
    pub policies: BTreeMap<String, Vec<Rule>>,
    /// The secrets.
    pub secrets: BTreeMap<SecretPath, SeedSecret>,
    /// The dynamic engines.
    pub engines: BTreeMap<EngineName, Engine>,
    /// Requests a minute where they are not the published ones.
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
    /// Reads a seed. JSON is YAML too.
    pub fn new(text: &str) -> Result<Self, SeedError> {
        let seed: Self = serde_saphyr::from_str(text).map_err(|error| SeedError::Yaml(error.to_string()))?;
        for identity in &seed.identities {
            if let Some(policy) = identity.policies.iter().find(|policy| !seed.policies.contains_key(*policy))
            {
                return Err(SeedError::Policy { identity: identity.id.clone(), policy: policy.clone() });
            }
        }
        Ok(seed)
    }
}

/// Who may log in, and what it may do then.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Such as `sa:billing-prod`.
    pub id: String,
    /// The service accounts that are this identity, `namespace/name`; `*` stands for any.
    #[serde(default)]
    pub service_accounts: Vec<String>,
    /// The client credentials that are this identity.
    #[serde(default)]
    pub client: Option<ClientCredentials>,
    /// What its tokens may do.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// The policies bound to it.
    #[serde(default)]
    pub policies: Vec<String>,
    /// The dynamic roles that it may use, `engine/role`; `*` stands for any. How `ScaiVault` says that is not documented.
    #[serde(default)]
    pub dynamic: Vec<String>,
}

/// An application's name and password.
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
    /// Which paths.
    pub path_pattern: String,
    /// What may be done with them.
    pub permissions: Vec<Permission>,
}

/// What may be done with a path.
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
    /// A hint, as `ScaiVault` has it.
    #[serde(default = "default_type")]
    pub secret_type: String,
}

/// A dynamic engine. Its credentials are made up: there is no database behind it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// Its roles.
    pub roles: BTreeMap<RoleName, Role>,
}

/// A role of a dynamic engine.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// How long a lease lasts that does not ask for a time.
    pub default_ttl: Ttl,
    /// How long a lease lasts at most, with its renewals.
    pub max_ttl: Ttl,
}

/// A seed that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SeedError {
    /// Not the seed's form.
    #[error("the seed cannot be read: {0}")]
    Yaml(String),
    /// A policy that is not there.
    #[error("the identity {identity} has the policy {policy}, which the seed does not define")]
    Policy {
        /// Who has it.
        identity: String,
        /// Its name.
        policy: String,
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

    #[test]
    fn a_policy_has_to_be_there() {
        let error = Seed::new("identities: [{id: 'sa:x', policies: [none]}]").unwrap_err();
        assert!(error.to_string().contains("the policy none"), "{error}");
    }

    #[test]
    fn a_wrong_key_is_found() {
        assert!(Seed::new("secret: {}").is_err());
        assert!(Seed::new("secrets: {Upper/Case: {data: {}}}").is_err());
        assert!(Seed::new("{}").is_ok());
    }
}
