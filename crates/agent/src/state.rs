//! What the agent keeps for its next start: the login, and the leases, so that none is generated a second time.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use scaivault_client::{LeaseId, SecretData, SubscriptionId, Token};
use scaivault_contract::DynamicRef;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use crate::{lease::HeldLease, leases::Leases};

/// The file in the state's directory.
const FILE: &str = "state.json";
/// The file on its way to its name.
const TEMPORARY: &str = "state.json.new";
/// For the agent's user alone: the file has a token and credentials.
const MODE: u32 = 0o600;

/// What the start before left.
#[derive(Debug, Default)]
pub(crate) struct Resumed {
    /// The login.
    pub(crate) token: Option<Token>,
    /// The leases.
    pub(crate) leases: Leases,
    /// The subscription to events.
    pub(crate) subscription: Option<SubscriptionId>,
}

/// The place where state is kept; none where nothing is to be kept.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    dir: Option<PathBuf>,
}

impl Store {
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir }
    }

    /// Whether anything survives the process.
    pub(crate) fn keeps(&self) -> bool {
        self.dir.is_some()
    }

    /// What the start before left. A file that cannot be read or understood is as good as none: the agent starts anew.
    pub(crate) fn load(&self) -> Resumed {
        let Some(dir) = &self.dir else { return Resumed::default() };
        let bytes = match fs::read(dir.join(FILE)) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(dir = %dir.display(), %error, "the state of the start before cannot be read, starting anew");
                }
                return Resumed::default();
            }
        };
        let Ok(kept) = serde_json::from_slice::<Kept>(&bytes) else {
            tracing::warn!(dir = %dir.display(), "the state of the start before cannot be understood, starting anew");
            return Resumed::default();
        };
        kept.restore()
    }

    /// Writes all of it, in one step: a crash leaves what was there before.
    pub(crate) fn save(
        &self,
        token: Option<&Token>,
        leases: &Leases,
        subscription: Option<&SubscriptionId>,
    ) -> Result<(), StateError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let kept = Kept::of(token, leases, subscription);
        let json = serde_json::to_vec(&kept).expect("text and numbers can be written as JSON");
        write(dir, &Zeroizing::new(json)).map_err(|source| StateError { dir: dir.clone(), source })
    }
}

/// State that cannot be written: going on would generate a lease that nobody knows after a restart.
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

/// The file's content. Times are seconds since 1970.
#[derive(Serialize, Deserialize)]
struct Kept {
    token: Option<KeptToken>,
    leases: Vec<KeptLease>,
    subscription: Option<SubscriptionId>,
}

#[derive(Serialize, Deserialize)]
struct KeptToken {
    secret: String,
    received: u64,
    use_until: u64,
}

#[derive(Serialize, Deserialize)]
struct KeptLease {
    dynamic: DynamicRef,
    id: LeaseId,
    credentials: String,
    issued: u64,
    renewed: u64,
    ends: u64,
    last_end: Option<u64>,
    is_renewable: bool,
}

impl Kept {
    fn of(token: Option<&Token>, leases: &Leases, subscription: Option<&SubscriptionId>) -> Self {
        let token = token.map(|token| KeptToken {
            secret: token.secret().expose_secret().to_owned(),
            received: seconds(token.received()),
            use_until: seconds(token.use_until()),
        });
        let leases = leases.iter().map(|(dynamic, lease)| KeptLease {
            dynamic: dynamic.clone(),
            id: lease.id.clone(),
            credentials: lease.credentials.json().to_owned(),
            issued: seconds(lease.issued),
            renewed: seconds(lease.renewed),
            ends: seconds(lease.ends),
            last_end: lease.last_end.map(seconds),
            is_renewable: lease.is_renewable,
        });
        Self { token, leases: leases.collect(), subscription: subscription.cloned() }
    }

    fn restore(mut self) -> Resumed {
        let token = self.token.as_mut().and_then(|kept| {
            let secret = std::mem::take(&mut kept.secret).into();
            Token::restore(secret, time(kept.received), time(kept.use_until))
        });
        let leases = std::mem::take(&mut self.leases).into_iter().filter_map(|mut kept| {
            let credentials = SecretData::new(&kept.credentials).ok();
            kept.credentials.zeroize();
            let lease = HeldLease {
                id: kept.id,
                credentials: credentials?,
                issued: time(kept.issued),
                renewed: time(kept.renewed),
                ends: time(kept.ends),
                last_end: kept.last_end.map(time),
                is_renewable: kept.is_renewable,
            };
            Some((kept.dynamic, lease))
        });
        Resumed { token, leases: leases.collect(), subscription: self.subscription.take() }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(token) = &mut self.token {
            token.secret.zeroize();
        }
        for lease in &mut self.leases {
            lease.credentials.zeroize();
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn time(seconds: u64) -> SystemTime {
    // What a broken file says is no reason to end: a time that cannot be is the earliest.
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use scaivault_client::{Lease, LeaseTerm};

    use super::*;

    const NOON: SystemTime = SystemTime::UNIX_EPOCH;

    fn leases() -> Leases {
        let term = LeaseTerm { ttl: Duration::from_hours(2), is_renewable: true, max_ttl: None };
        let credentials = SecretData::new(r#"{"username":"u","password":"p"}"#).unwrap();
        let lease = Lease { id: "lease_1".parse().unwrap(), credentials, term };
        let dynamic = "engine=postgres-prod role=readonly ttl=2h".parse().unwrap();
        Leases::from_iter([(dynamic, HeldLease::generated(lease, NOON))])
    }

    #[test]
    fn what_is_saved_is_loaded_and_is_for_its_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path().to_owned()));
        let token = Token::restore("ey.J".into(), NOON, NOON + Duration::from_mins(10)).unwrap();
        let subscription = "sub_1".parse().unwrap();
        for _ in 0..2 {
            store.save(Some(&token), &leases(), Some(&subscription)).unwrap();
        }
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let resumed = store.load();
        assert_eq!(resumed.token.unwrap().secret().expose_secret(), "ey.J");
        assert_eq!(resumed.subscription, Some(subscription));
        let lease = resumed.leases.iter().next().unwrap().1;
        assert_eq!(lease.id.as_str(), "lease_1");
        assert_eq!(lease.credentials.json(), r#"{"username":"u","password":"p"}"#);
        assert_eq!(lease.ends, NOON + Duration::from_hours(2));
    }

    #[test]
    fn a_broken_file_is_as_good_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path().to_owned()));
        assert!(store.load().token.is_none());
        for text in ["", "{", "[]", r#"{"token":{"secret":"","received":5,"use_until":1},"leases":[]}"#] {
            fs::write(dir.path().join(FILE), text).unwrap();
            let Resumed { token, leases, .. } = store.load();
            assert!(token.is_none() && leases.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_an_error_with_a_cure() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path().join("absent")));
        let error = store.save(None, &leases(), None).unwrap_err().to_string();
        assert!(error.contains("must be a writable directory"), "{error}");
        assert!(Store::new(None).save(None, &leases(), None).is_ok());
    }
}
