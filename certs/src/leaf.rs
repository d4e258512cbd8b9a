//! The leaf certificate of one replica, in memory, and its renewal time.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{pki_types::CertificateDer, sign::CertifiedKey};
use thiserror::Error;

use crate::{
    authority::{Authority, IssueError},
    files::Validity,
};

/// Why no new leaf could be issued.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MintError {
    /// It could not be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// It cannot be served.
    #[error("cannot use the new certificate")]
    Unusable(#[from] rustls::Error),
}

/// The served leaf, without its key.
pub(crate) struct MintedLeaf {
    authority: CertificateDer<'static>,
    validity: Validity,
    renews_at: SystemTime,
}

impl MintedLeaf {
    /// Issues a leaf; also returns the key for the resolver.
    pub(crate) fn mint(
        authority: &Arc<Authority>,
        names: &[String],
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<(Self, CertifiedKey), MintError> {
        let leaf = authority.issue(names, now, lifetime)?;
        let key = leaf.certified_key()?;
        let validity = leaf.validity();
        // The last byte of the signature serves as the random number, so tests need not inject one.
        let die = key.cert.first().and_then(|leaf| leaf.last()).copied().unwrap_or_default();
        let lifetime = validity.not_after.duration_since(now).unwrap_or_default();
        let renews_at = now + renewal(lifetime, die);
        Ok((Self { authority: authority.certificate_der().clone(), validity, renews_at }, key))
    }

    /// Whether it needs no renewal: its authority is the signing one, and it is not due.
    pub(crate) fn is_good(&self, authority: &Authority, now: SystemTime) -> bool {
        self.authority == *authority.certificate_der()
            && now < self.renews_at
            // If the clock was set back, a leaf issued in the future is not yet valid for clients.
            && now >= self.validity.not_before
    }

    #[cfg(test)]
    pub(crate) fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    pub(crate) fn validity(&self) -> Validity {
        self.validity
    }

    pub(crate) fn renews_at(&self) -> SystemTime {
        self.renews_at
    }
}

/// After two thirds of `lifetime`, minus a jitter of up to a tenth, so that replicas that started
/// together do not renew at the same time.
fn renewal(lifetime: Duration, die: u8) -> Duration {
    (lifetime * 2 / 3).saturating_sub(lifetime / 10 * u32::from(die) / u32::from(u8::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_hours(500_000)
    }

    #[test]
    fn renewal_is_never_late() {
        assert_eq!(renewal(DAY, 0), Duration::from_hours(16));
        assert_eq!(renewal(DAY, u8::MAX), Duration::from_mins(16 * 60 - 144));
    }

    #[test]
    fn a_leaf_is_good_until_its_renewal_under_its_authority() {
        let authority = || Arc::new(Authority::new("tests", now(), 30 * DAY).unwrap());
        let (own, other) = (authority(), authority());
        let (leaf, _) = MintedLeaf::mint(&own, &["localhost".to_owned()], now(), DAY).unwrap();
        assert!(leaf.is_good(&own, now()) && !leaf.is_good(&other, now()));
        assert!(leaf.is_good(&own, now() + DAY / 2) && !leaf.is_good(&own, now() + DAY * 2 / 3));
        assert!(!leaf.is_good(&own, now() - DAY), "the clock was set back");
    }
}
