//! The content of the authority's Secret, which all replicas share.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use thiserror::Error;

use crate::{
    authority::{Authority, AuthorityError},
    ca_bundle::{BundleError, CaBundle},
};

const CURRENT_CERTIFICATE: &str = "ca.crt";
const CURRENT_KEY: &str = "ca.key";
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
const RETIRED: &str = "retired.crt";
const RETIRED_UNTIL: &str = "retired-until";

/// The keys of the Secret's data.
const KEYS: [&str; 6] =
    [CURRENT_CERTIFICATE, CURRENT_KEY, NEXT_CERTIFICATE, NEXT_KEY, RETIRED, RETIRED_UNTIL];

/// Why the Secret's data is not a valid state. An operator has to fix it, because the data may be
/// needed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// An unknown key.
    #[error(
        "key {key:?} is not expected in this Secret; allowed: {}; use another Secret or remove \
         the key",
        KEYS.join(", ")
    )]
    Foreign {
        /// The key.
        key: String,
    },
    /// One of two related keys is missing.
    #[error("key {present} is set, but key {missing} is missing; remove {present} to create a new authority")]
    Half {
        /// The key that exists.
        present: &'static str,
        /// The key that is missing.
        missing: &'static str,
    },
    /// A certificate and its key are not valid.
    #[error("keys {certificate} and {key} do not hold a valid authority; remove both to create a new one")]
    Authority {
        /// The certificate's key in the Secret.
        certificate: &'static str,
        /// The private key's.
        key: &'static str,
        /// The error.
        source: AuthorityError,
    },
    /// The retired authorities' certificates are not valid.
    #[error("key {RETIRED} is not a list of certificates; remove it and {RETIRED_UNTIL}")]
    Retired(#[source] BundleError),
    /// The time is not valid.
    #[error("key {RETIRED_UNTIL} is not a time such as 2026-01-31T12:00:00Z; remove it and {RETIRED}")]
    Until,
}

/// The webhook's authorities, as stored in the Secret.
#[derive(Clone, Default)]
pub(crate) struct State {
    /// Signs every leaf. Set only after every API server has had time to read its certificate.
    pub(crate) current: Option<Arc<Authority>>,
    /// Will become the current one; it is being announced.
    pub(crate) next: Option<Arc<Authority>>,
    /// Authorities of leaves that may still be served.
    pub(crate) retired: Option<RetiredAuthorities>,
}

/// Authorities that no longer sign and are trusted for a while. Only their certificates are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetiredAuthorities {
    pub(crate) bundle: CaBundle,
    /// The time from which none of their leaves is served; whole seconds.
    pub(crate) until: SystemTime,
}

impl State {
    /// Parses the Secret's data. Empty data is the state before the first authority.
    pub(crate) fn parse(data: &BTreeMap<String, Vec<u8>>) -> Result<Self, StateError> {
        if let Some(key) = data.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(StateError::Foreign { key: key.clone() });
        }
        let pair = |first, second| match (data.get(first), data.get(second)) {
            (Some(a), Some(b)) => Ok(Some((a, b))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(StateError::Half { present: first, missing: second }),
            (None, Some(_)) => Err(StateError::Half { present: second, missing: first }),
        };
        let authority = |certificate, key| {
            let Some((certificate_pem, key_pem)) = pair(certificate, key)? else { return Ok(None) };
            Authority::from_pem(certificate_pem, key_pem)
                .map(|authority| Some(Arc::new(authority)))
                .map_err(|source| StateError::Authority { certificate, key, source })
        };
        let retired = match pair(RETIRED, RETIRED_UNTIL)? {
            Some((bundle, until)) => Some(RetiredAuthorities {
                bundle: CaBundle::parse(bundle).map_err(StateError::Retired)?,
                until: parse_time(until).ok_or(StateError::Until)?,
            }),
            None => None,
        };
        Ok(Self {
            current: authority(CURRENT_CERTIFICATE, CURRENT_KEY)?,
            next: authority(NEXT_CERTIFICATE, NEXT_KEY)?,
            retired,
        })
    }

    /// The Secret's data, which includes private keys.
    pub(crate) fn to_data(&self) -> BTreeMap<String, Vec<u8>> {
        let Self { current, next, retired } = self;
        let mut data = BTreeMap::new();
        let mut put = |key: &str, text: String| data.insert(key.to_owned(), text.into_bytes());
        for (authority, certificate, key) in
            [(current, CURRENT_CERTIFICATE, CURRENT_KEY), (next, NEXT_CERTIFICATE, NEXT_KEY)]
        {
            if let Some(authority) = authority {
                put(certificate, authority.certificate_pem().to_owned());
                put(key, authority.key_pem());
            }
        }
        if let Some(RetiredAuthorities { bundle, until }) = retired {
            put(RETIRED, bundle.to_pem());
            put(RETIRED_UNTIL, Timestamp::try_from(*until).unwrap_or(Timestamp::MAX).to_string());
        }
        data
    }

    /// The bundle for the webhook configurations: every authority of which a leaf may be served. It
    /// depends only on the Secret, so that all replicas write the same regardless of their clocks.
    pub(crate) fn bundle(&self) -> CaBundle {
        let Self { current, next, retired } = self;
        let mut bundle = retired.as_ref().map(|retired| retired.bundle.clone()).unwrap_or_default();
        for authority in [current, next].into_iter().flatten() {
            bundle.insert(authority.certificate_der(), authority.validity());
        }
        bundle
    }

    pub(crate) fn next_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.next.as_deref().map(Authority::certificate_der)
    }
}

fn parse_time(text: &[u8]) -> Option<SystemTime> {
    let timestamp: Timestamp = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    let time = SystemTime::from(timestamp);
    (time >= UNIX_EPOCH).then_some(time)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_hours(500_000)
    }

    fn full() -> State {
        let authority = || Arc::new(Authority::new("tests", now(), Duration::from_hours(24)).unwrap());
        let (current, next, old) = (authority(), authority(), authority());
        let bundle = CaBundle::parse(old.certificate_pem().as_bytes()).unwrap();
        State {
            current: Some(current),
            next: Some(next),
            retired: Some(RetiredAuthorities { bundle, until: now() }),
        }
    }

    #[test]
    fn a_written_state_can_be_read() {
        let state = full();
        let data = state.to_data();
        assert!(data.len() == KEYS.len() && KEYS.iter().all(|key| data.contains_key(*key)));
        let read = State::parse(&data).unwrap();
        assert_eq!(read.to_data(), data);
        assert_eq!((read.bundle(), read.bundle().len()), (state.bundle(), 3));
        assert!(State::parse(&BTreeMap::new()).unwrap().to_data().is_empty());
    }

    #[test]
    fn garbage_is_an_error_that_names_its_key() {
        for key in KEYS {
            let mut data = full().to_data();
            data.insert(key.to_owned(), b"-----BEGIN CERTIFICATE-----\nAAAA\n".to_vec());
            let error = State::parse(&data).err().unwrap().to_string();
            assert!(error.contains(key) && error.contains("remove"), "{error}");
            data.remove(key);
            let error = State::parse(&data).err().unwrap().to_string();
            assert!(error.contains(key) && error.contains("missing"), "{error}");
        }
        let mut data = full().to_data();
        data.insert("tls.crt".to_owned(), Vec::new());
        let error = State::parse(&data).err().unwrap().to_string();
        assert!(error.contains("\"tls.crt\"") && error.contains("ca.crt"), "{error}");
    }
}
