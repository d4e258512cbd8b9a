//! The directory and the child processes of the demo, which are removed at its end.

use std::{
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use super::{APP_PREFIX, processes::Processes};

/// The prefix of the directory's name; random characters follow.
const PREFIX: &str = "scaivault-demo-";
/// The kernel's list of this process's mounts, see `mountinfo` in `proc(5)`.
const MOUNTINFO: &str = "/proc/self/mountinfo";
/// The sticky bit marks a shared directory, which the agent does not accept as a volume.
const STICKY: u32 = 0o1000;
/// How many lines of the agent's log are shown after a failure.
const LAST_LINES: usize = 10;

/// The directory and the processes.
pub(super) struct Sandbox {
    directory: TempDir,
    /// The running processes.
    pub(super) processes: Processes,
}

impl Sandbox {
    /// Creates the directory, accessible only to this user.
    pub(super) fn new() -> anyhow::Result<Self> {
        let mounts = fs::read_to_string(MOUNTINFO).context(MOUNTINFO)?;
        let places = [env::temp_dir(), PathBuf::from("/tmp")];
        let Some(place) = places.iter().find(|place| is_usable(place, &mounts)) else {
            bail!(
                "neither TMPDIR ({}) nor /tmp can be used: plain characters are needed, and no mounted volume above, which \
                 the agent would take for the pod's",
                places[0].display()
            );
        };
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(place)
            .with_context(|| format!("cannot make a directory in {}", place.display()))?;
        Ok(Self { directory, processes: Processes::default() })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A name that no other process on this machine has.
    pub(super) fn app_name(&self) -> String {
        let name = self.path().file_name().unwrap_or_default().to_string_lossy();
        format!("{APP_PREFIX}{}", name.trim_start_matches(PREFIX))
    }

    /// The file of the agent's log.
    pub(super) fn log(&self) -> PathBuf {
        self.path().join("agent.log")
    }

    /// The last lines of the agent's log; `None` if it is empty.
    pub(super) fn last_log_lines(&self) -> Option<String> {
        let log = fs::read_to_string(self.log()).ok()?;
        let lines: Vec<_> = log.lines().collect();
        (!lines.is_empty()).then(|| lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"))
    }

    /// Kills the running processes and removes the directory.
    pub(super) async fn remove(self) -> anyhow::Result<()> {
        let Self { directory, processes } = self;
        processes.kill().await;
        let path = directory.path().to_owned();
        directory.close().with_context(|| format!("cannot remove {}", path.display()))
    }
}

/// Whether the agent accepts a directory created in `place`: it writes to the nearest mounted
/// volume, and its mappings only allow plain characters.
fn is_usable(place: &Path, mounts: &str) -> bool {
    let Ok(place) = fs::canonicalize(place) else { return false };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    let is_mounted = |path: &Path| {
        let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        points.any(|point| Path::new(point) == path)
    };
    let is_shared = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.mode() & STICKY != 0);
    let mut volumes = place.ancestors().filter(|path| *path != Path::new("/") && is_mounted(path));
    place.to_str().is_some_and(|path| path.chars().all(is_plain)) && volumes.all(is_shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_above_the_directory_would_get_the_files() {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let place = directory.path().join("volume/below");
        fs::create_dir_all(&place).unwrap();
        let mount = |path: &Path| format!("36 35 98:0 / {} rw - tmpfs tmpfs rw\n", path.display());
        let root = mount(Path::new("/"));
        assert!(is_usable(&place, &root));
        assert!(is_usable(&place, &(root.clone() + &mount(Path::new("/tmp")))), "it is shared");
        assert!(!is_usable(&place, &(root.clone() + &mount(&directory.path().join("volume")))));
        let blank = directory.path().join("a b");
        fs::create_dir(&blank).unwrap();
        assert!(!is_usable(&blank, &root));
        assert!(!is_usable(&directory.path().join("absent"), &root));
    }

    #[tokio::test]
    async fn the_sandbox_is_removed() {
        let sandbox = Sandbox::new().unwrap();
        let path = sandbox.path().to_owned();
        assert!(path.is_dir() && sandbox.last_log_lines().is_none());
        fs::write(sandbox.log(), "said\n").unwrap();
        assert_eq!(sandbox.last_log_lines().as_deref(), Some("said"));
        sandbox.remove().await.unwrap();
        assert!(!path.exists());
    }
}
