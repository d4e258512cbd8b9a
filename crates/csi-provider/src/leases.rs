//! Leases of dynamic credentials: one for each pod and dynamic secret, regardless of how often the driver
//! calls. A lease is renewed in the background, replaced when it cannot be renewed any further, and revoked
//! when its pod is deleted or its volumes have other credentials.

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

pub(crate) use self::entry::StoredLeases;
use self::entry::{Entry, Offer, Step, UNUSED_LIMIT};
use crate::{
    attributes::Pod,
    config::{Config, LoginTarget},
    failure::{Failure, FailureKind},
    lock,
    state::StateFile,
};

/// How long an engine may take. It is long because a lease whose response is dropped can never be revoked.
const GENERATION_TIMEOUT: Duration = Duration::from_mins(5);
/// How long requests for credentials may continue after SIGTERM. The chart's `terminationGracePeriodSeconds`
/// is longer by the time of a mount, because the socket exists until then.
const STOP_TIMEOUT: Duration = Duration::from_secs(50);
/// How often leases are checked for due renewals and revocations.
const TICK: Duration = Duration::from_secs(1);
/// The maximum number of entries of a pod, including previous ones that are not revoked yet.
const POD_ENTRIES_MAX: usize = 2 * LEASES_MAX;
/// The maximum number of entries of this node, more than the 110 pods of a default kubelet can have.
const ENTRIES_MAX: usize = 2048;
/// The maximum number of entries of a namespace, so that it cannot use up those of others.
const NAMESPACE_ENTRIES_MAX: usize = ENTRIES_MAX / 2;

/// The pod, login and dynamic secret of a lease.
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
    /// The result of the last write of the state file. Locked during a write.
    last_write: Arc<tokio::sync::Mutex<Result<(), Failure>>>,
    /// Notifies when a pod was added.
    pods_changed: watch::Sender<()>,
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<LeaseKey, Entry>,
    /// Uids of the pods of this node, from the watch. Entries are only created for these, because others
    /// would never end.
    pods: BTreeSet<String>,
    /// Whether the state file must be written at the next tick. Each write contains all entries, so changes
    /// are collected.
    is_changed: bool,
    /// The number of writes of the state file.
    writes: u64,
    is_stopping: bool,
}

/// The dynamic credentials that a volume requests.
pub(crate) struct LeaseRequest<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) target: &'a LoginTarget,
    /// Its target path.
    pub(crate) volume: &'a str,
    pub(crate) dynamics: &'a BTreeSet<&'a DynamicRef>,
    pub(crate) client: &'a Arc<Client>,
}

impl Table {
    /// Records what a volume requests and creates the missing entries, either all or none. Returns false if
    /// the pod is not known, because then the leases would never end. Entries that no volume requests any
    /// more do not count towards the limit; otherwise a change of all objects would be refused for ever.
    fn request(&mut self, request: &LeaseRequest<'_>, now: Instant) -> Result<bool, Failure> {
        let LeaseRequest { pod, target, volume, dynamics, client } = *request;
        let mut missing = dynamics.clone();
        let (mut of_pod, mut requested) = (0, 0);
        for (key, entry) in self.entries.iter_mut().filter(|(key, _)| key.pod.uid == pod.uid) {
            entry.set_requested(volume, key.target == *target && missing.remove(&key.dynamic));
            of_pod += 1;
            requested += usize::from(entry.is_requested());
        }
        if missing.is_empty() {
            return Ok(true);
        }
        if !self.pods.contains(pod.uid.as_str()) {
            return Ok(false);
        }
        let new = missing.len();
        if requested + new > LEASES_MAX {
            return Err(too_many_of_pod(pod, requested + new));
        }
        if of_pod + new > POD_ENTRIES_MAX {
            return Err(too_many_former(pod));
        }
        if self.entries.keys().filter(|key| key.pod.namespace == pod.namespace).count() + new
            > NAMESPACE_ENTRIES_MAX
        {
            return Err(too_many_of_namespace(pod));
        }
        if self.entries.len() + new > ENTRIES_MAX {
            return Err(too_many_of_node());
        }
        for dynamic in missing {
            let mut entry = Entry::new(Arc::clone(client), now);
            entry.set_requested(volume, true);
            let (pod, target, dynamic) = (pod.clone(), target.clone(), dynamic.clone());
            self.entries.insert(LeaseKey { pod, target, dynamic }, entry);
        }
        Ok(true)
    }
}

impl Leases {
    /// Without leases; [`Self::restore`] adds those of an earlier process.
    pub(crate) fn new(config: Arc<Config>, state: StateFile) -> Self {
        let (table, pods_changed) = (Mutex::default(), watch::channel(()).0);
        let last_write = Arc::new(tokio::sync::Mutex::new(Ok(())));
        Self(Arc::new(Shared { config, state, table, last_write, pods_changed }))
    }

    /// Adds the leases of an earlier process.
    pub(crate) fn restore(&self, key: LeaseKey, client: Arc<Client>, kept: StoredLeases) {
        let entry = Entry::restored(client, kept, Instant::now(), SystemTime::now());
        self.table().entries.insert(key, entry);
    }

    /// The number of leases.
    pub(crate) fn count(&self) -> usize {
        self.table().entries.values().filter(|entry| entry.has_lease()).count()
    }

    /// Records what a volume requests, before anything is generated. Waits for an unknown pod until
    /// `deadline`.
    pub(crate) async fn request(&self, request: &LeaseRequest<'_>, deadline: Instant) -> Result<(), Failure> {
        let mut changes = self.0.pods_changed.subscribe();
        loop {
            if self.table().request(request, Instant::now())? {
                return Ok(());
            }
            if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return Err(not_known(request.pod));
            }
        }
    }

    /// The credentials that a volume has requested: the current ones of the pod, or new ones.
    pub(crate) async fn credentials(
        &self,
        key: LeaseKey,
        client: &Arc<Client>,
    ) -> Result<SecretData, Failure> {
        let generating = {
            let mut table = self.table();
            let entry = table.entries.get_mut(&key).filter(|entry| !entry.has_ended());
            let entry = entry.ok_or_else(|| being_revoked(&key.dynamic))?;
            entry.ask(client, Instant::now());
            Arc::clone(&entry.generating)
        };
        // In a separate task, which continues after the deadline of the mount: the next mount uses its
        // lease.
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
        let has_usable = match offer {
            Offer::Held => return self.hand_out(key).await,
            Offer::Generate { has_usable } => has_usable,
            Offer::NotYet(failure) => return Err(failure),
            Offer::TooMany(count) => return Err(too_many_replaced(&key.dynamic, count)),
            Offer::Stopping => return Err(stopping(&key.dynamic)),
        };
        let LeaseKey { pod, dynamic, .. } = key;
        match client.generate(dynamic, GENERATION_TIMEOUT).await {
            Ok(lease) => {
                let lease = HeldLease::generated(lease, SystemTime::now());
                tracing::info!(namespace = %pod.namespace, pod = %pod.name, %dynamic, lease = %lease.id, ttl_seconds = lease.term().as_secs(), "lease generated");
                self.update(key, |entry| entry.generated(lease, Instant::now()));
                self.hand_out(key).await
            }
            Err(error) => {
                // The entry has its own backoff.
                let failure = Failure::from_error(&key.target, dynamic, &error).without_retry();
                tracing::warn!(namespace = %pod.namespace, pod = %pod.name, %failure, "lease not generated");
                self.update(key, |entry| entry.not_generated(&error, failure.clone(), Instant::now()));
                if has_usable { self.hand_out(key).await } else { Err(failure) }
            }
        }
    }

    /// Returns credentials whose lease is in the state file, because the provider could not revoke any other
    /// after a restart. While the file cannot be written, these are the previous ones.
    async fn hand_out(&self, key: &LeaseKey) -> Result<SecretData, Failure> {
        let is_unsaved = self.table().entries.get(key).is_some_and(Entry::is_unsaved);
        let saved = if is_unsaved { self.save().await } else { Ok(()) };
        let table = self.table();
        let entry = table.entries.get(key);
        match saved {
            Ok(()) => entry.and_then(Entry::credentials).ok_or_else(|| being_revoked(&key.dynamic)),
            Err(failure) => {
                entry.and_then(|entry| entry.usable_credentials(SystemTime::now())).ok_or(failure)
            }
        }
    }

    /// Records that a volume was mounted with exactly the credentials of `dynamics`.
    pub(crate) fn mounted(
        &self,
        pod: &Pod,
        target: &LoginTarget,
        volume: &str,
        dynamics: &BTreeSet<&DynamicRef>,
    ) {
        let mut table = self.table();
        let mut has_changed = false;
        for (key, entry) in table.entries.iter_mut().filter(|(key, _)| key.pod.uid == pod.uid) {
            let is_used = key.target == *target && dynamics.contains(&key.dynamic);
            has_changed |= entry.set_volume(volume, is_used, Instant::now());
        }
        // Written at the next tick, because entries are saved with the volumes that request them.
        table.is_changed |= has_changed;
    }

    /// Revokes the leases of all pods except these.
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

    /// Records a new pod.
    pub(crate) fn start_pod(&self, uid: &str) {
        self.table().pods.insert(uid.to_owned());
        self.0.pods_changed.send_replace(());
    }

    /// Revokes the leases of a deleted pod.
    pub(crate) fn end_pod(&self, uid: &str) {
        let mut table = self.table();
        table.pods.remove(uid);
        for (_, entry) in table.entries.iter_mut().filter(|(key, _)| key.pod.uid.as_str() == uid) {
            entry.end(Instant::now());
        }
    }

    /// Renews and revokes leases when they are due. Never returns.
    pub(crate) async fn run(self) {
        let mut ticks = interval(TICK);
        loop {
            ticks.tick().await;
            self.start_due(Instant::now(), SystemTime::now());
        }
    }

    /// Starts the renewals and revocations that are due by the monotonic and the wall clock, and saves the
    /// results of earlier ones.
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
            let leases = self.clone();
            tokio::spawn(async move { leases.save().await });
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

    /// Stops generating credentials and waits for requests in flight, because a lease whose response is
    /// dropped can never be revoked.
    pub(crate) async fn finish_generations(&self) {
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
            tracing::warn!("gave up on leases that are being generated, they expire on their own");
        }
    }

    /// Changes an entry, if it exists.
    fn update(&self, key: &LeaseKey, change: impl FnOnce(&mut Entry)) {
        let mut table = self.table();
        table.is_changed = true;
        table.entries.get_mut(key).map(change);
    }

    /// Waits until the state file contains the current table. Concurrent calls share a write, because each
    /// one writes all entries.
    pub(crate) async fn save(&self) -> Result<(), Failure> {
        let earlier = self.table().writes;
        let last = Arc::clone(&self.0.last_write).lock_owned().await;
        if self.table().writes > earlier {
            return last.clone();
        }
        let (leases, mut last) = (self.clone(), last);
        let writing = tokio::task::spawn_blocking(move || {
            let written = leases.write();
            match (&*last, &written) {
                (_, Ok(())) => {}
                (Err(before), Err(failure)) if before == failure => {}
                (_, Err(failure)) => tracing::warn!(%failure, "leases not saved, retrying every second"),
            }
            last.clone_from(&written);
            written
        });
        writing.await.unwrap_or_else(|_| Err(Failure::internal()))
    }

    fn write(&self) -> Result<(), Failure> {
        let Shared { config, state, .. } = &*self.0;
        let kept: Vec<_> = {
            let (now, time) = (Instant::now(), SystemTime::now());
            let mut table = self.table();
            table.writes += 1;
            table.is_changed = false;
            let kept = |(key, entry): (&LeaseKey, &Entry)| {
                Some((key.clone(), Arc::clone(&entry.client), entry.kept(now, time)?))
            };
            table.entries.iter().filter_map(kept).collect()
        };
        let saved = state.save(config, &kept);
        let mut table = self.table();
        if let Err(error) = saved {
            table.is_changed = true;
            return Err(Failure::new(FailureKind::Internal, error.to_string()));
        }
        for (key, _, kept) in kept {
            if let (Some(entry), Some(lease)) = (table.entries.get_mut(&key), kept.lease) {
                entry.saved(&lease.id);
            }
        }
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.0.table)
    }
}

#[cfg(test)]
impl Leases {
    /// The number of calls that wait for their pod.
    pub(crate) fn waiting(&self) -> usize {
        self.0.pods_changed.receiver_count()
    }

    /// The number of writes of the state file.
    pub(crate) fn writes(&self) -> u64 {
        self.table().writes
    }

    /// Blocks writes.
    pub(crate) async fn block_writes(&self) -> impl Drop {
        Arc::clone(&self.0.last_write).lock_owned().await
    }
}

fn transient(text: String) -> Failure {
    Failure::new(FailureKind::Transient, text)
}

fn not_known(pod: &Pod) -> Failure {
    transient(format!(
        "the pod {}/{} is not known to the provider, so its dynamic credentials would never be revoked; the kubelet retries. If \
         this stays, check in the provider's log that its service account may list and watch pods",
        pod.namespace, pod.name
    ))
}

fn being_revoked(dynamic: &DynamicRef) -> Failure {
    transient(format!(
        "{dynamic}: the credentials are being revoked, because the pod is gone or no volume has had them for {} min; the kubelet retries",
        UNUSED_LIMIT.as_secs() / 60
    ))
}

fn stopping(dynamic: &DynamicRef) -> Failure {
    transient(format!("{dynamic}: the provider is stopping; the kubelet retries once it runs again"))
}

fn too_many_replaced(dynamic: &DynamicRef, count: usize) -> Failure {
    transient(format!(
        "{dynamic}: {count} replaced leases have not expired yet, which is the limit; check in the provider's log why leases are \
         replaced, and that the clock of the node is right"
    ))
}

fn too_many_of_pod(pod: &Pod, count: usize) -> Failure {
    Failure::invalid(format!(
        "the volumes of the pod {}/{} ask for {count} dynamic credentials; allowed: {LEASES_MAX}; use fewer of them",
        pod.namespace, pod.name
    ))
}

fn too_many_former(pod: &Pod) -> Failure {
    transient(format!(
        "the pod {}/{} has {POD_ENTRIES_MAX} dynamic credentials with former ones that are not revoked yet, which is the limit; the \
         kubelet retries. Former ones are revoked {} min after the last volume that had them was mounted with others",
        pod.namespace,
        pod.name,
        UNUSED_LIMIT.as_secs() / 60
    ))
}

fn too_many_of_namespace(pod: &Pod) -> Failure {
    transient(format!(
        "the pods of the namespace {} on this node have {NAMESPACE_ENTRIES_MAX} dynamic credentials, which is the limit; run fewer \
         pods with them on a node, and delete pods that have finished",
        pod.namespace
    ))
}

fn too_many_of_node() -> Failure {
    transient(format!(
        "the pods of this node have {ENTRIES_MAX} dynamic credentials, which is the limit; run fewer pods with them on a node, and \
         delete pods that have finished"
    ))
}
