//! Which certificate authorities are trusted for a server.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::Excerpt;

/// The certificate authorities that are trusted for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrustPolicy {
    /// Only those of the CA file.
    Private,
    /// Only the public ones.
    Public,
    /// Those of the CA file and the public ones.
    Both,
}

impl TrustPolicy {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "private, public or both";

    /// All policies, in the order of [`Self::ALLOWED`].
    pub const ALL: [Self; 3] = [Self::Private, Self::Public, Self::Both];

    /// The names, in the same order.
    pub const NAMES: &'static [&'static str] =
        &[Self::Private.name(), Self::Public.name(), Self::Both.name()];

    /// The name as written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "public",
            Self::Both => "both",
        }
    }

    /// The default: only the CA file, if there is one; else the public ones.
    pub const fn default_for(has_ca_file: bool) -> Self {
        if has_ca_file { Self::Private } else { Self::Public }
    }
}

impl FromStr for TrustPolicy {
    type Err = TrustPolicyError;

    fn from_str(text: &str) -> Result<Self, TrustPolicyError> {
        let found = Self::ALL.into_iter().find(|policy| policy.name() == text);
        found.ok_or_else(|| TrustPolicyError { text: Excerpt::new(text) })
    }
}

impl fmt::Display for TrustPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

text_in_serde!(TrustPolicy);

/// A text that is not a trust policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not a trust policy; allowed: {}", TrustPolicy::ALLOWED)]
pub struct TrustPolicyError {
    /// The text.
    pub text: Excerpt,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_reads_back_and_is_listed() {
        for (policy, name) in TrustPolicy::ALL.into_iter().zip(TrustPolicy::NAMES) {
            assert_eq!((policy.to_string().parse(), policy.name()), (Ok(policy), *name));
            assert!(TrustPolicy::ALLOWED.contains(name));
        }
        for text in ["", "Private", "all", "both "] {
            assert!(text.parse::<TrustPolicy>().is_err(), "{text:?}");
        }
    }
}
