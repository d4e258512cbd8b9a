//! The server's content: one identity for the application, with a policy for `billing` only, and one
//! for the restart controller, which reads no values.

use serde_json::{Value, json};

use crate::world::World;

/// A secret with `username` and `password`.
pub(crate) const DATABASE: &str = "environments/production/billing/database";
/// A secret with the single field `secret_key`.
pub(crate) const STRIPE: &str = "environments/production/billing/stripe";
/// A secret that the identity may not read.
pub(crate) const DENIED: &str = "environments/production/payroll/database";
/// A secret that does not exist.
pub(crate) const ABSENT: &str = "environments/production/billing/absent";
/// The identity of the restart controller.
pub(crate) const RESTARTER: &str = "sa:restarter";
/// Dynamic credentials, as in an annotation.
pub(crate) const DYNAMIC: &str = "engine=postgres role=readonly ttl=1h";

/// The data of `DATABASE` with the n-th password.
pub(crate) fn database(n: u32) -> Value {
    json!({"username": "billing", "password": password(n)})
}

/// The n-th password of `DATABASE`.
pub(crate) fn password(n: u32) -> String {
    format!("example-password-{n}")
}

/// The data of `STRIPE`.
pub(crate) const STRIPE_KEY: &str = "example-key";

pub(super) fn seed() -> Value {
    let service_accounts = [World::APPS, World::WORKLOADS, World::POLICIES, World::CSI, World::RESTARTS]
        .map(|namespace| format!("{namespace}/default"));
    json!({
        "policies": {
            "billing": [{"path_pattern": "environments/production/billing/**", "permissions": ["read"]}],
            "versions": [{"path_pattern": "environments/**", "permissions": ["list"]}],
        },
        "identities": [{
            "id": "sa:billing",
            "service_accounts": service_accounts,
            "policies": ["billing"],
            "dynamic": ["postgres/readonly"],
        }, {
            "id": RESTARTER,
            "service_accounts": [format!("{}/{}-restarter", World::SYSTEM, World::RELEASE)],
            "policies": ["versions"],
            "scopes": ["secrets:list", "subscriptions:read", "subscriptions:write"],
        }],
        "secrets": {
            DATABASE: {"data": database(1)},
            STRIPE: {"data": {"secret_key": STRIPE_KEY}},
            DENIED: {"data": {"password": "example"}},
        },
        "engines": {"postgres": {"roles": {"readonly": {"default_ttl": "1h", "max_ttl": "24h"}}}},
    })
}
