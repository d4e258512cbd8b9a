use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
};

use super::*;
use crate::tls::provider;

const DAY: Duration = Duration::from_hours(24);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(500_000)
}

/// Verifies `leaf` for `name` at `time` as a client that trusts `ca`.
fn verdict(ca: &Authority, leaf: &Leaf, name: &str, time: SystemTime) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).unwrap()).unwrap();
    WebPkiServerVerifier::builder_with_provider(roots.into(), provider())
        .build()
        .unwrap()
        .verify_server_cert(
            leaf.certificate.der(),
            &[],
            &ServerName::try_from(name.to_owned()).unwrap(),
            &[],
            UnixTime::since_unix_epoch(time.duration_since(UNIX_EPOCH).unwrap()),
        )
        .map(|_| ())
}

#[test]
fn a_leaf_is_trusted_under_its_names_while_it_is_valid() {
    let ca = Authority::new("test authority", now(), 30 * DAY).unwrap();
    let leaf = ca.issue(&["injector.scaivault.svc".into(), "127.0.0.1".into()], now(), DAY).unwrap();
    assert_eq!(verdict(&ca, &leaf, "injector.scaivault.svc", now()), Ok(()));
    assert_eq!(verdict(&ca, &leaf, "127.0.0.1", now()), Ok(()));
    assert_eq!(verdict(&ca, &leaf, "127.0.0.1", now() - BACKDATE), Ok(()));
    assert!(verdict(&ca, &leaf, "other.scaivault.svc", now()).is_err());
    assert!(verdict(&ca, &leaf, "127.0.0.1", now() + 2 * DAY).is_err());
    assert!(verdict(&ca, &leaf, "127.0.0.1", now() - 2 * BACKDATE).is_err());
    let other = Authority::new("test authority", now(), 30 * DAY).unwrap();
    assert!(verdict(&other, &leaf, "127.0.0.1", now()).is_err());
}

#[test]
fn a_leaf_does_not_outlive_its_authority() {
    let ca = Authority::new("short", now(), DAY).unwrap();
    let leaf = ca.issue(&["localhost".into()], now(), 90 * DAY).unwrap();
    assert_eq!(leaf.validity().not_after, now() + DAY);
}

#[test]
fn a_bad_name_is_named() {
    let ca = Authority::new("names", now(), DAY).unwrap();
    let error = ca.issue(&["späť.example".into()], now(), DAY).err().unwrap();
    assert!(error.to_string().contains("späť.example"), "{error}");
}

#[test]
fn a_kept_authority_signs_as_before() {
    let made = Authority::new("kept", now(), 30 * DAY).unwrap();
    let kept = Authority::from_pem(made.certificate_pem().as_bytes(), made.key_pem().as_bytes()).unwrap();
    let leaf = kept.issue(&["localhost".into()], now(), DAY).unwrap();
    assert_eq!(verdict(&made, &leaf, "localhost", now()), Ok(()));
    assert_eq!(kept.certificate_der(), made.certificate_der());
    assert_eq!(kept.validity(), made.validity());
}

#[test]
fn a_certificate_that_cannot_sign_is_no_authority() {
    let made = Authority::new("made", now(), 30 * DAY).unwrap();
    let other = Authority::new("other", now(), 30 * DAY).unwrap();
    let leaf = made.issue(&["localhost".into()], now(), DAY).unwrap();
    let refusal =
        |certificate: &str, key: &str| Authority::from_pem(certificate.as_bytes(), key.as_bytes()).err();
    let certificate = made.certificate_pem();
    assert!(matches!(refusal(certificate, &other.key_pem()), Some(AuthorityError::Pair)));
    assert!(matches!(refusal(certificate, "key"), Some(AuthorityError::Key)));
    assert!(matches!(refusal("", &made.key_pem()), Some(AuthorityError::Certificate)));
    assert!(matches!(refusal(&leaf.certificate_pem(), &leaf.key_pem()), Some(AuthorityError::NotAuthority)));
}
