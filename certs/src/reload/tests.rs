use std::{fs, time::Duration};

use tempfile::TempDir;

use super::*;
use crate::{
    Authority,
    files::{
        CERTIFICATE_FILE,
        tests::{DAY, mount, now, pair},
    },
};

fn served(resolver: &CertResolver) -> Vec<u8> {
    resolver.current().unwrap().cert.first().unwrap().to_vec()
}

#[test]
fn a_swap_of_the_link_is_served() {
    let volume = TempDir::new().unwrap();
    mount(volume.path(), "..1", &pair("first.example"));
    let (mut reloader, resolver, validity) = Reloader::new(volume.path(), now()).unwrap();
    assert_eq!(validity.not_after, now() + DAY);
    let first = served(&resolver);
    assert!(matches!(reloader.check(now()), CheckResult::Unchanged));

    mount(volume.path(), "..2", &pair("second.example"));
    assert!(matches!(reloader.check(now()), CheckResult::Replaced { .. }));
    assert_ne!(served(&resolver), first);
    assert!(matches!(reloader.check(now()), CheckResult::Unchanged));
}

#[test]
fn a_broken_pair_is_reported_once_and_not_used() {
    let volume = TempDir::new().unwrap();
    mount(volume.path(), "..1", &pair("first.example"));
    let (mut reloader, resolver, _) = Reloader::new(volume.path(), now()).unwrap();
    let first = served(&resolver);

    mount(volume.path(), "..2", &(pair("a.example").0, pair("b.example").1));
    assert!(matches!(reloader.check(now()), CheckResult::Kept(LoadError::Pair { .. })));
    assert!(matches!(reloader.check(now()), CheckResult::Unchanged));
    assert_eq!(served(&resolver), first);

    mount(volume.path(), "..3", &pair("third.example"));
    assert!(matches!(reloader.check(now()), CheckResult::Replaced { .. }));
    assert_ne!(served(&resolver), first);
}

#[test]
fn a_vanished_file_keeps_the_one_before() {
    let volume = TempDir::new().unwrap();
    mount(volume.path(), "..1", &pair("first.example"));
    let (mut reloader, resolver, _) = Reloader::new(volume.path(), now()).unwrap();
    let first = served(&resolver);
    fs::remove_file(volume.path().join("..1").join(CERTIFICATE_FILE)).unwrap();
    assert!(matches!(reloader.check(now()), CheckResult::Kept(LoadError::Read { .. })));
    assert_eq!(served(&resolver), first);
}

#[test]
fn an_error_is_reported_once_until_it_changes() {
    let volume = TempDir::new().unwrap();
    mount(volume.path(), "..1", &pair("first.example"));
    let (mut reloader, _, _) = Reloader::new(volume.path(), now()).unwrap();
    let certificate = volume.path().join("..1").join(CERTIFICATE_FILE);
    let content = fs::read(&certificate).unwrap();
    for _ in 0..2 {
        fs::remove_file(&certificate).unwrap();
        assert!(matches!(reloader.check(now()), CheckResult::Kept(LoadError::Read { .. })));
        assert!(matches!(reloader.check(now()), CheckResult::Unchanged));
        fs::write(&certificate, &content).unwrap();
        assert!(matches!(reloader.check(now()), CheckResult::Unchanged), "the content in use");
    }
}

#[test]
fn a_pair_that_is_not_valid_yet_waits_for_its_time() {
    let volume = TempDir::new().unwrap();
    let yesterday = now() - DAY + Duration::from_secs(1);
    let authority = Authority::new("earlier", yesterday, 30 * DAY).unwrap();
    let leaf = authority.issue(&["first.example".into()], yesterday, DAY).unwrap();
    mount(volume.path(), "..1", &(leaf.certificate_pem(), leaf.key_pem()));
    let (mut reloader, resolver, _) = Reloader::new(volume.path(), yesterday).unwrap();
    let first = served(&resolver);

    mount(volume.path(), "..2", &pair("second.example"));
    assert!(matches!(reloader.check(yesterday), CheckResult::Kept(LoadError::NotYetValid { .. })));
    assert!(matches!(reloader.check(yesterday), CheckResult::Unchanged));
    assert_eq!(served(&resolver), first);
    assert!(matches!(reloader.check(now()), CheckResult::Replaced { .. }));
    assert_ne!(served(&resolver), first);
}
