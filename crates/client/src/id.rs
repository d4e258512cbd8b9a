//! Identifiers from the server that are later used in URLs and headers. They are validated, so that
//! none can change the route.

use std::{fmt, str::FromStr};

use scaivault_contract::Excerpt;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The maximum length of an identifier in characters: far above every published one.
const MAX_CHARS: usize = 256;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                check(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
    )*};
}

ids! {
    /// Identifies a lease.
    LeaseId;
    /// Identifies a subscription.
    SubscriptionId;
    /// Identifies an event.
    EventId;
    /// Identifies a tenant, such as `tnt_acme_prod`.
    TenantId;
}

fn check(text: &str) -> Result<Box<str>, IdError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~:".contains(&byte);
    let is_dots = text.bytes().all(|byte| byte == b'.');
    if (1..=MAX_CHARS).contains(&text.len()) && text.bytes().all(is_allowed) && !is_dots {
        return Ok(text.into());
    }
    Err(IdError { text: Excerpt::new(text) })
}

/// A text that is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not an identifier; allowed: 1 to 256 of A-Z, a-z, 0-9, -, _, ., ~ and :, not dots alone")]
pub struct IdError {
    /// The text.
    pub text: Excerpt,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_of_scaivault_are_accepted() {
        for id in ["lease_01HK7X9Z", "evt_01HK7X9Z", "tnt_acme_prod", "2f1c0d8e-1111-4222-8333-944455556666"]
        {
            assert_eq!(id.parse::<LeaseId>().unwrap().as_str(), id);
        }
    }

    #[test]
    fn identifiers_that_change_the_route_are_refused() {
        for id in ["", ".", "..", "a/b", "a?b", "a#b", "a%2fb", "a b", "a\nb", "é"] {
            assert!(id.parse::<LeaseId>().is_err(), "{id:?}");
        }
        assert!("x".repeat(257).parse::<LeaseId>().is_err());
    }

    #[test]
    fn is_checked_when_read_back() {
        assert!(serde_json::from_str::<LeaseId>("\"../../secrets/x\"").is_err());
        let id: LeaseId = serde_json::from_str("\"lease_1\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"lease_1\"");
    }
}
