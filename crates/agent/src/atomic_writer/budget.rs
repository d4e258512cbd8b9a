//! Checks how much can still be written: free space of the volume, and the container's memory
//! limit.

use std::{
    fs as std_fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use rustix::fs::{fstatfs, fstatvfs};
use scaivault_contract::memory::AGENT_MEMORY_MIB;

use super::WriteError;

/// The magic numbers in `statfs(2)` of `tmpfs` and `ramfs`, whose files are in memory and count for
/// the container that writes them.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
/// The kernel's list of this process's cgroups, see `cgroups(7)`.
const OWN_CGROUPS: &str = "/proc/self/cgroup";
/// The locations of the memory limit below the cgroups' mount, in versions 2 and 1.
const LIMITS: [(&str, &str); 2] = [("", "memory.max"), ("memory", "memory.limit_in_bytes")];

/// The available space.
#[derive(Debug)]
pub(super) struct Budget {
    /// The mount point of cgroups.
    pub(super) cgroups: PathBuf,
}

impl Default for Budget {
    fn default() -> Self {
        Self { cgroups: "/sys/fs/cgroup".into() }
    }
}

impl Budget {
    /// Checks that a file of this size fits into the directory's volume and below the memory limit.
    /// Unknown limits are ignored.
    pub(super) fn check(&self, dir: impl AsFd, file: &Path, needed: u64) -> Result<(), WriteError> {
        let file = file.to_owned();
        if let Ok(volume) = fstatvfs(&dir) {
            let block = volume.f_frsize.max(1);
            let left = volume.f_bavail.saturating_mul(block);
            // A tmpfs without a limit reports no blocks.
            if volume.f_blocks > 0 && needed.div_ceil(block) > volume.f_bavail {
                return Err(WriteError::NoSpace { file, needed, left });
            }
        }
        let is_in_memory = fstatfs(&dir)
            .is_ok_and(|volume| u64::try_from(volume.f_type).is_ok_and(|kind| IN_MEMORY.contains(&kind)));
        match self.memory_left().filter(|left| is_in_memory && needed > *left) {
            Some(left) => Err(WriteError::NoMemory { file, needed, left }),
            None => Ok(()),
        }
    }

    /// The memory limit minus the agent's own share, which is available for files; `None` without a limit.
    fn memory_left(&self) -> Option<u64> {
        let own = std_fs::read_to_string(OWN_CGROUPS).unwrap_or_default();
        // In most containers, the process's own cgroup is the root of the mount, otherwise it is
        // the path that the kernel reports. The limits of its ancestors apply too.
        let paths = own
            .lines()
            .filter_map(|line| line.splitn(3, ':').nth(2))
            .flat_map(|path| Path::new(path).ancestors());
        let of_limit = |(mount, file): (&str, &str)| {
            let dir = |path: &Path| self.cgroups.join(mount).join(path.strip_prefix("/").unwrap_or(path));
            let left = |path: &Path| memory_left(&dir(path), file);
            [Path::new("/")].into_iter().chain(paths.clone()).filter_map(left).min()
        };
        LIMITS.into_iter().filter_map(of_limit).min()
    }
}

fn memory_left(cgroup: &Path, limit: &str) -> Option<u64> {
    let limit: u64 = std_fs::read_to_string(cgroup.join(limit)).ok()?.trim().parse().ok()?;
    let stat = std_fs::read_to_string(cgroup.join("memory.stat")).unwrap_or_default();
    let files = stat.lines().find_map(|line| line.strip_prefix("shmem ")?.parse().ok()).unwrap_or(0);
    // With a limit below the injector's minimum there must still be room for files.
    let reserve = (u64::from(AGENT_MEMORY_MIB) << 20).min(limit / 2);
    Some((limit - reserve).saturating_sub(files))
}
