//! Users without any right besides their own.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::process::Command;

/// A user, and a directory with programs that everybody may start: that of the build may be closed to others.
pub(crate) struct User {
    /// None for the tests' own user.
    id: Option<u32>,
    programs: TempDir,
}

impl User {
    /// This user where the tests run as root, who alone can start processes of others.
    pub(crate) fn other(id: u32) -> Option<Self> {
        rustix::process::geteuid().is_root().then(|| Self::new(Some(id)))
    }

    /// A user without root's rights: this one, or else the tests' own.
    pub(crate) fn other_or_own(id: u32) -> Self {
        Self::other(id).unwrap_or_else(|| Self::new(None))
    }

    fn new(id: Option<u32>) -> Self {
        let programs = tempfile::tempdir().unwrap();
        fs::set_permissions(programs.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { id, programs }
    }

    /// A copy of a program that this user can start. It is readable, too: of a program that its user may not read the
    /// kernel makes a process that nobody can look into, whatever the program does about it.
    pub(crate) fn program(&self, program: &Path) -> PathBuf {
        let copy = self.programs.path().join(program.file_name().unwrap());
        if !copy.exists() {
            scaivault_testkit::copy_program(program, &copy, 0o755);
        }
        copy
    }

    /// Makes a command one of this user, with no other rights.
    pub(crate) fn start_as<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        match self.id {
            Some(id) => command.uid(id).gid(id),
            None => command,
        }
    }

    /// Hands a directory with all it has over to this user.
    pub(crate) fn give(&self, path: &Path) {
        let Some(id) = self.id else { return };
        chown(path, Some(id), Some(id)).unwrap();
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                self.give(&entry.unwrap().path());
            }
        }
    }
}
