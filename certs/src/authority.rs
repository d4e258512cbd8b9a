//! A certificate authority in memory, and the leaf certificates it signs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::{
    ca_bundle::CaBundle,
    files::{Validity, validity},
    tls::certified_key,
};

/// Certificates are valid from this long before they are issued: the API server's clock may be
/// behind the injector's.
pub(crate) const BACKDATE: Duration = Duration::from_mins(5);

/// Why a certificate could not be issued.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IssueError {
    /// A name is neither a DNS name nor an IP address, or key generation failed.
    #[error("cannot issue a certificate for {names}")]
    Generate {
        /// The subject or the requested names.
        names: String,
        /// The error of the generator.
        source: rcgen::Error,
    },
    /// `now` is before 1970.
    #[error("cannot issue a certificate: the system clock is before 1970; set the clock")]
    Clock,
}

/// Why a stored authority cannot be used. No message contains a byte of the key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The certificate cannot be read.
    #[error("the certificate is not X.509 in PEM")]
    Certificate,
    /// The certificate is not a CA certificate, so it may not sign others.
    #[error("the certificate is not a CA certificate")]
    NotAuthority,
    /// The key cannot be parsed.
    #[error("the key is not an unencrypted PKCS #8 key in PEM")]
    Key,
    /// The key belongs to another certificate.
    #[error("the key does not belong to the certificate")]
    Pair,
}

/// A certificate authority: an ECDSA P-256 key and its self-signed certificate.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
    validity: Validity,
}

impl Authority {
    /// Creates an authority with the common name `name`, valid from `now` for `validity`.
    pub fn new(name: &str, now: SystemTime, validity: Duration) -> Result<Self, IssueError> {
        let failed = |source| IssueError::Generate { names: name.to_owned(), source };
        let not_after = now + validity;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now, not_after)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        let validity = Validity { not_before: backdated(now), not_after };
        Ok(Self { issuer: Issuer::new(params, key), pem, der, validity })
    }

    /// Loads an authority from PEM: one certificate, and its key as PKCS #8.
    pub(crate) fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, AuthorityError> {
        let der = CertificateDer::from_pem_slice(certificate).map_err(|_| AuthorityError::Certificate)?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| AuthorityError::Certificate)?;
        let validity = validity(&der).ok_or(AuthorityError::Certificate)?;
        let signs = parsed.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
        if !parsed.is_ca() || !signs {
            return Err(AuthorityError::NotAuthority);
        }
        let public_key = parsed.public_key().subject_public_key.data.to_vec();
        let key = std::str::from_utf8(key).map_err(|_| AuthorityError::Key)?;
        let key = KeyPair::from_pem(key).map_err(|_| AuthorityError::Key)?;
        if key.public_key_raw() != public_key {
            return Err(AuthorityError::Pair);
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|_| AuthorityError::Certificate)?;
        let mut bundle = CaBundle::default();
        bundle.insert(&der, validity);
        Ok(Self { issuer, pem: bundle.to_pem(), der, validity })
    }

    /// The authority's certificate, PEM: the trust anchor for clients and the `caBundle` of the
    /// webhook configurations.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// The authority's certificate, DER.
    pub(crate) fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The validity period.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The private key, PKCS #8 in PEM. It must only be stored in a Secret that only the injector
    /// can read.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Issues a server certificate with a new key for DNS names and IP addresses, valid from `now`
    /// for `validity`, but not longer than the authority itself.
    pub fn issue(&self, names: &[String], now: SystemTime, validity: Duration) -> Result<Leaf, IssueError> {
        let failed = |source| IssueError::Generate { names: names.join(", "), source };
        let not_after = (now + validity).min(self.validity.not_after);
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name = names.first().map(|name| common_name(name)).unwrap_or_default();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, not_after)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Leaf { certificate, key, validity: Validity { not_before: backdated(now), not_after } })
    }
}

/// A server certificate and its private key.
pub struct Leaf {
    certificate: Certificate,
    key: KeyPair,
    validity: Validity,
}

impl Leaf {
    /// The validity period.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The certificate, PEM.
    pub fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    /// The private key, PKCS #8 in PEM. It must only be written to files that only their owner can
    /// read.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The certificate and key for a resolver.
    pub fn certified_key(&self) -> Result<CertifiedKey, rustls::Error> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        certified_key(vec![self.certificate.der().clone()], key)
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    // RFC 5280 allows 64 characters (ub-common-name). Clients verify the alternative names, so
    // truncation is harmless.
    distinguished.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    distinguished
}

fn backdated(now: SystemTime) -> SystemTime {
    now.checked_sub(BACKDATE).unwrap_or(UNIX_EPOCH).max(UNIX_EPOCH)
}

fn set_validity(
    params: &mut CertificateParams,
    now: SystemTime,
    not_after: SystemTime,
) -> Result<(), IssueError> {
    let since_epoch = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_err(|_| IssueError::Clock);
    // rcgen's date type comes from a crate that is not re-exported, so the value is built by
    // addition.
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(backdated(now))?;
    params.not_after = epoch + since_epoch(not_after)?;
    Ok(())
}

#[cfg(test)]
mod tests;
