//! Controls and inspects a running server in tests.

use std::{sync::Arc, time::Duration};

use scaivault_contract::SecretPath;
use serde_json::{Map, Value};

use crate::{
    route::{Category, Route},
    shared::Shared,
    vault::{Writer, faults::Fault, leases::LeaseState},
};

/// A handle to a running server. Most of it is also available over HTTP on the admin port.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Number of requests to a route since the start, including rejected ones.
    pub fn requests(&self, route: Route) -> u64 {
        self.shared.requests().borrow().get(&route).copied().unwrap_or(0)
    }

    /// Waits until a route has had this many requests.
    pub async fn requested(&self, route: Route, count: u64) {
        let mut requests = self.shared.requests();
        let is_there = |requests: &std::collections::BTreeMap<Route, u64>| {
            requests.get(&route).copied().unwrap_or(0) >= count
        };
        // It only fails without its sender, which this handle keeps alive.
        drop(requests.wait_for(is_there).await);
    }

    /// Writes a version as a client; returns its number.
    pub fn write(&self, path: &SecretPath, data: Map<String, Value>) -> u64 {
        self.write_by(path, data, Writer::Person)
    }

    /// Writes a version as a rotation policy; returns its number.
    pub fn rotate(&self, path: &SecretPath, data: Map<String, Value>) -> u64 {
        self.write_by(path, data, Writer::Rotation)
    }

    /// Changes what people write about a secret, such as its tags: `updated_at` changes, and no version.
    pub fn describe(&self, path: &SecretPath) {
        let now = self.shared.now();
        self.shared.vault().secrets.describe(path, now);
    }

    /// Soft-deletes a secret; returns whether it existed.
    pub fn delete(&self, path: &SecretPath) -> bool {
        self.shared.vault().secrets.delete(path, false).is_ok()
    }

    /// Deletes a secret with all its versions, so that the next version is 1 again; returns whether
    /// it existed.
    pub fn delete_for_good(&self, path: &SecretPath) -> bool {
        self.shared.vault().secrets.delete(path, true).is_ok()
    }

    /// Removes all versions of a secret except the current one.
    pub fn age_out(&self, path: &SecretPath) {
        self.shared.vault().secrets.age_out(path);
    }

    /// Switches a fault on.
    pub fn add_fault(&self, fault: Fault) {
        self.shared.vault().faults.add(fault);
    }

    /// The active faults.
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.vault().faults.list().to_vec()
    }

    /// Switches all faults off.
    pub fn clear_faults(&self) {
        self.shared.vault().faults.clear();
    }

    /// Sets the rate limit per minute of each identity.
    pub fn set_rate_limit(&self, category: Category, per_minute: u32) {
        self.shared.vault().buckets.set_limit(category, per_minute);
    }

    /// Number of requests that a rate limit rejected since the start, excluding those rejected by a
    /// fault.
    pub fn rate_limited(&self, category: Category) -> u64 {
        self.shared.vault().buckets.refused(category)
    }

    /// Sets the lifetime of tokens issued from now on.
    pub fn set_token_lifetime(&self, seconds: u64) {
        self.shared.vault().tokens.set_lifetime(seconds);
    }

    /// Expires all tokens, regardless of the lifetime in their answers.
    pub fn expire_tokens(&self) {
        let now = self.shared.now();
        self.shared.vault().tokens.expire_all(now);
    }

    /// Revokes all tokens.
    pub fn revoke_tokens(&self) {
        self.shared.vault().tokens.revoke_all();
    }

    /// All generated leases, including ended ones.
    pub fn leases(&self) -> Vec<LeaseState> {
        self.shared.vault().leases.states(self.shared.now())
    }

    /// The number of active leases, which is the number of users.
    pub fn live_leases(&self) -> usize {
        self.leases().iter().filter(|lease| lease.seconds_left > 0 && !lease.is_revoked).count()
    }

    /// Revokes a lease without its owner's knowledge; returns whether it existed.
    pub fn take_lease_away(&self, id: &str) -> bool {
        let was_there = self.shared.vault().leases.take_away(id);
        self.shared.leases_changed().notify_one();
        was_there
    }

    /// The number of subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.shared.vault().subscriptions.count()
    }

    /// Advances the server's time by whole seconds: tokens and leases expire, buckets refill.
    pub fn advance(&self, by: Duration) {
        self.shared.advance(by);
    }

    /// Sets the answer of `/v1/health/ready`.
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
