//! The source of a file: secrets, or the credentials of a lease.

use std::fmt;

use crate::{DynamicRef, SecretSource, TemplateNames};

/// The source of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Secrets.
    Secrets(SecretSource),
    /// The credentials of a lease.
    Lease(DynamicRef),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secrets(source) => source.fmt(f),
            Self::Lease(dynamic) => dynamic.fmt(f),
        }
    }
}

impl Source {
    /// The dynamic secret; `None` if the file contains secrets.
    pub fn lease(&self) -> Option<&DynamicRef> {
        match self {
            Self::Secrets(_) => None,
            Self::Lease(dynamic) => Some(dynamic),
        }
    }

    /// The names that a template of this file can use.
    pub fn template_names(&self) -> TemplateNames<'_> {
        match self {
            Self::Secrets(source) => TemplateNames::from_source(source),
            Self::Lease(_) => TemplateNames::Lease,
        }
    }
}
