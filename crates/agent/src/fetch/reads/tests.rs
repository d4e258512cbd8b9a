use scaivault_client::{Error, ErrorCode, Operation, Refusal, SecretData};

use super::*;

const INTERVAL: Duration = Duration::from_mins(5);
const SECOND: Duration = Duration::from_secs(1);

fn key(text: &str) -> Key {
    Key::from_secret(&text.parse().unwrap())
}

fn secret(version: u64) -> Secret {
    Secret { version, data: SecretData::new("{}").unwrap() }
}

fn refused(operation: Operation, code: &str, retry_after: Option<Duration>) -> Failure {
    let code = ErrorCode::new(code);
    let refusal = Refusal { status: 404, code, message: String::new(), request_id: None, retry_after };
    Failure::from_error("a/b", &Error { operation, kind: refusal.into() })
}

fn failed(code: &str) -> Failure {
    refused(Operation::Read, code, None)
}

fn reads(keys: &[&str], now: Instant) -> Reads {
    let keys = keys.iter().map(|text| key(text)).collect();
    Reads::new(keys, &BTreeMap::new(), RefreshSchedule::new(INTERVAL, false, now, 0.5), now)
}

/// Sends all reads that are due at `now`.
fn send(reads: &mut Reads, now: Instant) -> Vec<String> {
    reads.refresh(now, 0.5, |_| true);
    std::iter::from_fn(|| reads.next(now)).map(|key| key.to_string()).collect()
}

/// Reads whose secrets `keys` were all read in version 1 at `now`.
fn read(keys: &[&str], now: Instant) -> Reads {
    let mut reads = reads(keys, now);
    loop {
        let sent = send(&mut reads, now);
        if sent.is_empty() {
            return reads;
        }
        for text in sent {
            let key = key(&text);
            let version = key.version.map_or(1, |version| version.get().into());
            reads.accept(&key, version, now).unwrap();
            assert!(reads.succeeded(&key, &secret(version), now), "{text} is new");
        }
    }
}

fn announce(reads: &mut Reads, path: &str, version: Option<u64>, is_new_history: bool, now: Instant) {
    let announced = AnnouncedChange { version, is_new_history };
    reads.announce(&Changes::Of([(path.parse().unwrap(), announced)].into()), now);
}

#[test]
fn all_is_read_at_the_interval_but_for_pinned_versions() {
    let now = Instant::now();
    let mut reads = read(&["a/b", "a/c@3"], now);
    assert_eq!(reads.due(now), now + INTERVAL);
    let later = now + INTERVAL;
    assert_eq!(send(&mut reads, later), ["a/b"]);
    assert!(!reads.succeeded(&key("a/b"), &secret(1), later), "nothing changed");
    assert!(reads.succeeded(&key("a/b"), &secret(2), later));
    assert_eq!(reads.confirmed(later), Some(later));
    reads.refresh(later + INTERVAL, 0.5, |key| key.version.is_none());
    assert_eq!(send(&mut reads, later + INTERVAL), ["a/b", "a/c@3"], "its file is gone");
    reads.not_written([&key("a/c@3")], None);
    assert_eq!(reads.confirmed(later), None);
}

#[test]
fn events_only_request_unknown_versions() {
    let now = Instant::now();
    let mut reads = read(&["a/b", "a/c", "a/d@1"], now);
    for (path, version) in [("a/b", Some(1)), ("a/d", Some(2)), ("x/y", None)] {
        announce(&mut reads, path, version, false, now);
        assert_eq!(send(&mut reads, now), [""; 0], "{path}");
    }
    announce(&mut reads, "a/b", Some(2), false, now);
    assert_eq!(send(&mut reads, now), ["a/b"]);
    // A rotation is announced twice: the floor applies to the answer in flight.
    announce(&mut reads, "a/b", Some(3), false, now);
    assert_eq!(send(&mut reads, now), [""; 0]);
    assert_eq!(reads.accept(&key("a/b"), 2, now), Err(3));
    reads.failed(&key("a/b"), &Failure::outdated("a/b", 2, 3), now);
    let due = reads.due(now);
    assert!(due <= now + OUTDATED_PAUSE && due > now, "soon, and not at the interval");
    assert_eq!(send(&mut reads, due), ["a/b"]);
    reads.accept(&key("a/b"), 3, due).unwrap();
    assert!(reads.succeeded(&key("a/b"), &secret(3), due));
    announce(&mut reads, "a/b", None, false, due);
    assert_eq!(send(&mut reads, due), ["a/b"], "an event without a version");
    // A change that is announced while a read is in flight may not be in its answer.
    announce(&mut reads, "a/b", None, false, due);
    reads.succeeded(&key("a/b"), &secret(3), due);
    assert_eq!(send(&mut reads, due), ["a/b"]);
    reads.succeeded(&key("a/b"), &secret(3), due);
    reads.announce(&Changes::Any, due);
    assert_eq!(send(&mut reads, due), ["a/b", "a/c"]);
}

#[test]
fn versions_start_again_when_a_secret_is_created_again() {
    let now = Instant::now();
    let b = key("a/b");
    for reset in [
        |reads: &mut Reads, now| announce(reads, "a/b", None, true, now),
        |reads: &mut Reads, now| announce(reads, "a/b", Some(1), true, now),
        |reads: &mut Reads, now| {
            reads.failed(&key("a/b"), &failed("secret_not_found"), now);
        },
        |reads: &mut Reads, now| reads.absent(&key("a/b"), now),
    ] {
        let mut reads = read(&["a/b"], now);
        reads.accept(&b, 7, now).unwrap();
        assert_eq!(reads.accept(&b, 1, now), Err(7));
        reset(&mut reads, now);
        assert_eq!(reads.versions().next().unwrap().1, 7, "a restart must not forget it");
        // An event that is replayed, or a replica that lags: the older version of another replica
        // is not accepted.
        assert_eq!(reads.accept(&b, 6, now), Err(7));
        assert_eq!(reads.accept(&b, 7, now), Ok(()));
        assert_eq!((reads.accept(&b, 1, now), reads.accept(&b, 1, now)), (Err(7), Err(7)));
        assert_eq!(reads.accept(&b, 1, now), Ok(()), "only lower ones come");
    }
    // An older event that is delivered again.
    let mut reads = read(&["a/b"], now);
    reads.accept(&b, 7, now).unwrap();
    announce(&mut reads, "a/b", Some(8), true, now);
    assert_eq!(reads.accept(&b, 7, now), Err(8));
}

#[test]
fn a_pinned_version_is_that_version() {
    let now = Instant::now();
    let mut reads = reads(&["a/b@3"], now);
    assert_eq!(reads.accept(&key("a/b@3"), 4, now), Err(3));
    assert_eq!(reads.accept(&key("a/b@3"), 2, now), Err(3));
    assert_eq!(reads.accept(&key("a/b@3"), 3, now), Ok(()));
}

#[test]
fn retry_after_is_for_its_secret_alone_and_at_most_the_interval() {
    let now = Instant::now();
    let mut reads = read(&["a/b", "a/c"], now);
    reads.announce(&Changes::Any, now);
    send(&mut reads, now);
    let throttled = refused(Operation::Read, "rate_limited", Some(3600 * SECOND));
    let due = reads.failed(&key("a/b"), &throttled, now).unwrap();
    assert!((now + INTERVAL..=now + INTERVAL * 11 / 10).contains(&due));
    reads.succeeded(&key("a/c"), &secret(1), now);
    // Neither an event nor a refresh shortens the pause.
    reads.announce(&Changes::Any, now);
    assert_eq!(send(&mut reads, now), ["a/c"]);
    assert_eq!(send(&mut reads, due), ["a/b"]);
    reads.failed(&key("a/b"), &throttled, due);
    reads.refresh_now(due);
    assert_eq!(send(&mut reads, due), ["a/b"], "a user requests it");
}

#[test]
fn failed_reads_are_retried_with_backoff() {
    let start = Instant::now();
    let mut reads = read(&["a/b"], start);
    reads.announce(&Changes::Any, start);
    let mut now = start;
    for longest in [5, 10, 20, 40, 80, 160, 300] {
        // A failure that needs a fix is retried too.
        assert_eq!(send(&mut reads, now), ["a/b"]);
        let due = reads.failed(&key("a/b"), &failed("access_denied"), now).unwrap();
        assert!(due > now && due <= now + SECOND * longest, "{longest}");
        now = due;
    }
    assert_eq!(reads.confirmed(now), Some(start));
}

#[test]
fn few_reads_are_in_flight_and_slow_ones_make_room() {
    let now = Instant::now();
    let names: Vec<_> = (0..20).map(|number| format!("a/s{number:02}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut reads = reads(&names, now);
    assert_eq!(send(&mut reads, now).len(), IN_FLIGHT);
    assert_eq!(reads.due(now), now + SLOW);
    assert_eq!(send(&mut reads, now + SLOW).len(), 1);
    let later = now + 2 * SLOW;
    assert_eq!(send(&mut reads, later), [""; 0]);
    assert!(reads.due(later) >= now + INTERVAL * 9 / 10, "the next answer makes room");
    reads.succeeded(&key("a/s00"), &secret(1), later);
    assert_eq!(send(&mut reads, later), ["a/s04"]);
    reads.lost(later);
    assert_eq!(send(&mut reads, later).len(), IN_FLIGHT);
}

#[test]
fn a_failing_login_is_tested_by_one_read_at_a_time() {
    let now = Instant::now();
    let mut reads = reads(&["a/b", "a/c", "a/d"], now);
    let sent = send(&mut reads, now);
    let login = refused(Operation::Exchange, "forbidden", None);
    for text in &sent {
        reads.failed(&key(text), &login, now);
    }
    let due = reads.due(now);
    assert!(due > now && due <= now + 4 * FAILED_PAUSE);
    assert_eq!(send(&mut reads, due).len(), 1);
    reads.succeeded(&key("a/b"), &secret(1), due);
    assert_eq!(send(&mut reads, due), ["a/c", "a/d"]);
}

#[test]
fn the_initial_fetch_gives_up_permanent_and_late_failures() {
    let now = Instant::now();
    let deadline = now + 60 * SECOND;
    let mut reads = reads(&["a/denied", "a/late", "a/once"], now);
    reads.begin_initial(deadline);
    send(&mut reads, now);
    assert_eq!(reads.failed(&key("a/denied"), &failed("access_denied"), now), None);
    assert!(reads.failed(&key("a/once"), &failed("internal_error"), now).is_some());
    let throttled = refused(Operation::Read, "rate_limited", Some(90 * SECOND));
    assert_eq!(
        reads.failed(&key("a/late"), &throttled, now),
        None,
        "a pause that ends too late is not begun"
    );
    let again = reads.due(now);
    assert!(again <= now + INITIAL_PAUSES.0);
    assert_eq!(send(&mut reads, again), ["a/once"]);
    assert_eq!(reads.open(), [key("a/once")]);
    assert_eq!(reads.failed(&key("a/once"), &failed("internal_error"), again), None);
    assert!(reads.is_settled());
    // The sidecar continues to retry.
    reads.end_initial(again, 0.5);
    assert!(reads.due(again) <= again + FAILED_PAUSE);
    assert_eq!(send(&mut reads, again + FAILED_PAUSE).len(), 3);
}

#[test]
fn secrets_of_a_shared_file_are_requested_once() {
    let now = Instant::now();
    let mut reads = read(&["a/b", "a/c"], now);
    reads.announce(&Changes::Any, now);
    assert_eq!(send(&mut reads, now), ["a/b", "a/c"]);
    let due = reads.failed(&key("a/c"), &failed("service_unavailable"), now).unwrap();
    reads.need(&[key("a/b"), key("a/c")].into(), now);
    assert_eq!(send(&mut reads, now), [""; 0], "one is in flight, and one has its pause");
    reads.succeeded(&key("a/b"), &secret(2), now);
    reads.need(&[key("a/b")].into(), now);
    assert_eq!(send(&mut reads, now), ["a/b"]);
    assert_eq!(send(&mut reads, due), ["a/c"]);
}
