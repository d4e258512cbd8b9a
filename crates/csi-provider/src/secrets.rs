//! Secrets in memory: one request for each identity, path and version, however many pods and volumes ask. Only callers whose
//! token ScaiVault has accepted for this identity come here, see [`crate::logins`].

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use scaivault_client::{Announced, Changes, Client, Error, Secret, VersionFloor};
use scaivault_contract::{ObjectName, SecretPath, SecretRef};
use tokio::{sync::Semaphore, time::Instant};

use crate::{attributes::Pod, config::LoginTarget, lock, mount::repeat};

/// With events, a secret is read again after so many refresh intervals: events of a path may be missing, as those of secrets
/// that ScaiVault itself reads elsewhere.
const INTERVALS_WITH_EVENTS: u32 = 10;
/// How long a secret is kept after its last use. The driver calls again about every minute, as long as the pod is there.
const IDLE_LIMIT: Duration = Duration::from_mins(10);
/// The most secrets in memory, of which those go first that were not used for the longest time.
const SECRETS_MAX: usize = 4096;
/// The most bytes of their data together.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// How many secrets are read at once, for all mounts.
const READS_AT_ONCE: usize = 64;

/// Whom ScaiVault sees: pods of one service account that log in alike are one identity.
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

/// Why a secret is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The first mount of a volume. The identity's rights may have changed since others read the secret, so that it is not
    /// answered from memory for longer than the refresh interval.
    NewVolume,
    /// A volume that is mounted is published again. Events of the secret have arrived since then; none: they do not arrive.
    Republish(Option<Instant>),
}

/// What ScaiVault said of a secret.
#[derive(Clone)]
enum Answer {
    Found(Arc<Secret>),
    /// It does not exist.
    Absent(Arc<Error>),
}

/// One secret.
struct Entry {
    kept: Option<Kept>,
    floor: VersionFloor,
    /// The last event, and the version that it announced.
    changed: Option<(Instant, Option<u64>)>,
    used: Instant,
    /// Held during a request, so that callers that come at once send one.
    reading: Arc<tokio::sync::Mutex<()>>,
}

struct Kept {
    answer: Answer,
    /// When the request was sent.
    asked: Instant,
}

impl Entry {
    fn new(now: Instant) -> Self {
        let (kept, changed, reading) = (None, None, Arc::default());
        Self { kept, floor: VersionFloor::default(), changed, used: now, reading }
    }

    /// What can be answered without a request.
    fn fresh(&self, key: &Key, purpose: Purpose, interval: Duration, now: Instant) -> Option<Answer> {
        let Kept { answer, asked } = self.kept.as_ref()?;
        let version = answer.version();
        let is_announced =
            |announced: Option<u64>| announced.is_some_and(|announced| version >= Some(announced));
        if self.changed.is_some_and(|(at, announced)| at >= *asked && !is_announced(announced)) {
            return None;
        }
        let long = interval.saturating_mul(INTERVALS_WITH_EVENTS);
        let limit = match (answer, purpose) {
            (_, Purpose::Republish(Some(since))) if since <= *asked && key.version.is_none() => long,
            // A version never changes. It may be deleted when it is old.
            (Answer::Found(_), Purpose::Republish(_)) if key.version.is_some() => long,
            (Answer::Found(_), _) => interval,
            (Answer::Absent(_), _) => return None,
        };
        (now.duration_since(*asked) < limit).then(|| answer.clone())
    }

    /// Takes the answer to a request that was sent at `asked`. Of a version that is older than one known, the known one stays: a
    /// replica or a cache lags.
    fn take(&mut self, key: &Key, answer: Answer, asked: Instant, now: Instant) -> Answer {
        match &answer {
            Answer::Found(secret) if key.version.is_none() && !self.floor.accept(secret.version, now) => {
                return self.kept.as_ref().map_or(answer, |kept| kept.answer.clone());
            }
            Answer::Found(_) => {}
            Answer::Absent(_) => self.floor.expect_new_history(now),
        }
        self.kept = Some(Kept { answer: answer.clone(), asked });
        answer
    }

    fn announce(&mut self, announced: Announced, now: Instant) {
        let Announced { version, is_new_history } = announced;
        if is_new_history {
            self.floor.expect_new_history(now);
        }
        if let Some(version) = version {
            self.floor.raise(version);
        }
        // Of a new history, also a lower version is news.
        self.changed = Some((now, version.filter(|_| !is_new_history)));
    }

    fn bytes(&self) -> usize {
        match &self.kept {
            Some(Kept { answer: Answer::Found(secret), .. }) => secret.data.json().len(),
            _ => 0,
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

/// All secrets that were read lately.
pub(crate) struct Secrets {
    refresh_interval: Duration,
    entries: Mutex<BTreeMap<Key, Entry>>,
    reads: Semaphore,
}

impl Secrets {
    pub(crate) fn new(refresh_interval: Duration) -> Self {
        Self { refresh_interval, entries: Mutex::default(), reads: Semaphore::new(READS_AT_ONCE) }
    }

    /// Reads a secret, or answers it from memory.
    pub(crate) async fn read(
        &self,
        client: &Client,
        identity: &Identity,
        secret: &SecretRef,
        purpose: Purpose,
        deadline: Instant,
    ) -> Result<Arc<Secret>, Arc<Error>> {
        let key = Key { identity: identity.clone(), path: secret.path.clone(), version: secret.version };
        let reading = match self.fresh(&key, purpose) {
            Ok(answer) => return answer.into_result(),
            Err(reading) => reading,
        };
        let _one_request = reading.lock().await;
        if let Ok(answer) = self.fresh(&key, purpose) {
            return answer.into_result();
        }
        let _permit = self.reads.acquire().await;
        let asked = Instant::now();
        let answer = match repeat(deadline, || client.read(&secret.path, secret.version)).await {
            Ok(secret) => Answer::Found(Arc::new(secret)),
            Err(error) if error.is_gone() => Answer::Absent(Arc::new(error)),
            Err(error) => return Err(Arc::new(error)),
        };
        let now = Instant::now();
        let mut entries = self.entries();
        let taken =
            entries.entry(key.clone()).or_insert_with(|| Entry::new(now)).take(&key, answer, asked, now);
        evict(&mut entries);
        taken.into_result()
    }

    /// What is in memory, or the lock of a request.
    fn fresh(&self, key: &Key, purpose: Purpose) -> Result<Answer, Arc<tokio::sync::Mutex<()>>> {
        let now = Instant::now();
        let mut entries = self.entries();
        let entry = entries.entry(key.clone()).or_insert_with(|| Entry::new(now));
        entry.used = now;
        entry.fresh(key, purpose, self.refresh_interval, now).ok_or_else(|| Arc::clone(&entry.reading))
    }

    /// Events reported changes.
    pub(crate) fn announce(&self, identity: &Identity, changes: &Changes) {
        let now = Instant::now();
        for (key, entry) in self.entries().iter_mut().filter(|(key, _)| key.identity == *identity) {
            match changes {
                Changes::Any => entry.announce(Announced::default(), now),
                Changes::Of(paths) => {
                    if let Some(announced) = paths.get(&key.path) {
                        entry.announce(*announced, now);
                    }
                }
            }
        }
    }

    /// Forgets secrets that were not read for a while.
    pub(crate) fn forget_idle(&self, now: Instant) {
        self.entries().retain(|_, entry| entry.used + IDLE_LIMIT > now);
    }

    /// The paths of an identity whose newest version is in use.
    pub(crate) fn paths(&self, identity: &Identity) -> BTreeSet<SecretPath> {
        let entries = self.entries();
        let own = entries.keys().filter(|key| key.identity == *identity && key.version.is_none());
        own.map(|key| key.path.clone()).collect()
    }

    /// How many secrets are in memory.
    pub(crate) fn count(&self) -> usize {
        self.entries().values().filter(|entry| entry.kept.is_some()).count()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        lock(&self.entries)
    }
}

/// Forgets what was not used for the longest time, until the rest is within the bounds.
fn evict(entries: &mut BTreeMap<Key, Entry>) {
    let mut bytes: usize = entries.values().map(Entry::bytes).sum();
    while entries.len() > SECRETS_MAX || bytes > BYTES_MAX {
        let oldest = entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
        let Some(entry) = oldest.and_then(|key| entries.remove(&key)) else { return };
        bytes -= entry.bytes();
    }
}

#[cfg(test)]
mod tests;
