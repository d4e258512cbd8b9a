//! Leases of dynamic credentials: one for each pod and dynamic secret, however often the driver calls. A lease is renewed
//! in the background, replaced when a renewal gives no more time, and revoked when its pod is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use scaivault_client::{Backoff, Client, HeldLease, LeaseId, LeaseStep, Retry, SecretData};
use scaivault_contract::DynamicRef;
use tokio::time::{Instant, interval};

use crate::{
    attributes::Pod,
    config::{Config, LoginTarget},
    failure::{Failure, FailureKind},
    lock,
    state::StateFile,
};

/// How long an engine may take: a lease whose answer is dropped cannot be revoked.
const GENERATION_TIMEOUT: Duration = Duration::from_mins(5);
/// The first and the longest pause after a generation that failed: it may have made a user.
const GENERATION_PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(5));
/// The first and the longest pause after a renewal or a revocation that failed.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// How often leases are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Where in the time for renewals this provider renews.
const JITTER: f64 = 0.5;

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
    entries: Mutex<BTreeMap<LeaseKey, Entry>>,
}

/// What is known of one lease.
struct Entry {
    /// The pod's last login.
    client: Arc<Client>,
    since: Instant,
    lease: Option<HeldLease>,
    /// Leases that were replaced. The application may still use them, so they go with the pod.
    replaced: BTreeSet<LeaseId>,
    /// Whether the pod is gone, so that all of them are to be revoked.
    is_gone: bool,
    /// Held while a lease is generated, so that calls that come at once make one.
    generating: Arc<tokio::sync::Mutex<()>>,
    generations: Backoff,
    /// Set while a renewal or a revocation is under way.
    is_busy: bool,
    retries: Backoff,
}

/// What an entry looks like in the state file.
pub(crate) struct KeptLeases {
    pub(crate) lease: Option<HeldLease>,
    pub(crate) replaced: BTreeSet<LeaseId>,
}

impl Entry {
    fn new(client: Arc<Client>) -> Self {
        Self {
            client,
            since: Instant::now(),
            lease: None,
            replaced: BTreeSet::new(),
            is_gone: false,
            generating: Arc::default(),
            generations: Backoff::new(GENERATION_PAUSES),
            is_busy: false,
            retries: Backoff::new(RETRY_PAUSES),
        }
    }
}

impl Leases {
    /// No lease yet, but for those that [`Self::restore`] brings.
    pub(crate) fn new(config: Arc<Config>, state: StateFile) -> Self {
        Self(Arc::new(Shared { config, state, entries: Mutex::default() }))
    }

    /// Takes up what an earlier process held.
    pub(crate) fn restore(&self, key: LeaseKey, client: Arc<Client>, kept: KeptLeases) {
        let entry = Entry { lease: kept.lease, replaced: kept.replaced, ..Entry::new(client) };
        self.entries().insert(key, entry);
    }

    /// How many leases are held.
    pub(crate) fn count(&self) -> usize {
        self.entries().values().filter(|entry| entry.lease.is_some()).count()
    }

    /// The credentials of a pod: those that it has, or new ones.
    pub(crate) async fn credentials(
        &self,
        key: LeaseKey,
        client: &Arc<Client>,
    ) -> Result<SecretData, Failure> {
        let generating = {
            let mut entries = self.entries();
            let entry = entries.entry(key.clone()).or_insert_with(|| Entry::new(Arc::clone(client)));
            entry.client = Arc::clone(client);
            Arc::clone(&entry.generating)
        };
        // In a task of its own, which goes on when the mount's time is up: the next mount takes the lease.
        let leases = self.clone();
        let task = tokio::spawn(async move {
            let _one_at_a_time = generating.lock().await;
            leases.held_or_generated(&key).await
        });
        task.await.unwrap_or_else(|_| {
            Err(Failure::new(FailureKind::Internal, "the provider has an internal error; see its log"))
        })
    }

    async fn held_or_generated(&self, key: &LeaseKey) -> Result<SecretData, Failure> {
        let gone = || Failure::new(FailureKind::Transient, format!("{}: the pod is gone", key.dynamic));
        let (client, usable) = {
            let entries = self.entries();
            let entry = entries.get(key).filter(|entry| !entry.is_gone).ok_or_else(gone)?;
            let (now, usable) = (SystemTime::now(), entry.lease.as_ref());
            let usable = usable.filter(|lease| lease.is_usable(now));
            let is_due = usable.is_none_or(|lease| lease.step(now, JITTER) == LeaseStep::Replace);
            let credentials = usable.map(|lease| lease.credentials.clone());
            match (is_due, credentials) {
                (false, Some(credentials)) => return Ok(credentials),
                (_, credentials) if entry.generations.is_waiting(Instant::now()) => {
                    return credentials.ok_or_else(|| not_yet(&key.dynamic, &entry.generations));
                }
                (_, credentials) => (Arc::clone(&entry.client), credentials),
            }
        };
        match client.generate(&key.dynamic, GENERATION_TIMEOUT).await {
            Ok(lease) => self.hold(key, HeldLease::generated(lease, SystemTime::now())),
            Err(error) => {
                let failure = Failure::from_error(&key.dynamic, &error);
                if let Some(entry) = self.entries().get_mut(key) {
                    entry.generations.failed(Instant::now(), error.retry().always(GENERATION_PAUSES.1));
                    entry.replaced.extend(error.orphaned_lease().cloned());
                }
                tracing::warn!(namespace = %key.pod.namespace, pod = %key.pod.name, %failure, "lease not generated");
                self.save()?;
                usable.ok_or(failure)
            }
        }
    }

    /// Takes a generated lease into use. It is saved before its credentials are handed out.
    fn hold(&self, key: &LeaseKey, lease: HeldLease) -> Result<SecretData, Failure> {
        let LeaseKey { pod, dynamic, .. } = key;
        tracing::info!(namespace = %pod.namespace, pod = %pod.name, %dynamic, lease = %lease.id, ttl_seconds = lease.term().as_secs(), "lease generated");
        let credentials = lease.credentials.clone();
        if let Some(entry) = self.entries().get_mut(key) {
            entry.generations.succeeded();
            entry.retries.succeeded();
            entry.replaced.extend(entry.lease.replace(lease).map(|replaced| replaced.id));
        }
        self.save()?;
        Ok(credentials)
    }

    /// These pods exist, as listed after `since`: leases of others are revoked.
    pub(crate) fn keep_pods(&self, uids: &BTreeSet<String>, since: Instant) {
        for (key, entry) in &mut *self.entries() {
            if entry.since < since && !uids.contains(key.pod.uid.as_str()) {
                entry.is_gone = true;
            }
        }
    }

    /// A pod is gone.
    pub(crate) fn end_pod(&self, uid: &str) {
        for (_, entry) in self.entries().iter_mut().filter(|(key, _)| key.pod.uid.as_str() == uid) {
            entry.is_gone = true;
        }
    }

    /// Renews and revokes what is due, for ever.
    pub(crate) async fn run(self) {
        let mut ticks = interval(TICK);
        loop {
            ticks.tick().await;
            self.start_due(SystemTime::now());
        }
    }

    /// Starts the renewals and revocations that are due at `time`.
    pub(crate) fn start_due(&self, time: SystemTime) {
        let now = Instant::now();
        for (key, entry) in &mut *self.entries() {
            if entry.is_busy || entry.retries.is_waiting(now) {
                continue;
            }
            let renewal = entry.lease.as_ref().filter(|lease| lease.step(time, JITTER) == LeaseStep::Renew);
            let (leases, key, client) = (self.clone(), key.clone(), Arc::clone(&entry.client));
            if entry.is_gone {
                entry.is_busy = true;
                tokio::spawn(async move { leases.revoke(&key, &client).await });
            } else if let Some(lease) = renewal {
                let id = lease.id.clone();
                entry.is_busy = true;
                tokio::spawn(async move { leases.renew(&key, &client, &id).await });
            }
        }
    }

    async fn renew(&self, key: &LeaseKey, client: &Client, id: &LeaseId) {
        let renewed = client.renew(id, key.dynamic.ttl).await;
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(key) else { return };
        entry.is_busy = false;
        let Some(lease) = entry.lease.as_mut().filter(|lease| lease.id == *id) else { return };
        match renewed {
            Ok(term) => {
                lease.renew(term, SystemTime::now());
                entry.retries.succeeded();
                tracing::debug!(lease = %id, "lease renewed");
            }
            Err(error) => {
                tracing::warn!(lease = %id, %error, "lease not renewed");
                if error.is_gone() {
                    entry.lease = None;
                } else if error.retry() == Retry::Never {
                    lease.refuse_renewal();
                } else {
                    entry.retries.failed(Instant::now(), error.retry());
                }
            }
        }
        drop(entries);
        self.save_or_warn();
    }

    /// Revokes all leases of an entry whose pod is gone, and forgets it.
    async fn revoke(&self, key: &LeaseKey, client: &Client) {
        let generating = self.entries().get(key).map(|entry| Arc::clone(&entry.generating));
        // A generation under way is awaited: its lease is revoked too.
        let _none_under_way = match &generating {
            Some(generating) => Some(generating.lock().await),
            None => None,
        };
        let ids: Vec<_> = self.entries().get(key).map(Entry::ids).unwrap_or_default();
        let mut last_error = None;
        for id in ids {
            match client.revoke(&id).await {
                Ok(()) => {
                    tracing::info!(namespace = %key.pod.namespace, pod = %key.pod.name, lease = %id, "lease revoked");
                    if let Some(entry) = self.entries().get_mut(key) {
                        entry.forget(&id);
                    }
                }
                Err(error) => {
                    tracing::warn!(lease = %id, %error, "lease not revoked");
                    last_error = Some(error);
                }
            }
        }
        let mut entries = self.entries();
        let is_over = match (entries.get_mut(key), last_error) {
            (Some(entry), Some(error)) => {
                entry.is_busy = false;
                // Without another attempt the lease ends by itself.
                entry.retries.failed(Instant::now(), error.retry()).is_none()
            }
            _ => true,
        };
        if is_over {
            entries.remove(key);
        }
        drop(entries);
        self.save_or_warn();
    }

    fn save(&self) -> Result<(), Failure> {
        let entries = self.entries();
        let kept = entries.iter().map(|(key, entry)| (key, &*entry.client, &entry.lease, &entry.replaced));
        self.0
            .state
            .save(&self.0.config, kept)
            .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))
    }

    fn save_or_warn(&self) {
        if let Err(failure) = self.save() {
            tracing::warn!(%failure, "leases not saved");
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<LeaseKey, Entry>> {
        lock(&self.0.entries)
    }
}

impl Entry {
    fn ids(&self) -> Vec<LeaseId> {
        self.lease.iter().map(|lease| &lease.id).chain(&self.replaced).cloned().collect()
    }

    fn forget(&mut self, id: &LeaseId) {
        self.replaced.remove(id);
        self.lease = self.lease.take().filter(|lease| lease.id != *id);
    }
}

fn not_yet(dynamic: &DynamicRef, generations: &Backoff) -> Failure {
    let pause = generations.due().map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now()));
    Failure::new(
        FailureKind::Transient,
        format!(
            "{dynamic}: the last attempt failed and may have made a database user, so the next one is made in {} s; see the provider's log",
            pause.as_secs()
        ),
    )
}
