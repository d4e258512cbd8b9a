//! Puts policies into force: gathers changes, compiles what changed, and swaps the set.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
};

use kube::Client;
use scaivault_inject::PolicySet;
use scaivault_webhook::{Gate, Metrics, PolicyState};
use tokio::{
    task::spawn_blocking,
    time::{Duration, Instant, sleep, timeout},
};

use super::{
    PolicyMemory,
    definition::{self, Definition},
    pending::Pending,
    store::{Change, Store},
    usage::Usage,
};
use crate::cluster::Memory;

/// How long changes are gathered: many may come at once, and each new set is built from all policies.
const GATHER: Duration = Duration::from_millis(100);

/// How often the API server is asked about the CRD while policies are held.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long after policies are seen again those that went with the CRD stay: time for all of them to be made again.
const RESTORED: Duration = Duration::from_mins(1);

/// Puts policies into force for ever.
pub(in super::super) async fn keep(client: Client, memory: Arc<Memory>, gate: Gate, metrics: Arc<Metrics>) {
    let mut keeper = Keeper { client, memory, metrics, gate, held: Held::default(), is_listed: false };
    loop {
        keeper.wait().await;
        keeper.turn(Instant::now()).await;
    }
}

struct Keeper {
    client: Client,
    memory: Arc<Memory>,
    metrics: Arc<Metrics>,
    gate: Gate,
    held: Held,
    /// Whether all policies were listed once.
    is_listed: bool,
}

/// Policies that the API server has deleted and that stay in force nevertheless.
#[derive(Debug, Default)]
struct Held {
    names: BTreeSet<Arc<str>>,
    /// Whether they went with their CRD; else the API server could not be asked.
    is_leaving: bool,
    /// When the first policy was seen behind that.
    seen_again: Option<Instant>,
}

impl Held {
    /// Which of them are gone for good, from what the API server says of the CRD now.
    fn release(&mut self, definition: Definition, now: Instant) -> BTreeSet<Arc<str>> {
        match definition {
            Definition::Leaving => {
                self.is_leaving = true;
                self.seen_again = None;
            }
            Definition::Served => {
                let is_restored = self.seen_again.is_some_and(|seen| now.duration_since(seen) >= RESTORED);
                if !self.is_leaving || is_restored {
                    return std::mem::take(self).names;
                }
            }
            Definition::Unknown => {}
        }
        BTreeSet::new()
    }

    /// Policies came.
    fn came<'a>(&mut self, names: impl Iterator<Item = &'a Arc<str>>, definition: Definition, now: Instant) {
        for name in names {
            self.names.remove(name);
            if self.is_leaving && definition == Definition::Served {
                self.seen_again.get_or_insert(now);
            }
        }
    }
}

impl Keeper {
    fn policies(&self) -> &PolicyMemory {
        self.memory.policies.as_ref().expect("a keeper is only started where policies are followed")
    }

    /// Until there is something to do.
    async fn wait(&self) {
        let news = self.policies().news.notified();
        if self.held.names.is_empty() {
            news.await;
        } else {
            let _ = timeout(LOOK_AGAIN, news).await;
        }
        sleep(GATHER).await;
    }

    async fn turn(&mut self, now: Instant) {
        let pending = self.policies().pending.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.is_listed |= pending.has_list();
        let removed = self.removed(&pending).await;
        let mut definition = Definition::Served;
        if !removed.is_empty() || !self.held.names.is_empty() {
            definition = definition::look(&self.client).await;
        }
        let was_held = self.held.names.len();
        let puts: Vec<_> = pending.into_puts().collect();
        self.held.came(puts.iter().map(|(name, _)| name), definition, now);
        self.held.names.extend(removed);
        let gone = self.held.release(definition, now);
        self.tell(was_held, definition);
        let (memory, metrics, is_listed) =
            (Arc::clone(&self.memory), Arc::clone(&self.metrics), self.is_listed);
        let applied = spawn_blocking(move || apply(&memory, &metrics, puts, &gone, is_listed)).await;
        if matches!(applied, Ok(true)) {
            self.memory.changed();
            self.gate.open();
        } else if let Err(error) = applied {
            tracing::error!(%error, "policies not put into force, keeping the previous ones; this is a bug in the injector");
        }
    }

    async fn removed(&self, pending: &Pending) -> Vec<Arc<str>> {
        let memory = Arc::clone(&self.memory);
        let names = spawn_blocking(move || {
            memory.policies.as_ref().map(|policies| policies.store().names().cloned().collect::<Vec<_>>())
        });
        let names = names.await.ok().flatten().unwrap_or_default();
        pending.removed(names.iter().filter(|name| !self.held.names.contains(*name)))
    }

    fn tell(&self, was_held: usize, definition: Definition) {
        let held = self.held.names.len();
        if held > was_held && definition == Definition::Leaving {
            tracing::error!(
                policies = held,
                "the CRD injectionpolicies.scaivault.scailabs.ai was deleted, and all policies with it; keeping them in force: install the \
                 CRD and the policies again, or turn policies off (policies.enabled false)"
            );
        } else if held > was_held {
            tracing::warn!(
                policies = held,
                "policies were deleted, and the API server does not answer whether the CRD was; keeping them in force"
            );
        } else if held < was_held {
            tracing::info!(policies = held, "policies whose deletion was not followed");
        }
    }
}

/// Takes changes into the store and puts the new set into force. True where there is a set from now on.
fn apply(
    memory: &Memory,
    metrics: &Metrics,
    puts: Vec<(Arc<str>, kube::core::DynamicObject)>,
    gone: &BTreeSet<Arc<str>>,
    is_listed: bool,
) -> bool {
    let Some(policies) = &memory.policies else { return false };
    let mut store = policies.store();
    let mut is_changed = policies.in_force().is_none();
    for (name, object) in puts {
        let uid = object.metadata.uid.clone().unwrap_or_default();
        let is_known = store.uid(&name) == Some(&*uid);
        if !is_known || policies.usage.get(&name).is_none() {
            policies.usage.insert(&name, Arc::new(Usage::default()));
        }
        is_changed |= store.put(&name, &object) == Change::Set;
    }
    for name in gone {
        store.remove(name);
        policies.usage.remove(name);
        is_changed = true;
    }
    if !is_listed || !is_changed {
        return false;
    }
    publish(policies, &store, metrics);
    true
}

fn publish(policies: &PolicyMemory, store: &Store, metrics: &Metrics) {
    let set: PolicySet = store.set();
    tracing::debug!(policies = set.len(), "policies in force");
    policies.in_force.store(Some(Arc::new(set)));
    metrics.policy_set_changed();
    for state in [PolicyState::InForce, PolicyState::Kept, PolicyState::Rejected] {
        metrics.policies(state, store.count(state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|&name| name.into()).collect()
    }

    fn held(now: Instant) -> (Held, [Instant; 3]) {
        let held = Held { names: names(&["a", "b"]), ..Held::default() };
        (held, [now, now + RESTORED / 2, now + RESTORED + RESTORED / 2])
    }

    #[test]
    fn a_deleted_policy_is_gone_while_its_kind_is_served() {
        let (mut held, [now, ..]) = held(Instant::now());
        assert_eq!(held.release(Definition::Unknown, now), names(&[]), "nobody said why they went");
        assert_eq!(held.release(Definition::Served, now), names(&["a", "b"]));
        assert!(held.names.is_empty());
    }

    #[test]
    fn policies_that_go_with_their_crd_stay_until_it_is_filled_again() {
        let (mut held, [now, soon, late]) = held(Instant::now());
        assert_eq!(held.release(Definition::Leaving, now), names(&[]));
        // The CRD is there again, and empty.
        assert_eq!(held.release(Definition::Served, late), names(&[]));
        let came = names(&["a"]);
        held.came(came.iter(), Definition::Served, now);
        assert_eq!(held.release(Definition::Served, soon), names(&[]), "the others may follow");
        assert_eq!(held.release(Definition::Served, late), names(&["b"]), "and this one did not");
        assert!(!held.is_leaving);
    }
}
