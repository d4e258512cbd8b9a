use std::fs;

use tempfile::TempDir;

use super::*;
use crate::{
    CERTIFICATE_FILE,
    files::tests::{DAY, mount, now, pair},
};

fn served(resolver: &CertResolver) -> Vec<u8> {
    resolver.current().cert.first().unwrap().to_vec()
}

#[test]
fn a_swap_of_the_link_is_served() {
    let volume = TempDir::new().unwrap();
    mount(volume.path(), "..1", &pair("first.example"));
    let (mut reloader, resolver, not_after) = Reloader::new(volume.path(), now()).unwrap();
    assert_eq!(not_after, now() + DAY);
    let first = served(&resolver);
    assert!(matches!(reloader.check(now()), Checked::Unchanged));

    mount(volume.path(), "..2", &pair("second.example"));
    assert!(matches!(reloader.check(now()), Checked::Replaced { .. }));
    assert_ne!(served(&resolver), first);
    assert!(matches!(reloader.check(now()), Checked::Unchanged));
}

#[test]
fn a_broken_pair_keeps_the_one_before_and_is_told_once() {
    let volume = TempDir::new().unwrap();
    mount(volume.path(), "..1", &pair("first.example"));
    let (mut reloader, resolver, _) = Reloader::new(volume.path(), now()).unwrap();
    let first = served(&resolver);

    mount(volume.path(), "..2", &(pair("a.example").0, pair("b.example").1));
    assert!(matches!(reloader.check(now()), Checked::Kept(LoadError::Pair { .. })));
    assert!(matches!(reloader.check(now()), Checked::Unchanged));
    assert_eq!(served(&resolver), first);

    mount(volume.path(), "..3", &pair("third.example"));
    assert!(matches!(reloader.check(now()), Checked::Replaced { .. }));
    assert_ne!(served(&resolver), first);
}

#[test]
fn a_vanished_file_keeps_the_one_before() {
    let volume = TempDir::new().unwrap();
    mount(volume.path(), "..1", &pair("first.example"));
    let (mut reloader, resolver, _) = Reloader::new(volume.path(), now()).unwrap();
    let first = served(&resolver);
    fs::remove_file(volume.path().join("..1").join(CERTIFICATE_FILE)).unwrap();
    assert!(matches!(reloader.check(now()), Checked::Kept(LoadError::Read { .. })));
    assert_eq!(served(&resolver), first);
}
