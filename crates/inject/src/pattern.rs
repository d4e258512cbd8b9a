//! The injection patterns.

use std::{borrow::Cow, str::FromStr};

/// How secrets are delivered to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// An init container fetches once.
    Init,
    /// A native sidecar fetches and keeps the files up to date.
    Sidecar,
}

impl Pattern {
    /// The names of all patterns.
    pub const ALL: &'static [&'static str] = &[Self::Init.name(), Self::Sidecar.name()];

    /// The name as written in annotations.
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
