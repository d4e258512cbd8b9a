//! Leases over a restart of the provider: a file in the state directory, which should be in memory, because it has
//! credentials and tokens.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use scaivault_client::{Client, HeldLease, KeptLease, KeptToken, LeaseId, Token};
use scaivault_contract::DynamicRef;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    attributes::Pod,
    config::{Config, LoginTarget},
    leases::{KeptLeases, LeaseKey},
};

/// The file in the state directory.
const FILE: &str = "leases.json";

/// Where leases are kept.
pub(crate) struct StateFile(PathBuf);

/// Leases that cannot be kept: after a restart nobody could revoke them.
#[derive(Debug, Error)]
#[error("cannot keep leases in {}: {source}; check the directory of --state-dir", .file.display())]
pub(crate) struct StateError {
    file: PathBuf,
    source: io::Error,
}

/// One pod and dynamic secret. Times are seconds since 1970.
#[derive(Serialize, Deserialize)]
struct Kept {
    pod: Pod,
    #[serde(flatten)]
    target: KeptTarget,
    dynamic: DynamicRef,
    lease: Option<KeptLease>,
    replaced: BTreeSet<LeaseId>,
    token: Option<KeptToken>,
}

/// Leases that an earlier process held, with the login of their pod.
pub(crate) struct Restored {
    pub(crate) key: LeaseKey,
    pub(crate) leases: KeptLeases,
    pub(crate) token: Option<Token>,
}

/// Where and as whom a pod has logged in.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeptTarget {
    /// The address of the server: its place in the configuration may change.
    url: String,
    audience: String,
    role: Option<String>,
}

impl KeptTarget {
    pub(crate) fn new(target: LoginTarget, config: &Config) -> Self {
        let LoginTarget { server, audience, role } = target;
        Self { url: config.servers()[server].address.to_string(), audience, role }
    }

    /// None if the configuration has no such server any more.
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

    /// What an earlier process held. A file that cannot be understood is reported, and its leases end by themselves.
    pub(crate) fn load(&self, config: &Config) -> Vec<Restored> {
        let unreadable = "leases of the previous process cannot be read, they end by themselves";
        let kept: Vec<Kept> = read(&self.0, unreadable).unwrap_or_default();
        kept.into_iter().filter_map(|kept| kept.restore(config)).collect()
    }

    /// Writes all of them.
    pub(crate) fn save<'a>(
        &self,
        config: &Config,
        entries: impl Iterator<Item = (&'a LeaseKey, &'a Client, &'a Option<HeldLease>, &'a BTreeSet<LeaseId>)>,
    ) -> Result<(), StateError> {
        let kept: Vec<_> = entries
            .filter(|(_, _, lease, replaced)| lease.is_some() || !replaced.is_empty())
            .map(|(key, client, lease, replaced)| Kept::new(config, key, client, lease.as_ref(), replaced))
            .collect();
        let json = serde_json::to_vec(&kept).expect("text and numbers can be written as JSON");
        write(&self.0, &json).map_err(|source| StateError { file: self.0.clone(), source })
    }
}

/// What an earlier process wrote to a file. None if there is none, or if it cannot be understood, which is logged as `unreadable`.
pub(crate) fn read<T: DeserializeOwned>(file: &Path, unreadable: &'static str) -> Option<T> {
    let read = fs::read(file).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::other));
    match read {
        Ok(kept) => Some(kept),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            // The text of a parser may quote what it reads.
            tracing::warn!(file = %file.display(), kind = ?error.kind(), "{unreadable}");
            None
        }
    }
}

/// Writes a file for this user alone, in one step: a crash leaves what was there before.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = file.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?.write_all(bytes)?;
    fs::rename(&temporary, file)
}

impl Kept {
    fn new(
        config: &Config,
        key: &LeaseKey,
        client: &Client,
        lease: Option<&HeldLease>,
        replaced: &BTreeSet<LeaseId>,
    ) -> Self {
        let LeaseKey { pod, target, dynamic } = key.clone();
        let target = KeptTarget::new(target, config);
        let lease = lease.map(KeptLease::new);
        let token = client.token().as_ref().map(KeptToken::new);
        Self { pod, target, dynamic, lease, replaced: replaced.clone(), token }
    }

    /// None if the configuration has no such server any more, or the entry is malformed.
    fn restore(self, config: &Config) -> Option<Restored> {
        let Self { pod, target, dynamic, lease, replaced, token } = self;
        let target = target.restore(config)?;
        let lease = lease.and_then(KeptLease::restore);
        let token = token.and_then(KeptToken::restore);
        let key = LeaseKey { pod, target, dynamic };
        Some(Restored { key, leases: KeptLeases { lease, replaced }, token })
    }
}
