//! Leases of dynamic credentials: one for each pod and dynamic secret, however often the driver calls. A lease is renewed
//! in the background, replaced when a renewal gives no more time, and revoked when its pod is gone or its volumes have
//! other credentials.

mod entry;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use scaivault_client::{Client, HeldLease, LeaseId, SecretData};
use scaivault_contract::DynamicRef;
use scaivault_csi_class::LEASES_MAX;
use tokio::{
    sync::watch,
    time::{Instant, interval, timeout, timeout_at},
};

pub(crate) use self::entry::KeptLeases;
use self::entry::{Entry, Offer, Step, UNUSED_LIMIT};
use crate::{
    attributes::Pod,
    config::{Config, LoginTarget},
    failure::{Failure, FailureKind},
    lock,
    state::StateFile,
};

/// How long an engine may take: a lease whose answer is dropped cannot be revoked.
const GENERATION_TIMEOUT: Duration = Duration::from_mins(5);
/// How long generations may go on after SIGTERM. The chart's `terminationGracePeriodSeconds` is longer.
const STOP_TIMEOUT: Duration = Duration::from_secs(50);
/// How often leases are looked at.
const TICK: Duration = Duration::from_secs(1);
/// The most entries of this node: more than as many pods as a kubelet starts by default, 110, may have.
const ENTRIES_MAX: usize = 2048;

/// Whose lease it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeaseKey {
    pub(crate) pod: Pod,
    pub(crate) target: LoginTarget,
    pub(crate) dynamic: DynamicRef,
}

/// All leases of this node's pods.
#[derive(Clone)]
pub(crate) struct Leases(Arc<Shared>);

struct Shared {
    config: Arc<Config>,
    state: StateFile,
    table: Mutex<Table>,
    /// Sends when there is another pod.
    pods_changed: watch::Sender<()>,
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<LeaseKey, Entry>,
    /// Uids of the pods of this node, by the API server's word. Entries are made for these alone: nothing would end others.
    pods: BTreeSet<String>,
    /// Whether the state file lacks something that can wait for the next tick: it costs as much as all entries.
    is_changed: bool,
    is_stopping: bool,
}

impl Table {
    /// The lock of an entry, which is made for a pod that is known; none for another pod.
    fn ask(
        &mut self,
        key: &LeaseKey,
        client: &Arc<Client>,
        now: Instant,
    ) -> Result<Option<Arc<tokio::sync::Mutex<()>>>, Failure> {
        if let Some(entry) = self.entries.get_mut(key) {
            return if entry.ask(client, now) {
                Ok(Some(Arc::clone(&entry.generating)))
            } else {
                Err(being_revoked(&key.dynamic))
            };
        }
        if !self.pods.contains(key.pod.uid.as_str()) {
            return Ok(None);
        }
        if self.entries.keys().filter(|other| other.pod.uid == key.pod.uid).count() >= LEASES_MAX {
            return Err(too_many_of_pod(&key.pod));
        }
        if self.entries.len() >= ENTRIES_MAX {
            return Err(too_many_of_node());
        }
        let entry = Entry::new(Arc::clone(client), now);
        let generating = Arc::clone(&entry.generating);
        self.entries.insert(key.clone(), entry);
        Ok(Some(generating))
    }
}

impl Leases {
    /// No lease yet, but for those that [`Self::restore`] brings.
    pub(crate) fn new(config: Arc<Config>, state: StateFile) -> Self {
        let (table, pods_changed) = (Mutex::default(), watch::channel(()).0);
        Self(Arc::new(Shared { config, state, table, pods_changed }))
    }

    /// Takes up what an earlier process held.
    pub(crate) fn restore(&self, key: LeaseKey, client: Arc<Client>, kept: KeptLeases) {
        let entry = Entry::restored(client, kept, Instant::now(), SystemTime::now());
        self.table().entries.insert(key, entry);
    }

    /// How many leases are held.
    pub(crate) fn count(&self) -> usize {
        self.table().entries.values().filter(|entry| entry.has_lease()).count()
    }

    /// The credentials of a pod: those that it has, or new ones. A pod that is not known is waited for until `deadline`.
    pub(crate) async fn credentials(
        &self,
        key: LeaseKey,
        client: &Arc<Client>,
        deadline: Instant,
    ) -> Result<SecretData, Failure> {
        let mut changes = self.0.pods_changed.subscribe();
        let generating = loop {
            let asked = self.table().ask(&key, client, Instant::now())?;
            if let Some(generating) = asked {
                break generating;
            }
            if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return Err(not_known(&key));
            }
        };
        // In a task of its own, which goes on when the mount's time is up: the next mount takes the lease.
        let leases = self.clone();
        let task = tokio::spawn(async move {
            let _one_at_a_time = generating.lock().await;
            leases.held_or_generated(&key).await
        });
        task.await.unwrap_or_else(|_| Err(Failure::internal()))
    }

    async fn held_or_generated(&self, key: &LeaseKey) -> Result<SecretData, Failure> {
        let (client, offer) = {
            let table = self.table();
            let entry = table.entries.get(key).ok_or_else(|| being_revoked(&key.dynamic))?;
            let offer = entry.offer(Instant::now(), SystemTime::now(), table.is_stopping);
            (Arc::clone(&entry.client), offer)
        };
        let usable = match offer {
            Offer::Held(credentials) => return self.hand_out(key, credentials),
            Offer::Generate(usable) => usable,
            Offer::NotYet(pause) => return Err(not_yet(&key.dynamic, pause)),
            Offer::TooMany(count) => return Err(too_many_replaced(&key.dynamic, count)),
            Offer::Stopping => return Err(stopping(&key.dynamic)),
        };
        let LeaseKey { pod, dynamic, .. } = key;
        match client.generate(dynamic, GENERATION_TIMEOUT).await {
            Ok(lease) => {
                let lease = HeldLease::generated(lease, SystemTime::now());
                tracing::info!(namespace = %pod.namespace, pod = %pod.name, %dynamic, lease = %lease.id, ttl_seconds = lease.term().as_secs(), "lease generated");
                let credentials = lease.credentials.clone();
                self.update(key, |entry| entry.generated(lease, Instant::now()));
                self.hand_out(key, credentials)
            }
            Err(error) => {
                let failure = Failure::from_error(&key.target, dynamic, &error);
                tracing::warn!(namespace = %pod.namespace, pod = %pod.name, %failure, "lease not generated");
                self.update(key, |entry| entry.not_generated(&error, Instant::now()));
                usable.ok_or(failure).and_then(|credentials| self.hand_out(key, credentials))
            }
        }
    }

    /// Hands out credentials whose lease is in the state file: after a restart nobody could revoke another one.
    fn hand_out(&self, key: &LeaseKey, credentials: SecretData) -> Result<SecretData, Failure> {
        let is_saved = match self.table().entries.get(key) {
            Some(entry) if !entry.has_ended() => entry.is_saved(),
            _ => return Err(being_revoked(&key.dynamic)),
        };
        if !is_saved {
            self.save()?;
        }
        Ok(credentials)
    }

    /// A volume is mounted, and has the credentials of `dynamics` and no others.
    pub(crate) fn mounted(
        &self,
        pod: &Pod,
        target: &LoginTarget,
        volume: &str,
        dynamics: &BTreeSet<&DynamicRef>,
    ) {
        let mut has_changed = false;
        for (key, entry) in &mut self.table().entries {
            if key.pod.uid == pod.uid {
                let is_used = key.target == *target && dynamics.contains(&key.dynamic);
                has_changed |= entry.set_volume(volume, is_used, Instant::now());
            }
        }
        if has_changed {
            self.save_or_warn();
        }
    }

    /// These pods exist, and no others: leases of others are revoked.
    pub(crate) fn keep_pods(&self, uids: &BTreeSet<String>) {
        let mut table = self.table();
        table.pods.clone_from(uids);
        for (key, entry) in &mut table.entries {
            if !uids.contains(key.pod.uid.as_str()) {
                entry.end(Instant::now());
            }
        }
        drop(table);
        self.0.pods_changed.send_replace(());
    }

    /// There is another pod.
    pub(crate) fn start_pod(&self, uid: &str) {
        self.table().pods.insert(uid.to_owned());
        self.0.pods_changed.send_replace(());
    }

    /// A pod is gone: its leases are revoked.
    pub(crate) fn end_pod(&self, uid: &str) {
        let mut table = self.table();
        table.pods.remove(uid);
        for (_, entry) in table.entries.iter_mut().filter(|(key, _)| key.pod.uid.as_str() == uid) {
            entry.end(Instant::now());
        }
    }

    /// Renews and revokes what is due, for ever.
    pub(crate) async fn run(self) {
        let mut ticks = interval(TICK);
        loop {
            ticks.tick().await;
            self.start_due(Instant::now(), SystemTime::now());
        }
    }

    /// Starts the renewals and revocations that are due, by both clocks, and saves what earlier ones have changed.
    pub(crate) fn start_due(&self, now: Instant, time: SystemTime) {
        let mut table = self.table();
        table.entries.retain(|key, entry| {
            let Some(step) = entry.begin(now, time) else { return true };
            let (leases, key, client) = (self.clone(), key.clone(), Arc::clone(&entry.client));
            match step {
                Step::Renew(id) => drop(tokio::spawn(async move { leases.renew(&key, &client, &id).await })),
                Step::Revoke(ids) => {
                    drop(tokio::spawn(async move { leases.revoke(&key, &client, ids).await }));
                }
                Step::Forget => return false,
            }
            true
        });
        let is_changed = table.is_changed;
        drop(table);
        if is_changed {
            self.save_or_warn();
        }
    }

    async fn renew(&self, key: &LeaseKey, client: &Client, id: &LeaseId) {
        let answer = client.renew(id, key.dynamic.ttl).await;
        match &answer {
            Ok(_) => tracing::debug!(lease = %id, "lease renewed"),
            Err(error) => tracing::warn!(lease = %id, %error, "lease not renewed"),
        }
        self.update(key, |entry| entry.renewed(id, answer, Instant::now(), SystemTime::now()));
    }

    async fn revoke(&self, key: &LeaseKey, client: &Client, ids: Vec<LeaseId>) {
        for id in ids {
            let answer = client.revoke(&id).await;
            let LeaseKey { pod: Pod { namespace, name: pod, .. }, .. } = key;
            match &answer {
                Ok(()) => tracing::info!(%namespace, %pod, lease = %id, "lease revoked"),
                Err(error) => tracing::warn!(%namespace, %pod, lease = %id, %error, "lease not revoked"),
            }
            self.update(key, |entry| entry.revoked(&id, answer, Instant::now()));
        }
        self.update(key, Entry::finish);
    }

    /// Starts no generation any more, and waits for those under way: a lease whose answer is dropped cannot be revoked.
    pub(crate) async fn stop(&self) {
        let generating: Vec<_> = {
            let mut table = self.table();
            table.is_stopping = true;
            table.entries.values().map(|entry| Arc::clone(&entry.generating)).collect()
        };
        let finishing = async {
            for generating in generating {
                drop(generating.lock().await);
            }
        };
        if timeout(STOP_TIMEOUT, finishing).await.is_err() {
            tracing::warn!("leases that are being generated are lost, they end by themselves");
        }
        // One that could not be saved before.
        self.save_or_warn();
    }

    /// Changes an entry, if it is there.
    fn update(&self, key: &LeaseKey, change: impl FnOnce(&mut Entry)) {
        let mut table = self.table();
        table.is_changed = true;
        table.entries.get_mut(key).map(change);
    }

    fn save(&self) -> Result<(), Failure> {
        let Shared { config, state, .. } = &*self.0;
        let (now, time) = (Instant::now(), SystemTime::now());
        let mut table = self.table();
        let kept = table.entries.iter();
        let kept = kept.filter_map(|(key, entry)| Some((key, &*entry.client, entry.kept(now, time)?)));
        state.save(config, kept).map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))?;
        table.is_changed = false;
        table.entries.values_mut().for_each(Entry::saved);
        Ok(())
    }

    fn save_or_warn(&self) {
        if let Err(failure) = self.save() {
            tracing::warn!(%failure, "leases not saved");
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.0.table)
    }
}

#[cfg(test)]
impl Leases {
    /// How many calls wait for their pod.
    pub(crate) fn waiting(&self) -> usize {
        self.0.pods_changed.receiver_count()
    }
}

fn transient(text: String) -> Failure {
    Failure::new(FailureKind::Transient, text)
}

fn not_known(key: &LeaseKey) -> Failure {
    let LeaseKey { pod: Pod { namespace, name, .. }, dynamic, .. } = key;
    transient(format!(
        "{dynamic}: the pod {namespace}/{name} is not known to the provider, so its credentials would never be revoked; the kubelet tries \
         again. If this stays, check in the provider's log that its service account may list and watch pods"
    ))
}

fn being_revoked(dynamic: &DynamicRef) -> Failure {
    transient(format!(
        "{dynamic}: the credentials are being revoked, because the pod is gone or no volume has had them for {} min; the kubelet tries again",
        UNUSED_LIMIT.as_secs() / 60
    ))
}

fn stopping(dynamic: &DynamicRef) -> Failure {
    transient(format!("{dynamic}: the provider is stopping; the kubelet tries again with the next one"))
}

fn not_yet(dynamic: &DynamicRef, pause: Duration) -> Failure {
    transient(format!(
        "{dynamic}: the last attempt failed and may have made a database user, so the next one is made in {} s; see the provider's log",
        pause.as_secs()
    ))
}

fn too_many_replaced(dynamic: &DynamicRef, count: usize) -> Failure {
    transient(format!(
        "{dynamic}: {count} leases were replaced that have not ended, which is the limit; check in the provider's log why leases are \
         replaced, and that the clock of the node is right"
    ))
}

fn too_many_of_pod(pod: &Pod) -> Failure {
    Failure::invalid(format!(
        "the pod {}/{} has {LEASES_MAX} dynamic credentials, which is the limit; use fewer of them in its volumes. Those that no volume \
         has any more count for {} min",
        pod.namespace,
        pod.name,
        UNUSED_LIMIT.as_secs() / 60
    ))
}

fn too_many_of_node() -> Failure {
    transient(format!(
        "the pods of this node have {ENTRIES_MAX} dynamic credentials, which is the limit; run fewer pods with them on a node"
    ))
}
