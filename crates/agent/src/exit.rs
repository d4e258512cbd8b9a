//! How the agent ends: its exit codes, which are those of ScaiVault's own command line.

use std::process::ExitCode;

/// Why the agent ends, as a number that a pod's status shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Exit {
    /// All was done.
    Done,
    /// Anything that is none of the others: ScaiVault cannot be reached, the volume is full.
    Failed,
    /// ScaiVault does not accept the login.
    Authentication,
    /// The identity may not read a secret.
    Denied,
    /// A secret, a version, a field, an engine or a role is not there.
    NotFound,
    /// A variable is malformed, or a secret cannot be written as it is asked for.
    Invalid,
}

impl Exit {
    /// The number.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Authentication => 2,
            Self::Denied => 3,
            Self::NotFound => 4,
            Self::Invalid => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}
