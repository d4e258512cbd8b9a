//! What a test does to a running server, and sees of it.

use std::{sync::Arc, time::Duration};

use scaivault_contract::SecretPath;
use serde_json::{Map, Value};

use crate::{
    route::{Category, Route},
    shared::Shared,
    vault::{Writer, faults::Fault, leases::LeaseState},
};

/// A hand on a running server. Most of it is there by HTTP on the admin port too.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Requests to a route since the start, refused ones too.
    pub fn requests(&self, route: Route) -> u64 {
        self.shared.requests().borrow().get(&route).copied().unwrap_or(0)
    }

    /// Waits until a route has had so many requests.
    pub async fn requested(&self, route: Route, count: u64) {
        let mut requests = self.shared.requests();
        let is_there = |requests: &std::collections::BTreeMap<Route, u64>| {
            requests.get(&route).copied().unwrap_or(0) >= count
        };
        // It fails only without its sender, which this handle keeps alive.
        drop(requests.wait_for(is_there).await);
    }

    /// Writes a version as a person would; its number.
    pub fn write(&self, path: &SecretPath, data: Map<String, Value>) -> u64 {
        self.write_by(path, data, Writer::Person)
    }

    /// Writes a version as a rotation policy would; its number.
    pub fn rotate(&self, path: &SecretPath, data: Map<String, Value>) -> u64 {
        self.write_by(path, data, Writer::Rotation)
    }

    /// Deletes a secret, softly; whether there was one.
    pub fn delete(&self, path: &SecretPath) -> bool {
        self.shared.vault().secrets.delete(path, false).is_ok()
    }

    /// Deletes a secret with all its versions, so that the next one is the first again; whether there was one.
    pub fn delete_for_good(&self, path: &SecretPath) -> bool {
        self.shared.vault().secrets.delete(path, true).is_ok()
    }

    /// Ages all versions of a secret out but the current one.
    pub fn age_out(&self, path: &SecretPath) {
        self.shared.vault().secrets.age_out(path);
    }

    /// Switches a fault on.
    pub fn add_fault(&self, fault: Fault) {
        self.shared.vault().faults.add(fault);
    }

    /// The faults that are on.
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.vault().faults.list().to_vec()
    }

    /// Switches all faults off.
    pub fn clear_faults(&self) {
        self.shared.vault().faults.clear();
    }

    /// Requests a minute from now on, for each identity.
    pub fn set_rate_limit(&self, category: Category, per_minute: u32) {
        self.shared.vault().buckets.set_limit(category, per_minute);
    }

    /// Requests that a rate limit refused since the start; those that a fault refused are not among them.
    pub fn rate_limited(&self, category: Category) -> u64 {
        self.shared.vault().buckets.refused(category)
    }

    /// Lifetime of the tokens that are issued from now on.
    pub fn set_token_lifetime(&self, seconds: u64) {
        self.shared.vault().tokens.set_lifetime(seconds);
    }

    /// Ends all tokens, whatever their holders were told.
    pub fn expire_tokens(&self) {
        let now = self.shared.now();
        self.shared.vault().tokens.expire_all(now);
    }

    /// Revokes all tokens.
    pub fn revoke_tokens(&self) {
        self.shared.vault().tokens.revoke_all();
    }

    /// All leases that were generated, the ended ones too.
    pub fn leases(&self) -> Vec<LeaseState> {
        self.shared.vault().leases.states(self.shared.now())
    }

    /// How many leases have neither ended nor been revoked: as many users as there are.
    pub fn live_leases(&self) -> usize {
        self.leases().iter().filter(|lease| lease.seconds_left > 0 && !lease.is_revoked).count()
    }

    /// Revokes a lease behind its owner's back; whether there was one.
    pub fn take_lease_away(&self, id: &str) -> bool {
        let was_there = self.shared.vault().leases.take_away(id);
        self.shared.leases_changed().notify_one();
        was_there
    }

    /// How many subscriptions there are.
    pub fn subscriptions(&self) -> usize {
        self.shared.vault().subscriptions.count()
    }

    /// Moves the server's time forward, whole seconds: tokens and leases end, buckets fill.
    pub fn advance(&self, by: Duration) {
        self.shared.advance(by);
    }

    /// What `/v1/health/ready` says.
    pub fn set_ready(&self, is_ready: bool) {
        self.shared.set_ready(is_ready);
    }

    fn write_by(&self, path: &SecretPath, data: Map<String, Value>, by: Writer) -> u64 {
        let now = self.shared.now();
        let version = self.shared.vault().write(path, data, None, by, now);
        self.shared.published().notify_waiters();
        version
    }
}
