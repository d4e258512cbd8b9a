//! The sockets that the driver calls. Their files are the provider's registration.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, stream};
use rustix::process::geteuid;
use thiserror::Error;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::mpsc,
    task::JoinHandle,
    time::interval,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::lock;

/// How often the file is checked.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Connections of the driver.
pub(crate) type Incoming = Pin<Box<dyn Stream<Item = io::Result<UnixStream>> + Send>>;

/// Why a socket cannot be used.
#[derive(Debug, Error)]
pub(crate) enum SocketError {
    #[error("{} is not a socket name that the driver accepts; expected NAME.sock, where NAME has at most 30 of A-Z, a-z, 0-9, - and _, such as scaivault.sock", .0.display())]
    Name(PathBuf),
    #[error("{} exists and is not a socket; remove it", .0.display())]
    NotSocket(PathBuf),
    #[error("cannot listen at {}: {source}; check that its directory is mounted and writable", .socket.display())]
    Bind { socket: PathBuf, source: io::Error },
}

/// A listening socket. Its file is created again if it is deleted or replaced, and removed at the end,
/// unless another process has replaced it.
pub(crate) struct BoundSocket {
    path: PathBuf,
    /// Device and inode of the file that this process created last; `None` during shutdown.
    inode: Arc<Mutex<Option<(u64, u64)>>>,
    watching: JoinHandle<()>,
}

impl BoundSocket {
    /// Listens at `path` and replaces the file of an earlier process.
    pub(crate) fn bind(path: &Path) -> Result<(Self, Incoming), SocketError> {
        check_name(path)?;
        let (listener, first) = bind(path)?;
        let (sender, streams) = mpsc::channel(1);
        let inode = Arc::new(Mutex::new(Some(first)));
        let watching = tokio::spawn(watch(path.to_owned(), listener, Arc::clone(&inode), sender));
        let incoming = ReceiverStream::new(streams).filter(|stream| {
            let is_allowed = stream.as_ref().map_or(true, is_allowed);
            async move { is_allowed }
        });
        Ok((Self { path: path.to_owned(), inode, watching }, Box::pin(incoming)))
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        self.watching.abort();
        // The watching task may be running, and must not create the file again.
        let own = lock(&self.inode).take();
        if inode(&self.path).is_ok_and(|inode| Some(inode) == own) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Accepts connections, and binds again if the file is missing or is another socket, because then the driver
/// cannot find this process. Existing connections stay open.
async fn watch(
    path: PathBuf,
    mut listener: UnixListener,
    own: Arc<Mutex<Option<(u64, u64)>>>,
    streams: mpsc::Sender<io::Result<UnixStream>>,
) {
    let mut looks = interval(LOOK_INTERVAL);
    let mut is_lost = false;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let has_failed = accepted.is_err();
                if streams.send(accepted.map(|(stream, _)| stream)).await.is_err() {
                    return;
                }
                if has_failed {
                    // At the limit of open files, the next attempt would fail at once too.
                    looks.tick().await;
                }
            }
            _ = looks.tick() => {
                let mut own = lock(&own);
                if own.is_none() {
                    return;
                }
                if inode(&path).ok() == *own {
                    continue;
                }
                match bind(&path) {
                    Ok((bound, inode)) => {
                        (listener, *own, is_lost) = (bound, Some(inode), false);
                        tracing::warn!(socket = %path.display(), "socket was deleted or replaced, listening at a new one; let no other provider use this name");
                    }
                    Err(_) if is_lost => {}
                    Err(error) => {
                        is_lost = true;
                        tracing::error!(%error, "socket was deleted or replaced, listening at a new one failed, retrying");
                    }
                }
            }
        }
    }
}

/// The connections of all sockets.
pub(crate) fn merge(incoming: Vec<Incoming>) -> Incoming {
    Box::pin(stream::select_all(incoming))
}

/// Binds under a temporary name and renames, so that there is always a socket while one process replaces
/// another, and never one with the permissions of the umask.
fn bind(path: &Path) -> Result<(UnixListener, (u64, u64)), SocketError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => Err(SocketError::NotSocket(path.to_owned())),
        _ => replace(path).map_err(|source| SocketError::Bind { socket: path.to_owned(), source }),
    }
}

fn replace(path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&unfinished)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))?;
    fs::rename(&unfinished, path)?;
    Ok((listener, inode(path)?))
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn check_name(path: &Path) -> Result<(), SocketError> {
    let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".sock"));
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match name {
        Some(name) if (1..=30).contains(&name.len()) && name.bytes().all(is_allowed) => Ok(()),
        _ => Err(SocketError::Name(path.to_owned())),
    }
}

/// The driver runs as root. Other users of the node, or of a pod that mounts the directory, are rejected.
fn is_allowed(stream: &UnixStream) -> bool {
    let peer = stream.peer_cred().map(|peer| peer.uid());
    let is_allowed = peer.as_ref().is_ok_and(|uid| *uid == 0 || *uid == geteuid().as_raw());
    if !is_allowed {
        tracing::warn!(uid = ?peer.ok(), "connection refused: the driver runs as root");
    }
    is_allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scaivault.sock");
        let (first, first_incoming) = BoundSocket::bind(&path).unwrap();
        let (second, mut incoming) = BoundSocket::bind(&path).unwrap();
        drop((first, first_incoming));
        let _client = UnixStream::connect(&path).await.expect("the end of the first leaves the second");
        assert!(incoming.next().await.unwrap().is_ok());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_deleted_or_replaced_socket_is_bound_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scaivault.sock");
        let (_bound, mut incoming) = BoundSocket::bind(&path).unwrap();
        let _before = UnixStream::connect(&path).await.unwrap();
        assert!(incoming.next().await.unwrap().is_ok());
        for replaced in [false, true] {
            fs::remove_file(&path).unwrap();
            let other = replaced.then(|| std::os::unix::net::UnixListener::bind(&path).unwrap());
            let other_inode = inode(&path).ok();
            let binding = async {
                let mut ticks = interval(Duration::from_millis(10));
                while inode(&path).ok() == other_inode {
                    ticks.tick().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(50), binding).await.expect("no new socket");
            let _client = UnixStream::connect(&path).await.unwrap();
            assert!(incoming.next().await.unwrap().is_ok());
            drop(other);
        }
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scaivault.sock");
        fs::write(&path, "x").unwrap();
        assert!(matches!(BoundSocket::bind(&path), Err(SocketError::NotSocket(_))));
        assert!(path.exists());
        for name in ["scaivault", "sc.ai.sock", ".sock", "a-name-that-has-more-than-30-chars.sock"] {
            assert!(
                matches!(BoundSocket::bind(&directory.path().join(name)), Err(SocketError::Name(_))),
                "{name}"
            );
        }
    }
}
