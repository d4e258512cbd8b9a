//! Leases of dynamic credentials: their owners and expiry. A database user, if there is one, is
//! created before its lease is inserted and dropped after it has ended.

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
    /// All generated leases, including ended ones.
    leases: BTreeMap<String, Lease>,
}

struct Lease {
    engine: EngineName,
    role: RoleName,
    owner: String,
    username: String,
    expires: Timestamp,
    /// The limit of all renewals.
    last: Timestamp,
    max_ttl: Ttl,
    default_ttl: Ttl,
    is_revoked: bool,
    /// Whether there may be a database user that has to be dropped at the end.
    has_user: bool,
}

/// A lease that is not inserted yet.
pub(crate) struct Draft {
    id: String,
    lease: Lease,
    password: String,
}

impl Draft {
    pub(crate) fn user(&self) -> User {
        self.lease.user(&self.id)
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    pub(crate) fn expires(&self) -> Timestamp {
        self.lease.expires
    }
}

/// The user of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) lease: String,
    pub(crate) engine: EngineName,
    pub(crate) role: RoleName,
    pub(crate) name: String,
}

/// A lease as shown to tests and the admin port, without its password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseState {
    /// Its identifier.
    pub id: String,
    /// `engine/role`.
    pub role: String,
    /// The owner's identity.
    pub owner: String,
    /// The username, random or in a database.
    pub username: String,
    /// Remaining seconds; 0 once it has ended.
    pub seconds_left: u64,
    /// Whether it was revoked before its end.
    pub is_revoked: bool,
}

impl Leases {
    pub(super) fn new(engines: BTreeMap<EngineName, Engine>) -> Self {
        Self { engines, leases: BTreeMap::new() }
    }

    pub(crate) fn draft(
        &self,
        identity: &Identity,
        engine: &EngineName,
        role: &RoleName,
        ttl: Option<Ttl>,
        now: Timestamp,
        random: &mut Random,
    ) -> Result<Draft, ApiError> {
        let found = self
            .engines
            .get(engine)
            .ok_or_else(|| ApiError::new("engine_not_found", format!("Engine '{engine}' not found")))?;
        let Role { default_ttl, max_ttl, .. } = *found.roles.get(role).ok_or_else(|| {
            ApiError::new("role_not_found", format!("Role '{role}' of engine '{engine}' not found"))
        })?;
        let wanted = format!("{engine}/{role}");
        if !identity.dynamic.iter().any(|pattern| glob::matches(pattern, &wanted)) {
            return Err(ApiError::new("access_denied", format!("No policy permits credentials of {wanted}")));
        }
        let lease = Lease {
            engine: engine.clone(),
            role: role.clone(),
            owner: identity.id.clone(),
            username: username(role, &random.word()),
            expires: now + length(ttl.unwrap_or(default_ttl).min(max_ttl)),
            last: now + length(max_ttl),
            max_ttl,
            default_ttl,
            is_revoked: false,
            has_user: found.postgres.is_some(),
        };
        Ok(Draft { id: format!("lease_{}", random.word()), lease, password: random.word() })
    }

    /// Inserts the lease; returns it with its credentials.
    pub(crate) fn insert(&mut self, draft: Draft, now: Timestamp) -> Value {
        let Draft { id, lease, password } = draft;
        let mut answer = lease.describe(&id, now);
        answer["data"] = json!({ "username": lease.username, "password": password });
        self.leases.insert(id, lease);
        answer
    }

    /// Inserts an ended lease for credentials that were not handed out but whose user may exist.
    pub(crate) fn insert_ended(&mut self, draft: Draft) {
        let Draft { id, lease, password: _ } = draft;
        self.leases.insert(id, Lease { is_revoked: true, ..lease });
    }

    /// The user of the lease to be renewed, and the new expiry.
    pub(crate) fn draft_renewal(
        &mut self,
        identity: &Identity,
        id: &str,
        increment: Option<Ttl>,
        now: Timestamp,
    ) -> Result<(User, Timestamp), ApiError> {
        let lease = self.live(identity, id, now)?;
        let expires = (now + length(increment.unwrap_or(lease.default_ttl))).min(lease.last);
        Ok((lease.user(id), expires))
    }

    pub(crate) fn renew(
        &mut self,
        identity: &Identity,
        id: &str,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<Value, ApiError> {
        let lease = self.live(identity, id, now)?;
        lease.expires = expires;
        Ok(lease.describe(id, now))
    }

    /// Revokes a lease; returns its user.
    pub(crate) fn revoke(&mut self, identity: &Identity, id: &str, now: Timestamp) -> Result<User, ApiError> {
        let lease = self.live(identity, id, now)?;
        lease.is_revoked = true;
        Ok(lease.user(id))
    }

    pub(crate) fn revoke_all(&mut self) {
        self.leases.values_mut().for_each(|lease| lease.is_revoked = true);
    }

    /// The database users whose lease has ended.
    pub(crate) fn users_to_drop(&self, now: Timestamp) -> Vec<User> {
        let ended = |lease: &Lease| lease.has_user && (lease.is_revoked || lease.expires <= now);
        self.leases.iter().filter(|(_, lease)| ended(lease)).map(|(id, lease)| lease.user(id)).collect()
    }

    /// When the next database user has to be dropped.
    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        let live = self.leases.values().filter(|lease| lease.has_user && !lease.is_revoked);
        live.map(|lease| lease.expires).min()
    }

    /// Records that the user was dropped.
    pub(crate) fn forget_user(&mut self, id: &str) {
        if let Some(lease) = self.leases.get_mut(id) {
            lease.has_user = false;
        }
    }

    /// Revokes a lease without its owner's knowledge; returns whether it existed.
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

    /// The active lease with this id; an ended lease counts as missing.
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
    fn user(&self, id: &str) -> User {
        User {
            lease: id.to_owned(),
            engine: self.engine.clone(),
            role: self.role.clone(),
            name: self.username.clone(),
        }
    }

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
        // Rounded, so that a lease granted a moment ago has not lost a second.
        let left = self.expires.duration_since(now).as_millis();
        u64::try_from((left + 500) / 1000).unwrap_or(0)
    }
}

/// At most 63 bytes, because PostgreSQL truncates longer names.
fn username(role: &RoleName, word: &str) -> String {
    format!("v_{:.36}_{word}", role.as_str())
}

fn length(ttl: Ttl) -> SignedDuration {
    SignedDuration::try_from(ttl.to_std()).expect("a year fits")
}
