//! Stub.

/// How the secrets are brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// Fetched once by an init container.
    Init,
    /// Fetched and kept fresh by a native sidecar.
    Sidecar,
}

impl Pattern {
    /// The pattern's name as it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Sidecar => "sidecar",
        }
    }
}
