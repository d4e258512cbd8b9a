//! How the secrets are brought into a pod.

use std::{borrow::Cow, str::FromStr};

/// How the secrets are brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// Fetched once by an init container.
    Init,
    /// Fetched and kept fresh by a native sidecar.
    Sidecar,
}

impl Pattern {
    /// The words.
    pub const ALL: &'static [&'static str] = &[Self::Init.name(), Self::Sidecar.name()];

    /// The pattern's name as it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Sidecar => "sidecar",
        }
    }
}

impl FromStr for Pattern {
    type Err = Cow<'static, str>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "init" => Ok(Self::Init),
            "sidecar" => Ok(Self::Sidecar),
            _ => Err("not a pattern".into()),
        }
    }
}
