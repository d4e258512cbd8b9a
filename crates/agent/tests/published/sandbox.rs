//! Private namespaces: as root, otherwise as an ordinary user with a user namespace.

use std::{
    process::{Command, Stdio},
    sync::OnceLock,
};

use crate::support::skipped;

/// How namespaces can be created on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sandbox {
    /// As root: processes may run as the users of their images.
    Root,
    /// With a user namespace, in which the current user is root and no other user exists.
    UserNamespace,
}

impl Sandbox {
    /// The available way. If there is none, a message is printed; with `CI=true` the test fails.
    pub(crate) fn find() -> Option<Self> {
        static FOUND: OnceLock<Option<Sandbox>> = OnceLock::new();
        *FOUND.get_or_init(Self::search)
    }

    /// Additional arguments of `unshare` and `nsenter`.
    pub(crate) fn user_flags(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Root => (&[], &[]),
            Self::UserNamespace => (&["--user", "--map-root-user"], &["--user", "--preserve-credentials"]),
        }
    }

    /// The actual user of a process that should run as `uid`.
    pub(crate) fn uid(self, uid: u32) -> u32 {
        if self == Self::Root { uid } else { 0 }
    }

    fn search() -> Option<Self> {
        let mut said = Vec::new();
        for sandbox in [Self::Root, Self::UserNamespace] {
            match sandbox.tried() {
                Ok(()) => return Some(sandbox),
                Err(error) => said.push(format!("{sandbox:?}: {}", error.trim())),
            }
        }
        skipped(&format!(
            "the published manifests are not run: no private namespaces here ({}); run the tests as root, permit user \
             namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0), or install \
             util-linux",
            said.join("; ")
        ));
        None
    }

    fn tried(self) -> Result<(), String> {
        let script = "mount -t tmpfs none /run && : > /run/x && mount --bind /dev/null /run/x";
        let mut unshare = Command::new("unshare");
        unshare.args(self.user_flags().0).args([
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "sh",
            "-c",
            script,
        ]);
        let output = unshare.stdin(Stdio::null()).output().map_err(|error| format!("unshare: {error}"))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}
