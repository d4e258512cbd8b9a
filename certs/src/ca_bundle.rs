//! The authorities in the `caBundle` of a webhook configuration.

use std::{collections::BTreeMap, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{
    CertificateDer,
    pem::{self, PemObject as _},
};
use thiserror::Error;

use crate::files::{Validity, validity};

/// The line length of RFC 7468: base64 in lines of 64 characters.
const LINE: usize = 64;

/// Why a text is not a bundle of certificates.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A block cannot be parsed.
    #[error("the text is not PEM; write certificates there")]
    Malformed(#[source] pem::Error),
    /// A block labelled as a certificate is not one.
    #[error("certificate number {number} is not X.509; write certificates there")]
    NotX509 {
        /// Its position in the text, from 1.
        number: usize,
    },
}

/// A set of certificates without duplicates, ordered by their bytes: equal sets are written as
/// equal text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CaBundle {
    certificates: BTreeMap<Vec<u8>, Validity>,
}

impl CaBundle {
    /// Parses all certificates of a PEM text; other blocks and text between blocks are ignored.
    pub(crate) fn parse(pem: &[u8]) -> Result<Self, BundleError> {
        let mut certificates = BTreeMap::new();
        for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let der = certificate.map_err(BundleError::Malformed)?;
            let validity = validity(&der).ok_or(BundleError::NotX509 { number: index + 1 })?;
            certificates.insert(der.to_vec(), validity);
        }
        Ok(Self { certificates })
    }

    pub(crate) fn insert(&mut self, der: &CertificateDer<'_>, validity: Validity) {
        self.certificates.insert(der.to_vec(), validity);
    }

    /// Whether exactly this certificate is in the set.
    pub(crate) fn contains(&self, der: &CertificateDer<'_>) -> bool {
        self.certificates.contains_key(der.as_ref())
    }

    /// Whether it is a superset of `other`.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        other.certificates.keys().all(|der| self.certificates.contains_key(der))
    }

    #[must_use]
    pub(crate) fn union(mut self, other: &Self) -> Self {
        self.certificates.extend(other.certificates.iter().map(|(der, validity)| (der.clone(), *validity)));
        self
    }

    /// Removes certificates that have expired at `now`.
    #[must_use]
    pub(crate) fn without_expired(mut self, now: SystemTime) -> Self {
        self.certificates.retain(|_, validity| !validity.is_over(now));
        self
    }

    /// Keeps at most `count` certificates, those that expire last.
    #[must_use]
    pub(crate) fn latest(mut self, count: usize) -> Self {
        while self.certificates.len() > count {
            let first = self.certificates.iter().min_by_key(|(_, validity)| validity.not_after);
            let Some(der) = first.map(|(der, _)| der.clone()) else { break };
            self.certificates.remove(&der);
        }
        self
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.certificates.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// The PEM text, one block per certificate. Empty for no certificate.
    pub(crate) fn to_pem(&self) -> String {
        self.certificates.keys().map(|der| block(der)).collect()
    }
}

fn block(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::Authority;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_hours(500_000)
    }

    fn authority(days: u64) -> Authority {
        Authority::new("tests", now(), Duration::from_hours(24 * days)).unwrap()
    }

    fn bundle(of: &[&Authority]) -> CaBundle {
        let text: String = of.iter().map(|authority| authority.certificate_pem()).collect();
        CaBundle::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn order_and_repetition_do_not_show() {
        let (a, b) = (authority(1), authority(2));
        let text = bundle(&[&a, &b]).to_pem();
        assert_eq!(text, bundle(&[&b, &a, &b]).to_pem());
        assert_eq!(text, bundle(&[&b]).union(&bundle(&[&a])).to_pem());
        assert_eq!(CaBundle::parse(text.as_bytes()).unwrap().to_pem(), text);
        assert!(text.lines().all(|line| line.len() <= LINE), "{text}");
    }

    #[test]
    fn expired_and_surplus_certificates_are_removed() {
        let (short, long) = (authority(1), authority(9));
        let both = bundle(&[&short, &long]);
        let later = both.clone().without_expired(now() + Duration::from_hours(24));
        assert_eq!(later, bundle(&[&long]));
        assert_eq!(both.clone().latest(1), bundle(&[&long]));
        assert_eq!((both.clone().latest(2), both.len()), (both, 2));
    }

    #[test]
    fn no_certificates_are_an_empty_text() {
        assert_eq!(CaBundle::parse(b"").unwrap(), CaBundle::default());
        assert_eq!(CaBundle::default().to_pem(), "");
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let error = CaBundle::parse(nonsense.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("number 1"), "{error}");
    }
}
