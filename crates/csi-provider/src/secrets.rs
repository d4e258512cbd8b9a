//! The cache of secrets: one request for each identity, path and version, regardless of the number of pods
//! and volumes. It is only used for callers whose token ScaiVault has accepted for this identity, see
//! [`crate::logins`].

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use scaivault_client::{AnnouncedChange, Changes, Client, Error, Retry, Secret, VersionFloor};
use scaivault_contract::{ObjectName, SecretPath, SecretRef};
use tokio::time::Instant;

use crate::{attributes::Pod, config::LoginTarget, lock};

/// The number of refresh intervals after which a secret is read again while events arrive. There may be no
/// events for a path, such as for secrets that ScaiVault itself reads from another system.
const INTERVALS_WITH_EVENTS: u32 = 10;
/// How long a secret is kept after its last use. The driver calls again about every minute while the pod
/// exists.
const IDLE_LIMIT: Duration = Duration::from_mins(10);
/// The maximum size of the cache. Beyond it, the namespace with the most bytes loses its least recently used
/// secrets.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// The maximum size of one namespace's secrets, so that it cannot evict those of others.
const NAMESPACE_MAX_BYTES: usize = BYTES_MAX / 2;
/// The bytes that a secret counts in addition to its data, which limits the number of secrets.
const ENTRY_BYTES: usize = 8 * 1024;

/// An identity at ScaiVault. Pods of one service account with the same login parameters share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) namespace: ObjectName,
    pub(crate) service_account: ObjectName,
    pub(crate) target: LoginTarget,
}

impl Identity {
    pub(crate) fn new(pod: &Pod, target: &LoginTarget) -> Self {
        let Pod { namespace, service_account, .. } = pod.clone();
        Self { namespace, service_account, target: target.clone() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    identity: Identity,
    path: SecretPath,
    version: Option<NonZeroU32>,
}

/// Why a secret is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The first mount of a volume. The identity's rights may have changed since the secret was read, so the
    /// cached one must not be older than the refresh interval.
    NewVolume,
    /// A mounted volume is republished. Contains the time since when events of the secret arrive; `None` if
    /// they do not.
    Republish(Option<Instant>),
}

/// ScaiVault's response for a secret.
#[derive(Clone)]
enum Answer {
    Found(Arc<Secret>),
    /// It does not exist.
    Absent(Arc<Error>),
}

/// A cached secret.
struct Entry {
    kept: Option<CachedAnswer>,
    floor: VersionFloor,
    /// The time of the last event, and the version in it.
    changed: Option<(Instant, Option<u64>)>,
    used: Instant,
    /// Locked during a request, so that concurrent callers send only one.
    reading: Reading,
}

/// The lock of the requests of one entry. An entry that was evicted and created again has a different lock.
type Reading = Arc<tokio::sync::Mutex<Option<LastFailure>>>;

/// The temporary error of the last request of an entry.
struct LastFailure {
    at: Instant,
    error: Arc<Error>,
}

struct CachedAnswer {
    answer: Answer,
    /// When the request was sent.
    asked: Instant,
}

impl Entry {
    fn new(now: Instant) -> Self {
        let (kept, changed, reading) = (None, None, Arc::default());
        Self { kept, floor: VersionFloor::default(), changed, used: now, reading }
    }

    /// The cached response, if it is fresh enough.
    fn fresh(&self, key: &Key, purpose: Purpose, interval: Duration, now: Instant) -> Option<Answer> {
        let CachedAnswer { answer, asked } = self.kept.as_ref()?;
        let version = answer.version();
        let is_announced =
            |announced: Option<u64>| announced.is_some_and(|announced| version >= Some(announced));
        if self.changed.is_some_and(|(at, announced)| at >= *asked && !is_announced(announced)) {
            return None;
        }
        let long = interval.saturating_mul(INTERVALS_WITH_EVENTS);
        let limit = match (answer, purpose) {
            (_, Purpose::Republish(Some(since))) if since <= *asked && key.version.is_none() => long,
            // A version never changes, but an old one may be deleted.
            (Answer::Found(_), Purpose::Republish(_)) if key.version.is_some() => long,
            (Answer::Found(_), _) => interval,
            (Answer::Absent(_), _) => return None,
        };
        (now.duration_since(*asked) < limit).then(|| answer.clone())
    }

    /// Stores the response to a request that was sent at `asked`. If its version is older than the known
    /// one, the known one is kept, because the response came from a replica or cache that lags.
    fn take(&mut self, key: &Key, answer: Answer, asked: Instant, now: Instant) -> Answer {
        match &answer {
            Answer::Found(secret) if key.version.is_none() && !self.floor.accept(secret.version, now) => {
                return self.kept.as_ref().map_or(answer, |kept| kept.answer.clone());
            }
            Answer::Found(_) => {}
            Answer::Absent(_) => self.floor.expect_new_history(now),
        }
        self.kept = Some(CachedAnswer { answer: answer.clone(), asked });
        answer
    }

    fn announce(&mut self, announced: AnnouncedChange, now: Instant) {
        let AnnouncedChange { version, is_new_history } = announced;
        if is_new_history {
            self.floor.expect_new_history(now);
        }
        if let Some(version) = version {
            self.floor.raise(version);
        }
        // If the secret was created again, a lower version is newer.
        self.changed = Some((now, version.filter(|_| !is_new_history)));
    }

    fn bytes(&self) -> usize {
        match &self.kept {
            Some(CachedAnswer { answer: Answer::Found(secret), .. }) => {
                ENTRY_BYTES + secret.data.json().len()
            }
            _ => ENTRY_BYTES,
        }
    }
}

impl Answer {
    fn version(&self) -> Option<u64> {
        match self {
            Self::Found(secret) => Some(secret.version),
            Self::Absent(_) => None,
        }
    }

    fn into_result(self) -> Result<Arc<Secret>, Arc<Error>> {
        match self {
            Self::Found(secret) => Ok(secret),
            Self::Absent(error) => Err(error),
        }
    }
}

/// All cached secrets.
pub(crate) struct Secrets {
    refresh_interval: Duration,
    namespaces: Mutex<Namespaces>,
}

/// The entries of each namespace.
type Namespaces = BTreeMap<ObjectName, BTreeMap<Key, Entry>>;

impl Secrets {
    pub(crate) fn new(refresh_interval: Duration) -> Self {
        Self { refresh_interval, namespaces: Mutex::default() }
    }

    /// Returns a cached secret or reads it. Concurrent callers share the error of a request; otherwise the
    /// last of them would wait for as many timeouts as there are callers.
    pub(crate) async fn read(
        &self,
        client: &Client,
        identity: &Identity,
        secret: &SecretRef,
        purpose: Purpose,
    ) -> Result<Arc<Secret>, Arc<Error>> {
        let came = Instant::now();
        let key = Key { identity: identity.clone(), path: secret.path.clone(), version: secret.version };
        let mut reading = match self.fresh(&key, purpose) {
            Ok(answer) => return answer.into_result(),
            Err(reading) => reading,
        };
        let mut one_request = loop {
            let one_request = Arc::clone(&reading).lock_owned().await;
            match self.fresh(&key, purpose) {
                Ok(answer) => return answer.into_result(),
                Err(current) if Arc::ptr_eq(&current, &reading) => break one_request,
                Err(current) => reading = current,
            }
        };
        if let Some(failed) = one_request.as_ref().filter(|failed| failed.at >= came) {
            let error = Arc::clone(&failed.error);
            self.forget_unread(&key, &reading);
            return Err(error);
        }
        let asked = Instant::now();
        let answer = match client.read(&secret.path, secret.version).await {
            Ok(secret) => Answer::Found(Arc::new(secret)),
            Err(error) if error.is_gone() => Answer::Absent(Arc::new(error)),
            Err(error) => {
                let error = Arc::new(error);
                if error.retry() != Retry::Never {
                    *one_request = Some(LastFailure { at: Instant::now(), error: Arc::clone(&error) });
                }
                self.forget_unread(&key, &reading);
                return Err(error);
            }
        };
        self.take(&key, &reading, answer, asked).into_result()
    }

    /// The cached response, or the lock for a request.
    fn fresh(&self, key: &Key, purpose: Purpose) -> Result<Answer, Reading> {
        let now = Instant::now();
        let mut namespaces = self.namespaces();
        let entries = namespaces.entry(key.identity.namespace.clone()).or_default();
        if let Some(entry) = entries.get_mut(key) {
            entry.used = now;
            let answer = entry.fresh(key, purpose, self.refresh_interval, now);
            return answer.ok_or_else(|| Arc::clone(&entry.reading));
        }
        let entry = Entry::new(now);
        let reading = Arc::clone(&entry.reading);
        entries.insert(key.clone(), entry);
        evict(&mut namespaces, &key.identity.namespace);
        Err(reading)
    }

    /// Stores the response to a request that was sent at `asked`. It is discarded if the entry was evicted
    /// meanwhile, because an event of that time may be lost.
    fn take(&self, key: &Key, reading: &Reading, answer: Answer, asked: Instant) -> Answer {
        let mut namespaces = self.namespaces();
        let Some(entry) = own_entry(&mut namespaces, key, reading) else { return answer };
        let taken = entry.take(key, answer, asked, Instant::now());
        evict(&mut namespaces, &key.identity.namespace);
        taken
    }

    /// After a failed request: removes an entry without data, unless other callers wait for it.
    fn forget_unread(&self, key: &Key, reading: &Reading) {
        /// The references of the entry, of the caller, and of its guard.
        const OWN: usize = 3;
        let mut namespaces = self.namespaces();
        let is_unused = own_entry(&mut namespaces, key, reading)
            .is_some_and(|entry| entry.kept.is_none() && Arc::strong_count(reading) <= OWN);
        if is_unused && let Some(entries) = namespaces.get_mut(&key.identity.namespace) {
            entries.remove(key);
        }
    }

    /// Records changes that events have reported.
    pub(crate) fn announce(&self, identity: &Identity, changes: &Changes) {
        let now = Instant::now();
        let mut namespaces = self.namespaces();
        let entries = namespaces.get_mut(&identity.namespace).into_iter().flatten();
        for (key, entry) in entries.filter(|(key, _)| key.identity == *identity) {
            match changes {
                Changes::Any => entry.announce(AnnouncedChange::default(), now),
                Changes::Of(paths) => {
                    if let Some(announced) = paths.get(&key.path) {
                        entry.announce(*announced, now);
                    }
                }
            }
        }
    }

    /// Removes secrets that were not used for a while.
    pub(crate) fn forget_idle(&self, now: Instant) {
        self.namespaces().retain(|_, entries| {
            entries.retain(|_, entry| entry.used + IDLE_LIMIT > now);
            !entries.is_empty()
        });
    }

    /// The paths of which an identity uses the newest version.
    pub(crate) fn paths(&self, identity: &Identity) -> BTreeSet<SecretPath> {
        let namespaces = self.namespaces();
        let keys = namespaces.get(&identity.namespace).into_iter().flat_map(BTreeMap::keys);
        let own = keys.filter(|key| key.identity == *identity && key.version.is_none());
        own.map(|key| key.path.clone()).collect()
    }

    /// The number of cached secrets.
    pub(crate) fn count(&self) -> usize {
        let namespaces = self.namespaces();
        namespaces.values().flat_map(BTreeMap::values).filter(|entry| entry.kept.is_some()).count()
    }

    fn namespaces(&self) -> MutexGuard<'_, Namespaces> {
        lock(&self.namespaces)
    }
}

/// The entry of a request; `None` if it was evicted, even if a new one exists.
fn own_entry<'a>(namespaces: &'a mut Namespaces, key: &Key, reading: &Reading) -> Option<&'a mut Entry> {
    let entry = namespaces.get_mut(&key.identity.namespace)?.get_mut(key)?;
    Arc::ptr_eq(&entry.reading, reading).then_some(entry)
}

/// Enforces the limits after an entry of the namespace `changed` has grown.
fn evict(namespaces: &mut Namespaces, changed: &ObjectName) {
    if let Some(entries) = namespaces.get_mut(changed) {
        shrink(entries, NAMESPACE_MAX_BYTES);
    }
    while namespaces.values().map(bytes).sum::<usize>() > BYTES_MAX {
        let Some(largest) = namespaces.values_mut().max_by_key(|entries| bytes(entries)) else { return };
        let most = bytes(largest) - 1;
        shrink(largest, most);
    }
}

fn bytes(entries: &BTreeMap<Key, Entry>) -> usize {
    entries.values().map(Entry::bytes).sum()
}

/// Removes the least recently used secrets if there are more than `most` bytes. It frees more than
/// necessary, because each run looks at all of them.
fn shrink(entries: &mut BTreeMap<Key, Entry>, most: usize) {
    let mut bytes = bytes(entries);
    if bytes <= most {
        return;
    }
    let mut oldest: Vec<_> =
        entries.iter().map(|(key, entry)| (entry.used, entry.bytes(), key.clone())).collect();
    oldest.sort_unstable_by_key(|(used, ..)| *used);
    for (_, freed, key) in oldest {
        if bytes <= most - most / 8 {
            break;
        }
        entries.remove(&key);
        bytes -= freed;
    }
}

#[cfg(test)]
mod tests;
