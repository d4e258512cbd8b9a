use scaivault_client::SecretData;

use super::*;
use crate::attributes::tests::pod;

const MINUTE: Duration = Duration::from_mins(1);

fn key(version: Option<u32>) -> Key {
    let target = LoginTarget { server: 0, audience: "scaivault".to_owned(), role: None };
    let identity = Identity::new(&pod(), &target);
    Key { identity, path: "a/b".parse().unwrap(), version: version.and_then(NonZeroU32::new) }
}

fn found(version: u64) -> Answer {
    Answer::Found(Arc::new(Secret { version, data: SecretData::new("{}").unwrap() }))
}

/// An entry of version 5, requested at `asked`.
fn entry(key: &Key, asked: Instant) -> Entry {
    let mut entry = Entry::new(asked);
    entry.take(key, found(5), asked, asked);
    entry
}

fn announced(version: Option<u64>) -> AnnouncedChange {
    AnnouncedChange { version, is_new_history: false }
}

#[test]
fn a_secret_is_answered_for_an_interval_without_events() {
    let (key, start) = (key(None), Instant::now());
    let entry = entry(&key, start);
    let is_fresh = |purpose, after: Duration| entry.fresh(&key, purpose, MINUTE, start + after).is_some();
    for purpose in [Purpose::NewVolume, Purpose::Republish(None)] {
        assert!(is_fresh(purpose, Duration::from_secs(59)) && !is_fresh(purpose, MINUTE));
    }
}

#[test]
fn with_events_a_republish_needs_no_request() {
    let (key, start) = (key(None), Instant::now());
    let entry = entry(&key, start);
    let is_fresh = |purpose, after: Duration| entry.fresh(&key, purpose, MINUTE, start + after).is_some();
    let with_events = Purpose::Republish(Some(start));
    assert!(
        is_fresh(with_events, 9 * MINUTE) && !is_fresh(with_events, 10 * MINUTE),
        "events of a path may be missing"
    );
    assert!(!is_fresh(Purpose::NewVolume, 2 * MINUTE), "the identity may have lost its rights");
    let later = Purpose::Republish(Some(start + Duration::from_secs(1)));
    assert!(!is_fresh(later, 2 * MINUTE), "a change in between has no event");
}

#[test]
fn a_pinned_version_is_read_seldom() {
    let (key, start) = (key(Some(5)), Instant::now());
    let entry = entry(&key, start);
    let is_fresh = |purpose, after: Duration| entry.fresh(&key, purpose, MINUTE, start + after).is_some();
    assert!(is_fresh(Purpose::Republish(None), 9 * MINUTE));
    assert!(!is_fresh(Purpose::NewVolume, MINUTE));
}

#[test]
fn an_event_causes_a_read_unless_its_version_is_known() {
    let (key, start) = (key(None), Instant::now());
    let with_events = Purpose::Republish(Some(start));
    for (version, is_fresh) in [(None, false), (Some(6), false), (Some(5), true), (Some(4), true)] {
        let mut entry = entry(&key, start);
        entry.announce(announced(version), start);
        assert_eq!(entry.fresh(&key, with_events, MINUTE, start).is_some(), is_fresh, "{version:?}");
    }
    let mut entry = entry(&key, start);
    entry.announce(AnnouncedChange { version: Some(1), is_new_history: true }, start);
    assert!(entry.fresh(&key, with_events, MINUTE, start).is_none(), "created again");
}

#[test]
fn an_event_during_a_read_is_not_lost() {
    let (key, start) = (key(None), Instant::now());
    let mut entry = Entry::new(start);
    entry.announce(announced(Some(6)), start + Duration::from_secs(1));
    entry.take(&key, found(6), start, start + Duration::from_secs(2));
    let now = start + Duration::from_secs(3);
    assert!(entry.fresh(&key, Purpose::NewVolume, MINUTE, now).is_some(), "it had the new version");
    entry.announce(announced(None), now);
    entry.take(&key, found(6), start + Duration::from_secs(2), now);
    assert!(entry.fresh(&key, Purpose::NewVolume, MINUTE, now).is_none());
}

#[test]
fn a_lagging_replica_does_not_revert_a_file() {
    let (key, start) = (key(None), Instant::now());
    let mut entry = entry(&key, start);
    let taken = entry.take(&key, found(4), start + 2 * MINUTE, start + 2 * MINUTE);
    assert_eq!(taken.version(), Some(5));
    let with_events = Purpose::Republish(Some(start + MINUTE));
    assert!(entry.fresh(&key, with_events, MINUTE, start + 2 * MINUTE).is_none(), "it is read again");
    entry.announce(announced(Some(7)), start);
    assert_eq!(entry.take(&key, found(6), start, start).version(), Some(5));
    assert_eq!(entry.take(&key, found(7), start, start).version(), Some(7));
}

const INTERVAL: Duration = MINUTE;

/// A secret of a namespace.
fn key_of(namespace: &str, version: u32) -> Key {
    let mut key = key(Some(version));
    key.identity.namespace = namespace.parse().unwrap();
    key
}

/// Stores a response with this number of bytes.
fn put(secrets: &Secrets, key: &Key, bytes: usize) {
    let Err(reading) = secrets.fresh(key, Purpose::NewVolume) else { panic!("it is in memory") };
    let data = SecretData::new(&format!(r#"{{"key":"{}"}}"#, "x".repeat(bytes))).unwrap();
    secrets.take(key, &reading, Answer::Found(Arc::new(Secret { version: 1, data })), Instant::now());
}

fn is_kept(secrets: &Secrets, key: &Key) -> bool {
    let namespaces = secrets.namespaces();
    namespaces.get(&key.identity.namespace).is_some_and(|entries| entries.contains_key(key))
}

#[test]
fn memory_is_bounded_by_number_and_bytes() {
    for size in [0, 512 * 1024] {
        let secrets = Secrets::new(INTERVAL);
        let most = u32::try_from(BYTES_MAX / (ENTRY_BYTES + size)).unwrap();
        let keys: Vec<_> =
            (1..=2 * most).map(|index| key_of(["a", "b", "c"][index as usize % 3], index)).collect();
        for key in &keys {
            put(&secrets, key, size);
            assert!(secrets.namespaces().values().map(bytes).sum::<usize>() <= BYTES_MAX);
        }
        assert!(secrets.count() > usize::try_from(most / 2).unwrap(), "{}", secrets.count());
        assert!(is_kept(&secrets, &keys[keys.len() - 1]) && !is_kept(&secrets, &keys[0]));
    }
}

#[test]
fn a_namespace_does_not_evict_secrets_of_others() {
    let secrets = Secrets::new(INTERVAL);
    let victim = key_of("victim", 1);
    put(&secrets, &victim, 1000);
    // Pending reads count as well.
    for index in 1..10_000 {
        assert!(secrets.fresh(&key_of("a", index), Purpose::NewVolume).is_err());
    }
    let of_a = &key_of("a", 1).identity.namespace;
    assert!(bytes(&secrets.namespaces()[of_a]) <= NAMESPACE_MAX_BYTES);
    for index in 1..100 {
        put(&secrets, &key_of("b", index), 1024 * 1000);
    }
    assert!(is_kept(&secrets, &victim));
}

#[test]
fn an_answer_for_a_forgotten_entry_is_not_kept() {
    let secrets = Secrets::new(INTERVAL);
    let (key, asked) = (key(None), Instant::now());
    let Err(reading) = secrets.fresh(&key, Purpose::NewVolume) else { panic!("it is in memory") };
    // Meanwhile the entry is evicted, created again for another caller, and an event arrives.
    secrets.forget_idle(asked + 20 * MINUTE);
    assert!(secrets.fresh(&key, Purpose::NewVolume).is_err());
    secrets.announce(&key.identity, &Changes::Any);
    secrets.forget_idle(asked + 20 * MINUTE);
    assert!(secrets.fresh(&key, Purpose::NewVolume).is_err());
    assert_eq!(secrets.take(&key, &reading, found(5), asked).version(), Some(5));
    assert!(secrets.fresh(&key, Purpose::NewVolume).is_err(), "it is read again");
}
