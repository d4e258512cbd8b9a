//! What the server knows: one identity, the application's, with a policy for `billing` alone.

use serde_json::{Value, json};

use crate::world::World;

/// A secret with `username` and `password`.
pub(crate) const DATABASE: &str = "environments/production/billing/database";
/// A secret with the one field `secret_key`.
pub(crate) const STRIPE: &str = "environments/production/billing/stripe";
/// A secret that the identity may not read.
pub(crate) const DENIED: &str = "environments/production/payroll/database";
/// A secret that is not there.
pub(crate) const ABSENT: &str = "environments/production/billing/absent";
/// Dynamic credentials, as an annotation asks for them.
pub(crate) const DYNAMIC: &str = "engine=postgres role=readonly ttl=1h";

/// The data of `DATABASE` whose password is the n-th.
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
    let service_accounts = [World::APPS, World::WORKLOADS, World::POLICIES, World::CSI]
        .map(|namespace| format!("{namespace}/default"));
    json!({
        "policies": {"billing": [{"path_pattern": "environments/production/billing/**", "permissions": ["read"]}]},
        "identities": [{
            "id": "sa:billing",
            "service_accounts": service_accounts,
            "policies": ["billing"],
            "dynamic": ["postgres/readonly"],
        }],
        "secrets": {
            DATABASE: {"data": database(1)},
            STRIPE: {"data": {"secret_key": STRIPE_KEY}},
            DENIED: {"data": {"password": "example"}},
        },
        "engines": {"postgres": {"roles": {"readonly": {"default_ttl": "1h", "max_ttl": "24h"}}}},
    })
}
