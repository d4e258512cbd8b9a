use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::Authority;

pub(crate) const DAY: Duration = Duration::from_hours(24);

pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(500_000)
}

/// A pair in PEM for `name`, valid for a day.
pub(crate) fn pair(name: &str) -> (String, String) {
    let leaf =
        Authority::new("files", now(), 30 * DAY).unwrap().issue(&[name.to_owned()], now(), DAY).unwrap();
    (leaf.certificate_pem(), leaf.key_pem())
}

/// Mounts a pair as the kubelet does: files in a dated directory, `..data` as a link to it, and
/// links through `..data`.
pub(crate) fn mount(directory: &Path, generation: &str, (certificate, key): &(String, String)) {
    let dated = directory.join(generation);
    fs::create_dir(&dated).unwrap();
    fs::write(dated.join(CERTIFICATE_FILE), certificate).unwrap();
    fs::write(dated.join(KEY_FILE), key).unwrap();
    let old = fs::read_link(directory.join(DATA_LINK)).ok();
    symlink(generation, directory.join("..data_tmp")).unwrap();
    fs::rename(directory.join("..data_tmp"), directory.join(DATA_LINK)).unwrap();
    match old {
        Some(old) => fs::remove_dir_all(directory.join(old)).unwrap(),
        None => {
            for name in [CERTIFICATE_FILE, KEY_FILE] {
                symlink(Path::new(DATA_LINK).join(name), directory.join(name)).unwrap();
            }
        }
    }
}

fn plain(certificate: &str, key: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join(CERTIFICATE_FILE), certificate).unwrap();
    fs::write(directory.path().join(KEY_FILE), key).unwrap();
    directory
}

fn refusal(directory: &TempDir, now: SystemTime) -> LoadError {
    load(directory.path(), now).err().expect("the pair must be refused")
}

#[test]
fn plain_files_and_a_kubelet_volume_are_read() {
    let pair = pair("localhost");
    let loaded = load(plain(&pair.0, &pair.1).path(), now()).unwrap();
    assert_eq!(loaded.validity.not_after, now() + DAY);

    let volume = TempDir::new().unwrap();
    mount(volume.path(), "..2027_01_15", &pair);
    assert!(load(volume.path(), now()).is_ok());
}

#[test]
fn an_expired_certificate_is_refused_with_its_date() {
    let pair = pair("localhost");
    let error = refusal(&plain(&pair.0, &pair.1), now() + DAY);
    assert!(matches!(error, LoadError::Expired { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("tls.crt expired at 2027-01-16T08:00:00Z"), "{text}");
}

#[test]
fn a_certificate_of_tomorrow_is_refused_with_its_date() {
    let pair = pair("localhost");
    let error = refusal(&plain(&pair.0, &pair.1), now() - DAY);
    assert!(error.to_string().contains("tls.crt is not valid before 2027-01-15T07:55:00Z"), "{error}");
}

#[test]
fn the_last_tenth_of_the_validity_is_reported() {
    let validity = Validity { not_before: now(), not_after: now() + 10 * DAY };
    assert_eq!(validity.nearly_over(now() + 9 * DAY), None);
    assert_eq!(
        validity.nearly_over(now() + 9 * DAY + Duration::from_secs(1)),
        Some(Duration::from_secs(24 * 60 * 60 - 1))
    );
    assert!(!validity.is_over(now() + 10 * DAY - Duration::from_secs(1)));
    assert!(validity.is_over(now() + 10 * DAY));
}

#[test]
fn no_error_repeats_its_cause() {
    let error = refusal(&TempDir::new().unwrap(), now());
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(!error.to_string().contains(&cause), "{error}");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let error = refusal(&plain(&pair("a.example").0, &pair("b.example").1), now());
    assert!(matches!(error, LoadError::Pair { .. }), "{error}");
}

#[test]
fn missing_parts_are_named() {
    let (certificate, key) = pair("localhost");
    let cases = [
        (String::new(), key.clone(), "tls.crt holds no certificate"),
        (key.clone(), key.clone(), "tls.crt holds no certificate"),
        (certificate.clone(), String::new(), "tls.key holds no private key"),
        (certificate.clone(), certificate.clone(), "tls.key holds no private key"),
        ("-----BEGIN CERTIFICATE-----\n!".into(), key.clone(), "tls.crt is not PEM"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(),
            key,
            "first certificate of",
        ),
    ];
    for (certificate, key, expected) in cases {
        let text = refusal(&plain(&certificate, &key), now()).to_string();
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let text = refusal(&TempDir::new().unwrap(), now()).to_string();
    assert!(text.contains("tls.crt") && text.contains("kubernetes.io/tls"), "{text}");
}

#[test]
fn no_error_shows_the_key() {
    let (certificate, key) = pair("a.example");
    let secret_line = key.lines().nth(1).unwrap();
    for directory in [plain(&pair("b.example").0, &key), plain(&key, &certificate)] {
        let error = refusal(&directory, now());
        assert!(!format!("{error} {error:?}").contains(secret_line));
    }
}
