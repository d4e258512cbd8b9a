//! Puts policies into force: collects changes, compiles what changed, and swaps the set.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
};

use kube::{
    Client,
    api::GetParams,
    core::{DynamicObject, Request},
};
use tokio::{
    task::spawn_blocking,
    time::{Duration, Instant, sleep, timeout},
};

use super::{
    InjectionPolicies, PolicyCache,
    definition::{self, Definition},
    pending::PendingChanges,
    store::{Change, PolicyState},
};
use crate::{client::reason, watched::Watched as _};

/// How long changes are collected. Many may arrive at once, and each new set is built from all
/// policies.
const GATHER: Duration = Duration::from_millis(100);

/// How often the API server is asked again about the CRD and about policies that have to be read
/// again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// How long policies that were deleted together with their CRD remain in force after the CRD is
/// served again, if none of them is created again. It is long enough to create all of them. A
/// replica that restarts does not know them, so they cannot remain forever.
const RESTORED: Duration = Duration::from_mins(10);

/// How often a log line says that this process is not ready.
const REMINDER: Duration = Duration::from_mins(1);

/// Maximum number of policies that log line names.
const NAMED: usize = 10;

/// Callbacks to the process that hosts the policies.
pub trait Host: Send + Sync + 'static {
    /// A version of a policy arrived. `is_known` is false if the object is new.
    fn put(&self, _name: &Arc<str>, _is_known: bool) {}

    /// A policy was deleted.
    fn removed(&self, name: &str);

    /// The number of policies in a state.
    fn counted(&self, state: PolicyState, count: usize);

    /// The number of policies that remain in force although they were deleted.
    fn held(&self, count: usize);

    /// A new set is in force.
    fn published(&self);
}

/// Puts policies into force. Never returns.
pub async fn keep(client: Client, cache: Arc<PolicyCache>, host: impl Host) {
    let mut keeper = Keeper {
        client,
        cache,
        host: Arc::new(host),
        held: RetainedPolicies::default(),
        is_listed: false,
        has_more: false,
        reported_at: None,
    };
    loop {
        keeper.wait().await;
        keeper.turn(Instant::now()).await;
    }
}

struct Keeper<H> {
    client: Client,
    cache: Arc<PolicyCache>,
    host: Arc<H>,
    held: RetainedPolicies,
    /// Whether all policies have been listed once.
    is_listed: bool,
    /// Whether to run again without a notification.
    has_more: bool,
    /// When the log last said that this replica is not ready.
    reported_at: Option<Instant>,
}

/// Policies that the API server has deleted and that remain in force.
#[derive(Debug, Default)]
struct RetainedPolicies {
    names: BTreeSet<Arc<str>>,
    /// Whether they were deleted together with their CRD; otherwise the API server could not be
    /// asked.
    is_leaving: bool,
    /// Since when the CRD is served again while none of them was created again.
    quiet_since: Option<Instant>,
}

impl RetainedPolicies {
    /// Takes out those that were deleted for good, according to the state of the CRD.
    fn release(&mut self, definition: &Definition, now: Instant) -> BTreeSet<Arc<str>> {
        match definition {
            Definition::Leaving => {
                self.is_leaving = true;
                self.quiet_since = None;
            }
            Definition::Served => {
                let quiet_since = *self.quiet_since.get_or_insert(now);
                if !self.is_leaving || now.duration_since(quiet_since) >= RESTORED {
                    return std::mem::take(self).names;
                }
            }
            Definition::Unknown(_) => {}
        }
        BTreeSet::new()
    }

    /// Records that these policies exist again.
    fn came<'a>(&mut self, names: impl Iterator<Item = &'a Arc<str>>) {
        for name in names {
            if self.names.remove(name) {
                self.quiet_since = None;
            }
        }
    }
}

impl<H: Host> Keeper<H> {
    /// Waits until there is something to do.
    async fn wait(&self) {
        let news = self.cache.news.notified();
        if self.has_more || !self.held.names.is_empty() {
            let _ = timeout(RETRY_INTERVAL, news).await;
        } else {
            news.await;
        }
        sleep(GATHER).await;
    }

    async fn turn(&mut self, now: Instant) {
        let pending = self.cache.pending.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.is_listed |= pending.has_list();
        let removed = self.removed(&pending).await;
        let puts: Vec<_> = pending.into_puts().collect();
        self.held.came(puts.iter().map(|(name, _)| name));
        // New versions first: asking the API server why others were deleted may take long.
        self.apply(puts, BTreeSet::new(), now).await;
        if !removed.is_empty() || !self.held.names.is_empty() {
            let definition = definition::read(&self.client).await;
            let (was_held, was_quiet) = (self.held.names.len(), self.held.quiet_since.is_some());
            self.held.names.extend(removed);
            let gone = self.held.release(&definition, now);
            self.report(was_held, was_quiet, &definition);
            if !gone.is_empty() {
                self.apply(Vec::new(), gone, now).await;
            }
        }
        self.host.held(self.held.names.len());
    }

    async fn apply(&mut self, puts: Vec<(Arc<str>, DynamicObject)>, gone: BTreeSet<Arc<str>>, now: Instant) {
        let (cache, host, is_listed) = (Arc::clone(&self.cache), Arc::clone(&self.host), self.is_listed);
        let applied = spawn_blocking(move || apply(&cache, &*host, puts, &gone, is_listed)).await;
        let ApplyResult { is_set, lost, to_read } = match applied {
            Ok(applied) => applied,
            Err(error) => {
                tracing::error!(%error, "policies not applied, keeping the previous ones; this is a bug");
                return;
            }
        };
        if is_set {
            self.host.published();
        }
        if !lost.is_empty()
            && self.reported_at.is_none_or(|reported_at| now.duration_since(reported_at) >= REMINDER)
        {
            self.reported_at = Some(now);
            report_lost(&lost);
        }
        self.has_more = !lost.is_empty() || !to_read.is_empty();
        for name in to_read {
            self.read_again(&name).await;
        }
    }

    /// Reads a policy that was left out because of the size limit.
    async fn read_again(&self, name: &Arc<str>) {
        let request = Request::new(InjectionPolicies::url_path()).get(name, &GetParams::default());
        let Ok(request) = request else { return };
        match timeout(RETRY_INTERVAL, self.client.request::<DynamicObject>(request)).await {
            Ok(Ok(object)) => self.cache.pend(|pending| pending.put_read(name, object)),
            Ok(Err(error)) => {
                tracing::debug!(policy = &**name, error = reason(&error), "policy not read, trying again");
            }
            Err(_) => tracing::debug!(policy = &**name, "policy not read in time, trying again"),
        }
    }

    async fn removed(&self, pending: &PendingChanges) -> Vec<Arc<str>> {
        let cache = Arc::clone(&self.cache);
        let names = spawn_blocking(move || cache.store().names().cloned().collect::<Vec<_>>());
        let names = names.await.unwrap_or_default();
        pending.removed(names.iter().filter(|name| !self.held.names.contains(*name)))
    }

    fn report(&self, was_held: usize, was_quiet: bool, definition: &Definition) {
        let held = self.held.names.len();
        if let (true, Definition::Unknown(error)) = (held > was_held, definition) {
            tracing::warn!(
                policies = held,
                error,
                fix = "none if the API server becomes available again: retried automatically; if it denies the request, grant the \
                        service account of this process get on the nonResourceURLs /apis/scaivault.scailabs.ai and /apis/scaivault.scailabs.ai/*",
                "policies were deleted, and the API server does not say whether the CRD was; keeping them in force"
            );
        } else if held > was_held {
            tracing::error!(
                policies = held,
                "the CRD injectionpolicies.scaivault.scailabs.ai was deleted, and all policies with it; keeping them in force: install the \
                 CRD and the policies again, or turn policies off (policies.enabled false)"
            );
        } else if self.held.is_leaving && self.held.quiet_since.is_some() && !was_quiet {
            tracing::warn!(
                policies = held,
                "the CRD injectionpolicies.scaivault.scailabs.ai was installed again, but some policies are missing: install them within \
                 {} minutes of one another; after that, those that are still missing are dropped",
                RESTORED.as_secs() / 60
            );
        } else if held < was_held {
            tracing::info!(policies = held, "fewer policies are kept in force after their deletion");
        }
    }
}

fn report_lost(lost: &[(Arc<str>, String)]) {
    for (name, problems) in lost.iter().take(NAMED) {
        tracing::error!(
            policy = &**name,
            problems,
            others = lost.len() - 1,
            fix = "roll back to the former release, or correct the policy, or delete it",
            "a policy that was in force cannot be used by this release; not becoming ready, so that its limits stay in force on the \
             processes of the former release"
        );
    }
}

/// The result of applying changes.
struct ApplyResult {
    /// Whether there is a set to publish.
    is_set: bool,
    /// Why there is no set yet: policies that were in force and of which no version can be used.
    lost: Vec<(Arc<str>, String)>,
    /// Policies that have to be read again.
    to_read: Vec<Arc<str>>,
}

/// Applies changes to the store and publishes the new set.
fn apply(
    cache: &PolicyCache,
    host: &impl Host,
    puts: Vec<(Arc<str>, DynamicObject)>,
    gone: &BTreeSet<Arc<str>>,
    is_listed: bool,
) -> ApplyResult {
    let mut applied = ApplyResult { is_set: false, lost: Vec::new(), to_read: Vec::new() };
    let mut store = cache.store();
    let is_first = cache.in_force().is_none();
    let mut is_changed = is_first || !gone.is_empty();
    for (name, object) in puts {
        let uid = object.metadata.uid.clone().unwrap_or_default();
        host.put(&name, store.uid(&name) == Some(&*uid));
        is_changed |= store.put(&name, &object) == Change::Set;
    }
    for name in gone {
        store.remove(name);
        host.removed(name);
    }
    applied.to_read = store.settle();
    if !is_listed || !is_changed {
        return applied;
    }
    for state in [PolicyState::InForce, PolicyState::Kept, PolicyState::Rejected] {
        host.counted(state, store.count(state));
    }
    if is_first {
        applied.lost = store.lost().map(|(name, problems)| (Arc::clone(name), problems.to_owned())).collect();
    }
    if applied.lost.is_empty() {
        cache.publish(store.set());
        applied.is_set = true;
    }
    applied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|&name| name.into()).collect()
    }

    fn held(now: Instant) -> (RetainedPolicies, [Instant; 3]) {
        let held = RetainedPolicies { names: names(&["a", "b"]), ..RetainedPolicies::default() };
        (held, [now, now + RESTORED / 2, now + RESTORED + RESTORED / 4])
    }

    #[test]
    fn a_deleted_policy_is_removed_while_its_kind_is_served() {
        let (mut held, [now, ..]) = held(Instant::now());
        let unknown = Definition::Unknown("timeout".to_owned());
        assert_eq!(held.release(&unknown, now), names(&[]), "the reason of the deletion is unknown");
        assert_eq!(held.release(&Definition::Served, now), names(&["a", "b"]));
        assert!(held.names.is_empty());
    }

    #[test]
    fn policies_deleted_with_their_crd_stay_for_a_while() {
        let (mut held, [now, soon, late]) = held(Instant::now());
        assert_eq!(held.release(&Definition::Leaving, now), names(&[]));
        assert_eq!(held.release(&Definition::Leaving, late), names(&[]), "the CRD is away");
        // The CRD is served again, without any policy.
        assert_eq!(held.release(&Definition::Served, now), names(&[]));
        held.came(names(&["a", "new"]).iter());
        assert_eq!(held.release(&Definition::Served, soon), names(&[]), "the others may follow");
        assert_eq!(held.release(&Definition::Served, late), names(&[]), "for a while after each");
        held.came(names(&["new"]).iter());
        assert_eq!(held.release(&Definition::Served, late + RESTORED), names(&["b"]), "it did not");
        assert!(!held.is_leaving);
    }

    #[test]
    fn a_crd_that_returns_empty_ends_all_policies() {
        let (mut held, [now, soon, late]) = held(Instant::now());
        held.release(&Definition::Leaving, now);
        assert_eq!(held.release(&Definition::Served, now), names(&[]));
        assert_eq!(held.release(&Definition::Served, soon), names(&[]));
        assert_eq!(held.release(&Definition::Served, late), names(&["a", "b"]), "as on new replicas");
    }
}
