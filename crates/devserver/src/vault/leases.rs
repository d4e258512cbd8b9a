//! Dynamic credentials. They are made up: what is real about a lease here is when it ends.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use scaivault_contract::{Duration as Ttl, EngineName, RoleName};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    clock::whole_seconds,
    error::ApiError,
    glob,
    random::Random,
    seed::{Engine, Identity, Role},
};

#[derive(Default)]
pub(crate) struct Leases {
    engines: BTreeMap<EngineName, Engine>,
    /// Those that were generated, the ended ones too.
    leases: BTreeMap<String, Lease>,
}

struct Lease {
    engine: EngineName,
    role: RoleName,
    owner: String,
    username: String,
    expires: Timestamp,
    /// No renewal goes beyond.
    last: Timestamp,
    max_ttl: Ttl,
    default_ttl: Ttl,
    is_revoked: bool,
}

/// A lease as a test or the admin port sees it, without its password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseState {
    /// Its identifier.
    pub id: String,
    /// `engine/role`.
    pub role: String,
    /// Whose it is.
    pub owner: String,
    /// The user that was made up.
    pub username: String,
    /// Seconds that are left; 0 once it has ended.
    pub seconds_left: u64,
    /// Whether somebody revoked it before its end.
    pub is_revoked: bool,
}

impl Leases {
    pub(super) fn new(engines: BTreeMap<EngineName, Engine>) -> Self {
        Self { engines, leases: BTreeMap::new() }
    }

    pub(crate) fn generate(
        &mut self,
        identity: &Identity,
        engine: &EngineName,
        role: &RoleName,
        ttl: Option<Ttl>,
        now: Timestamp,
        random: &mut Random,
    ) -> Result<Value, ApiError> {
        let roles = self
            .engines
            .get(engine)
            .ok_or_else(|| ApiError::new("engine_not_found", format!("Engine '{engine}' not found")))?;
        let Role { default_ttl, max_ttl } = *roles.roles.get(role).ok_or_else(|| {
            ApiError::new("role_not_found", format!("Role '{role}' of engine '{engine}' not found"))
        })?;
        let wanted = format!("{engine}/{role}");
        if !identity.dynamic.iter().any(|pattern| glob::matches(pattern, &wanted)) {
            return Err(ApiError::new("access_denied", format!("No policy permits credentials of {wanted}")));
        }
        let id = format!("lease_{}", random.word());
        let lease = Lease {
            engine: engine.clone(),
            role: role.clone(),
            owner: identity.id.clone(),
            username: format!("v_{role}_{}", random.word()),
            expires: now + length(ttl.unwrap_or(default_ttl).min(max_ttl)),
            last: now + length(max_ttl),
            max_ttl,
            default_ttl,
            is_revoked: false,
        };
        let mut answer = lease.describe(&id, now);
        answer["data"] = json!({ "username": lease.username, "password": random.word() });
        self.leases.insert(id, lease);
        Ok(answer)
    }

    pub(crate) fn renew(
        &mut self,
        identity: &Identity,
        id: &str,
        increment: Option<Ttl>,
        now: Timestamp,
    ) -> Result<Value, ApiError> {
        let lease = self.live(identity, id, now)?;
        lease.expires = (now + length(increment.unwrap_or(lease.default_ttl))).min(lease.last);
        Ok(lease.describe(id, now))
    }

    pub(crate) fn revoke(&mut self, identity: &Identity, id: &str, now: Timestamp) -> Result<(), ApiError> {
        self.live(identity, id, now)?.is_revoked = true;
        Ok(())
    }

    /// Revokes a lease behind its owner's back; whether there was one.
    pub(crate) fn take_away(&mut self, id: &str) -> bool {
        self.leases.get_mut(id).is_some_and(|lease| !std::mem::replace(&mut lease.is_revoked, true))
    }

    pub(crate) fn states(&self, now: Timestamp) -> Vec<LeaseState> {
        let states = self.leases.iter().map(|(id, lease)| LeaseState {
            id: id.clone(),
            role: format!("{}/{}", lease.engine, lease.role),
            owner: lease.owner.clone(),
            username: lease.username.clone(),
            seconds_left: if lease.is_revoked { 0 } else { lease.seconds_left(now) },
            is_revoked: lease.is_revoked,
        });
        states.collect()
    }

    /// A lease that has ended is not there any more.
    fn live(&mut self, identity: &Identity, id: &str, now: Timestamp) -> Result<&mut Lease, ApiError> {
        let lease = self.leases.get_mut(id).filter(|lease| !lease.is_revoked && lease.expires > now);
        let lease =
            lease.ok_or_else(|| ApiError::new("lease_not_found", format!("Lease '{id}' not found")))?;
        if lease.owner != identity.id {
            return Err(ApiError::new("access_denied", "the lease is another identity's"));
        }
        Ok(lease)
    }
}

impl Lease {
    /// The lease without its credentials.
    fn describe(&self, id: &str, now: Timestamp) -> Value {
        json!({
            "lease_id": id,
            "engine": self.engine.as_str(),
            "role": self.role.as_str(),
            "ttl_seconds": self.seconds_left(now),
            "expires_at": whole_seconds(self.expires),
            "renewable": self.expires < self.last,
            "max_ttl_seconds": self.max_ttl.as_secs(),
        })
    }

    fn seconds_left(&self, now: Timestamp) -> u64 {
        // Rounded: what was granted a moment ago has not lost a second.
        let left = self.expires.duration_since(now).as_millis();
        u64::try_from((left + 500) / 1000).unwrap_or(0)
    }
}

fn length(ttl: Ttl) -> SignedDuration {
    SignedDuration::try_from(ttl.to_std()).expect("a year fits")
}
