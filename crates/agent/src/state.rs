//! The state that the agent stores for its next run: the login, the subscription, the leases, and
//! limits on generating new ones.
//!
//! Each is stored before it is used, so that a restart does not create it again.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use scaivault_client::{
    LeaseId, StoredLease, StoredToken, SubscriptionId, Token, from_unix_seconds, unix_seconds,
};
use scaivault_contract::DynamicRef;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;
use tokio::time::Instant;

use crate::leases::{Generation, Leases};

/// The file in the state directory.
const FILE: &str = "state.json";
/// The file before it is renamed.
const TEMPORARY: &str = "state.json.new";
/// Only for the agent's user, because the file contains a token and credentials.
const MODE: u32 = 0o600;
/// The maximum distance of a restored due time, in case the clock has changed.
const DUE_LIMIT: Duration = Duration::from_hours(24);
/// The earliest revocation of a lease whose due time is unknown: its application has new
/// credentials by then.
const UNREADABLE_LEASE: Duration = Duration::from_mins(5);

/// The state of the previous run.
#[derive(Debug, Default)]
pub(crate) struct PreviousRun {
    pub(crate) token: Option<Token>,
    pub(crate) leases: Leases,
    pub(crate) subscription: Option<SubscriptionId>,
}

/// The storage of the state; `None` stores nothing.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    dir: Option<PathBuf>,
}

impl Store {
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir }
    }

    /// The state of the previous run. A file that cannot be read or parsed is treated as missing:
    /// the agent starts from the beginning.
    pub(crate) fn load(&self) -> PreviousRun {
        let Some(dir) = &self.dir else { return PreviousRun::default() };
        let bytes = match fs::read(dir.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(dir = %dir.display(), %error, "state of the previous start cannot be read, starting without it");
                }
                return PreviousRun::default();
            }
        };
        let Ok(members) = serde_json::from_slice(&bytes) else {
            tracing::warn!(dir = %dir.display(), "state of the previous start is malformed, starting without it");
            return PreviousRun::default();
        };
        let mut raw = Raw { members, unreadable: Vec::new() };
        let resumed = raw.restore(Clocks::now());
        if !raw.unreadable.is_empty() {
            tracing::warn!(dir = %dir.display(), entries = raw.unreadable.len(), "part of the state of the previous start is malformed, ignoring it");
        }
        resumed
    }

    /// Writes the state atomically: after a crash the previous one remains.
    pub(crate) fn save(
        &self,
        token: Option<&Token>,
        leases: &Leases,
        subscription: Option<&SubscriptionId>,
    ) -> Result<(), StateError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let kept = StoredState::new(token, leases, subscription, Clocks::now());
        let json = serde_json::to_vec(&kept).expect("text and numbers can be written as JSON");
        write(dir, &json).map_err(|source| StateError { dir: dir.clone(), source })
    }
}

/// State that cannot be written: without it, a restart would not know a generated lease.
#[derive(Debug, Error)]
#[error(
    "cannot keep the agent's state in {}: {source}; it must be a writable directory of the agent's user",
    .dir.display()
)]
pub(crate) struct StateError {
    dir: PathBuf,
    source: io::Error,
}

fn write(dir: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(TEMPORARY);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(FILE))
}

/// The time at which monotonic times are converted to those of the file, and back.
#[derive(Clone, Copy)]
struct Clocks {
    now: Instant,
    time: SystemTime,
}

impl Clocks {
    fn now() -> Self {
        Self { now: Instant::now(), time: SystemTime::now() }
    }

    fn seconds(self, due: Instant) -> u64 {
        unix_seconds(self.time + due.saturating_duration_since(self.now))
    }

    fn instant(self, seconds: u64) -> Instant {
        self.now + from_unix_seconds(seconds).duration_since(self.time).unwrap_or_default().min(DUE_LIMIT)
    }
}

/// The file's content. Times are seconds since 1970.
#[derive(Serialize)]
struct StoredState {
    saved: u64,
    token: Option<StoredToken>,
    leases: Vec<KeptDynamic>,
    subscription: Option<SubscriptionId>,
    retired: Vec<KeptRetired>,
    generations: Vec<KeptGeneration>,
}

/// A lease that is to be revoked, and when.
type KeptRetired = (LeaseId, u64);

/// The rate limit on generating leases for one dynamic secret: the number of wasted generations,
/// and when the next is allowed.
type KeptGeneration = (DynamicRef, u32, u64);

/// A lease with its dynamic secret.
#[derive(Serialize, Deserialize)]
struct KeptDynamic {
    dynamic: DynamicRef,
    #[serde(flatten)]
    lease: StoredLease,
}

impl StoredState {
    fn new(
        token: Option<&Token>,
        leases: &Leases,
        subscription: Option<&SubscriptionId>,
        clocks: Clocks,
    ) -> Self {
        let held = leases
            .iter()
            .map(|(dynamic, lease)| KeptDynamic { dynamic: dynamic.clone(), lease: StoredLease::new(lease) });
        let retired = leases.retired().map(|(lease, due)| (lease.clone(), clocks.seconds(due)));
        let generations = leases.generations.iter().filter_map(|(dynamic, generation)| {
            let backoff = generation.if_killed(clocks.now);
            Some((dynamic.clone(), backoff.failures(), clocks.seconds(backoff.due()?)))
        });
        Self {
            saved: unix_seconds(clocks.time),
            token: token.map(StoredToken::new),
            leases: held.collect(),
            subscription: subscription.cloned(),
            retired: retired.collect(),
            generations: generations.collect(),
        }
    }
}

/// The file's members before they are parsed: each entry is parsed separately, so that an invalid
/// one does not affect the others.
struct Raw<'a> {
    members: BTreeMap<String, &'a RawValue>,
    unreadable: Vec<&'a RawValue>,
}

impl<'a> Raw<'a> {
    fn restore(&mut self, clocks: Clocks) -> PreviousRun {
        let mut leases = Leases::default();
        for KeptDynamic { dynamic, lease } in self.entries::<KeptDynamic>("leases") {
            let id = lease.id.clone();
            match lease.restore() {
                Some(lease) => leases.insert(dynamic, lease, clocks.now),
                None => leases.retire(id, clocks.now + UNREADABLE_LEASE),
            }
        }
        for raw in &self.unreadable {
            #[derive(Deserialize)]
            struct Named {
                id: LeaseId,
            }
            if let Ok(Named { id }) = serde_json::from_str(raw.get()) {
                leases.retire(id, clocks.now + UNREADABLE_LEASE);
            }
        }
        let saved = self.members.get("saved").copied();
        let saved: u64 = self.entry(saved).unwrap_or_default();
        for (lease, due) in self.entries::<KeptRetired>("retired") {
            // If the clock was set forward meanwhile, an application may still use a lease that was
            // not due yet.
            let left = Duration::from_secs(due.saturating_sub(saved)).min(UNREADABLE_LEASE);
            leases.retire(lease, clocks.instant(due).max(clocks.now + left));
        }
        for (dynamic, failures, due) in self.entries::<KeptGeneration>("generations") {
            leases.generations.insert(dynamic, Generation::new(failures, clocks.instant(due)));
        }
        let token = self.members.get("token").copied();
        let subscription = self.members.get("subscription").copied();
        PreviousRun {
            token: self.entry::<StoredToken>(token).and_then(StoredToken::restore),
            subscription: self.entry(subscription),
            leases,
        }
    }

    fn entries<T: Deserialize<'a>>(&mut self, name: &str) -> Vec<T> {
        let member = self.members.get(name).copied();
        let all: Vec<&RawValue> = self.entry(member).unwrap_or_default();
        all.into_iter().filter_map(|raw| self.entry(Some(raw))).collect()
    }

    fn entry<T: Deserialize<'a>>(&mut self, raw: Option<&'a RawValue>) -> Option<T> {
        let raw = raw.filter(|raw| raw.get() != "null")?;
        serde_json::from_str(raw.get()).inspect_err(|_| self.unreadable.push(raw)).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use scaivault_client::{HeldLease, Lease, LeaseTerm, SecretData};
    use secrecy::ExposeSecret as _;
    use serde_json::Value;

    use super::*;

    const NOON: SystemTime = SystemTime::UNIX_EPOCH;

    fn dynamic(role: &str) -> DynamicRef {
        format!("engine=postgres-prod role={role} ttl=2h").parse().unwrap()
    }

    /// One lease in use, one that is to be revoked in an hour, one that is being generated.
    fn leases() -> Leases {
        let now = Instant::now();
        let term = LeaseTerm { ttl: Duration::from_hours(2), is_renewable: true, max_ttl: None };
        let credentials = SecretData::new(r#"{"username":"u","password":"p"}"#).unwrap();
        let lease = Lease { id: "lease_1".parse().unwrap(), credentials, term };
        let mut leases = Leases::default();
        leases.insert(dynamic("readonly"), HeldLease::generated(lease, NOON), now);
        leases.retire("lease_0".parse().unwrap(), now + Duration::from_hours(1));
        leases.generating(&dynamic("readwrite"));
        leases
    }

    fn store(dir: &tempfile::TempDir) -> Store {
        Store::new(Some(dir.path().to_owned()))
    }

    #[test]
    fn the_saved_state_is_private_and_restored() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let token = Token::restore("ey.J".into(), NOON, NOON + Duration::from_mins(10)).unwrap();
        let subscription = "sub_1".parse().unwrap();
        for _ in 0..2 {
            store.save(Some(&token), &leases(), Some(&subscription)).unwrap();
        }
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let resumed = store.load();
        let now = Instant::now();
        assert_eq!(resumed.token.unwrap().secret().expose_secret(), "ey.J");
        assert_eq!(resumed.subscription, Some(subscription));
        let lease = resumed.leases.iter().next().unwrap().1;
        assert_eq!(lease.id.as_str(), "lease_1");
        assert_eq!(lease.credentials.json(), r#"{"username":"u","password":"p"}"#);
        assert_eq!(lease.ends, NOON + Duration::from_hours(2));
        let (retired, due) = resumed.leases.retired().next().unwrap();
        assert_eq!(retired.as_str(), "lease_0");
        assert!((3500..=3600).contains(&(due - now).as_secs()), "{:?}", due - now);
        let due = resumed.leases.generation_due(&dynamic("readwrite")).unwrap() - now;
        assert!((15..=40).contains(&due.as_secs()), "the open generation counts as wasted: {due:?}");
        assert_eq!(resumed.leases.generation_due(&dynamic("readonly")), None);
    }

    #[test]
    fn a_broken_file_counts_as_missing() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        assert!(store.load().token.is_none());
        for text in ["", "{", "[]", r#"{"token":{"secret":"","received":5,"use_until":1},"leases":[]}"#] {
            fs::write(dir.path().join(FILE), text).unwrap();
            let PreviousRun { token, leases, .. } = store.load();
            assert!(token.is_none() && leases.is_empty(), "{text}");
        }
    }

    #[test]
    fn an_unreadable_entry_does_not_affect_others() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let token = Token::restore("ey.J".into(), NOON, NOON + Duration::from_mins(10)).unwrap();
        store.save(Some(&token), &leases(), None).unwrap();
        let file = dir.path().join(FILE);
        let mut kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let lease = kept["leases"][0].clone();
        for (id, member, value) in [
            ("lease_2", "ends", Value::from("soon")),
            ("lease_3", "credentials", Value::from("no JSON")),
            ("../x", "ends", Value::from(1)),
        ] {
            let mut broken = lease.clone();
            (broken["id"], broken[member]) = (id.into(), value);
            kept["leases"].as_array_mut().unwrap().insert(0, broken);
        }
        kept["leases"][3]["of a later version"] = true.into();
        kept["of a later version"] = true.into();
        kept["token"] = 1.into();
        kept["subscription"] = "not / an identifier".into();
        kept["generations"] = "none".into();
        kept["retired"][0][1] = u64::MAX.into();
        kept["retired"].as_array_mut().unwrap().push(Value::Null);
        fs::write(&file, kept.to_string()).unwrap();

        let PreviousRun { token, leases, subscription } = store.load();
        assert!(token.is_none() && subscription.is_none());
        let held: Vec<_> = leases.iter().map(|(_, lease)| lease.id.as_str()).collect();
        assert_eq!(held, ["lease_1"]);
        let retired: Vec<_> = leases.retired().map(|(lease, _)| lease.as_str()).collect();
        assert_eq!(retired, ["lease_0", "lease_2", "lease_3"], "they are revoked");
    }

    #[test]
    fn a_clock_step_leaves_a_lease_to_its_application() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        for (saved, due, expected) in [(1000, 1000, 0), (1000, 1010, 10), (1000, 5000, 300)] {
            let state = serde_json::json!({ "saved": saved, "retired": [["lease_0", due]] });
            fs::write(dir.path().join(FILE), state.to_string()).unwrap();
            let now = Instant::now();
            let left = store.load().leases.retired().next().unwrap().1 - now;
            assert_eq!(left.as_secs(), expected, "{due}");
        }
    }

    #[test]
    fn an_unwritable_directory_is_an_error_with_a_fix() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path().join("absent")));
        let error = store.save(None, &leases(), None).unwrap_err().to_string();
        assert!(error.contains("must be a writable directory"), "{error}");
        assert!(Store::new(None).save(None, &leases(), None).is_ok());
    }
}
