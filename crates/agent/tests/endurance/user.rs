//! Users without privileges.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::process::Command;

/// A user, and a directory with programs that every user can start; other users may have no access
/// to the build directory.
pub(crate) struct User {
    /// `None` for the user that runs the tests.
    id: Option<u32>,
    programs: TempDir,
}

impl User {
    /// This user if the tests run as root, which is needed to start processes of other users.
    pub(crate) fn other(id: u32) -> Option<Self> {
        rustix::process::geteuid().is_root().then(|| Self::new(Some(id)))
    }

    /// A user without root privileges: this one, or else the user that runs the tests.
    pub(crate) fn other_or_own(id: u32) -> Self {
        Self::other(id).unwrap_or_else(|| Self::new(None))
    }

    fn new(id: Option<u32>) -> Self {
        let programs = tempfile::tempdir().unwrap();
        fs::set_permissions(programs.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { id, programs }
    }

    /// A copy of a program that this user can start. It is also readable: if the user could not
    /// read the program, the kernel itself would hide the process, regardless of what the program
    /// does.
    pub(crate) fn program(&self, program: &Path) -> PathBuf {
        let copy = self.programs.path().join(program.file_name().unwrap());
        if !copy.exists() {
            scaivault_testkit::copy_program(program, &copy, 0o755);
        }
        copy
    }

    /// Makes a command run as this user without privileges.
    pub(crate) fn start_as<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        match self.id {
            Some(id) => command.uid(id).gid(id),
            None => command,
        }
    }

    /// Gives a directory and its content to this user.
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
