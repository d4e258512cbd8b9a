//! Saves leases over a restart of the provider, in a file of the state directory. The directory should be in
//! memory, because the file has credentials and tokens.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{self, Write as _},
    iter,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use scaivault_client::{Client, LeaseId, StoredLease, StoredToken, Token, from_unix_seconds, unix_seconds};
use scaivault_contract::{DynamicRef, ObjectName};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use thiserror::Error;

use crate::{
    attributes::Pod,
    config::{Config, LoginTarget},
    leases::{LeaseKey, StoredLeases},
};

/// The file in the state directory.
const FILE: &str = "leases.json";
/// A copy of a file with entries that could not be restored, for operators who want to revoke their leases.
/// Later ones have a number.
const BAD_FILE: &str = "leases.json.bad";
/// The maximum number of such files.
const BAD_FILES_MAX: usize = 8;
/// The log message for a file that cannot be read.
const UNREADABLE: &str = "leases of the previous process cannot be read, they expire on their own";

/// The path of the file.
pub(crate) struct StateFile(PathBuf);

/// Why leases cannot be saved. Unsaved leases could not be revoked after a restart.
#[derive(Debug, Error)]
#[error("cannot keep leases in {}: {source}; check the directory of --state-dir", .file.display())]
pub(crate) struct StateError {
    file: PathBuf,
    source: io::Error,
}

/// The entry of one pod and dynamic secret. Times are Unix seconds.
#[derive(Serialize, Deserialize)]
struct StoredState {
    pod: Pod,
    #[serde(flatten)]
    target: StoredTarget,
    dynamic: DynamicRef,
    lease: Option<StoredLease>,
    /// With their ends.
    retired: BTreeMap<LeaseId, u64>,
    volumes: BTreeSet<String>,
    token: Option<StoredToken>,
}

/// Leases of an earlier process, with the login of their pod.
pub(crate) struct RestoredLeases {
    pub(crate) key: LeaseKey,
    pub(crate) leases: StoredLeases,
    pub(crate) token: Option<Token>,
}

/// The login parameters of a pod.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredTarget {
    /// The address of the server, because its index in the configuration may change.
    url: String,
    audience: String,
    role: Option<String>,
}

impl StoredTarget {
    pub(crate) fn new(target: LoginTarget, config: &Config) -> Self {
        let LoginTarget { server, audience, role } = target;
        Self { url: config.servers()[server].address.to_string(), audience, role }
    }

    /// Returns `None` if the configuration does not have the server any more.
    pub(crate) fn restore(self, config: &Config) -> Option<LoginTarget> {
        let Self { url, audience, role } = self;
        let server = config.servers().iter().position(|server| server.address.to_string() == url)?;
        Some(LoginTarget { server, audience, role })
    }
}

impl StateFile {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self(state_dir.join(FILE))
    }

    /// Restores the leases of an earlier process. Entries that cannot be restored are logged and kept in a
    /// second file, and their leases expire on their own.
    pub(crate) fn load(&self, config: &Config) -> Vec<RestoredLeases> {
        let Some(entries) = self.entries() else { return Vec::new() };
        let restored: Vec<_> = entries.iter().filter_map(|entry| restore(entry, config)).collect();
        if restored.len() < entries.len() {
            self.set_aside();
        }
        restored
    }

    /// Discards the leases of an earlier process, because dynamic credentials are off and nothing would
    /// renew or revoke them.
    pub(crate) fn discard(&self) {
        for file in iter::once(self.0.clone()).chain(self.bad_files()) {
            for entry in read::<Vec<Value>>(&file, UNREADABLE).unwrap_or_default() {
                log_lost(&entry, "dynamic credentials are off");
            }
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(file = %file.display(), %error, "leases of the previous process not deleted");
                }
                _ => {}
            }
        }
    }

    /// The entries of the file; `None` if it does not exist or cannot be parsed at all.
    fn entries(&self) -> Option<Vec<Value>> {
        match try_read(&self.0) {
            Ok(entries) => entries,
            Err(kind) => {
                tracing::warn!(file = %self.0.display(), ?kind, "{UNREADABLE}");
                self.set_aside();
                None
            }
        }
    }

    /// Keeps the file under another name, because the next write replaces it. Earlier copies stay, because
    /// their leases may not be revoked yet.
    fn set_aside(&self) {
        for bad in self.bad_files() {
            match fs::hard_link(&self.0, &bad) {
                Ok(()) => {
                    tracing::warn!(file = %bad.display(), "leases of the previous process kept for inspection, with their credentials");
                    return;
                }
                // The previous start, which has written nothing, has kept it already.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_same(&self.0, &bad) => {
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    tracing::warn!(file = %bad.display(), %error, "leases of the previous process not kept for inspection");
                    return;
                }
            }
        }
        tracing::warn!(
            "leases of the previous process not kept for inspection, because there are {BAD_FILES_MAX} files {BAD_FILE}*; delete them"
        );
    }

    fn bad_files(&self) -> impl Iterator<Item = PathBuf> {
        let numbered = (2..=BAD_FILES_MAX).map(|number| format!("{BAD_FILE}.{number}"));
        iter::once(BAD_FILE.to_owned()).chain(numbered).map(|name| self.0.with_file_name(name))
    }

    /// Writes the file.
    pub(crate) fn save(
        &self,
        config: &Config,
        entries: &[(LeaseKey, Arc<Client>, StoredLeases)],
    ) -> Result<(), StateError> {
        let kept = |(key, client, leases): &(LeaseKey, Arc<Client>, StoredLeases)| {
            StoredState::new(config, key, client, leases)
        };
        let kept: Vec<_> = entries.iter().map(kept).collect();
        let json = serde_json::to_vec(&kept).expect("text and numbers can be written as JSON");
        write(&self.0, &json).map_err(|source| StateError { file: self.0.clone(), source })
    }
}

/// Whether both paths are the same file.
fn is_same(one: &Path, other: &Path) -> bool {
    let id = |file: &Path| fs::metadata(file).map(|metadata| (metadata.dev(), metadata.ino())).ok();
    id(one).is_some_and(|one| Some(one) == id(other))
}

/// The content of a file of an earlier process. Returns `None` if it does not exist, or if it cannot be
/// parsed, which is logged with the message `unreadable`.
pub(crate) fn read<T: DeserializeOwned>(file: &Path, unreadable: &'static str) -> Option<T> {
    try_read(file).unwrap_or_else(|kind| {
        tracing::warn!(file = %file.display(), ?kind, "{unreadable}");
        None
    })
}

/// The same with an error, which has no text, because a parser's message may quote the content.
fn try_read<T: DeserializeOwned>(file: &Path) -> Result<Option<T>, io::ErrorKind> {
    let read = fs::read(file).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::other));
    match read.map_err(|error| error.kind()) {
        Ok(kept) => Ok(Some(kept)),
        Err(io::ErrorKind::NotFound) => Ok(None),
        Err(kind) => Err(kind),
    }
}

/// Writes a file atomically, readable only for this user. After a crash the old file is complete.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = file.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?.write_all(bytes)?;
    fs::rename(&temporary, file)
}

/// Restores an entry of the file; `None` if that is not possible, which is logged.
fn restore(entry: &Value, config: &Config) -> Option<RestoredLeases> {
    let restored = match StoredState::deserialize(entry) {
        Ok(kept) => kept.restore(config),
        Err(_) => Err("the entry is malformed"),
    };
    restored.map_err(|reason| log_lost(entry, reason)).ok()
}

/// Logs the leases of an entry that will not be renewed or revoked any more.
fn log_lost(entry: &Value, reason: &'static str) {
    // Only names are logged, because a malformed entry may contain a credential anywhere.
    let name = |key: &str| entry["pod"][key].as_str()?.parse::<ObjectName>().ok();
    let [namespace, pod] =
        ["namespace", "name"].map(|key| name(key).map_or(String::new(), |name| name.to_string()));
    let retired =
        entry["retired"].as_object().into_iter().flat_map(|retired| retired.keys().map(String::as_str));
    let ids = entry["lease"]["id"].as_str().into_iter().chain(retired);
    let leases: Vec<_> = ids.filter_map(|id| Some(id.parse::<LeaseId>().ok()?.to_string())).collect();
    tracing::warn!(%namespace, %pod, leases = leases.join(", "), reason, "leases of the previous process not restored, they expire on their own");
}

impl StoredState {
    fn new(config: &Config, key: &LeaseKey, client: &Client, leases: &StoredLeases) -> Self {
        let LeaseKey { pod, target, dynamic } = key.clone();
        let StoredLeases { lease, retired, volumes } = leases;
        let target = StoredTarget::new(target, config);
        let lease = lease.as_ref().map(StoredLease::new);
        let retired = retired.iter().map(|(id, ends)| (id.clone(), unix_seconds(*ends))).collect();
        let token = client.token().as_ref().map(StoredToken::new);
        Self { pod, target, dynamic, lease, retired, volumes: volumes.clone(), token }
    }

    /// Fails with the reason why it cannot be restored.
    fn restore(self, config: &Config) -> Result<RestoredLeases, &'static str> {
        let Self { pod, target, dynamic, lease, retired, volumes, token } = self;
        let target = target.restore(config).ok_or("the address of their ScaiVault is no longer allowed")?;
        let lease = lease.map(|lease| lease.restore().ok_or("the credentials are malformed")).transpose()?;
        let retired = retired.into_iter().map(|(id, ends)| (id, from_unix_seconds(ends))).collect();
        // Without a login, the lease can be revoked after the next call for the pod.
        let token = token.and_then(StoredToken::restore);
        let key = LeaseKey { pod, target, dynamic };
        Ok(RestoredLeases { key, leases: StoredLeases { lease, retired, volumes }, token })
    }
}
