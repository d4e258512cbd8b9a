use scaivault_client::{Error, ErrorCode, Operation, Refusal, Secret, SecretData};

use super::*;

const INTERVAL: Duration = Duration::from_mins(5);
const SECOND: Duration = Duration::from_secs(1);

fn key(text: &str) -> Key {
    Key::of(&text.parse().unwrap())
}

fn keys(texts: &[&str]) -> BTreeSet<Key> {
    texts.iter().map(|text| key(text)).collect()
}

fn secret(version: u64) -> Secret {
    Secret { version, data: SecretData::new("{}").unwrap() }
}

fn refused(code: &str, retry_after: Option<Duration>) -> Failure {
    let code = ErrorCode::new(code);
    let refusal = Refusal { status: 400, code, message: String::new(), request_id: None, retry_after };
    Failure::of_error("a/b", &Error { operation: Operation::Read, kind: refusal.into() })
}

fn answers<const N: usize>(of: [(&str, Result<Secret, Failure>); N]) -> Answers {
    of.into_iter().map(|(text, answer)| (key(text), answer)).collect()
}

fn reads(variables: &[&str], answers: &Answers, now: Instant) -> Reads {
    let pace = Pace::new(INTERVAL, false);
    Reads::new(keys(variables), answers, pace, now, [0.5, 1.0])
}

fn of<const N: usize>(changes: [(&str, Option<u64>); N]) -> Changes {
    let announced = |version| Announced { version, is_new_history: false };
    Changes::Of(changes.into_iter().map(|(path, version)| (path.parse().unwrap(), announced(version))).collect())
}

#[test]
fn all_is_read_at_the_interval_but_for_pinned_versions() {
    let now = Instant::now();
    let mut reads = reads(&[], &answers([("a/b", Ok(secret(1))), ("a/c@3", Ok(secret(3)))]), now);
    assert_eq!(reads.due(), now + INTERVAL);
    assert_eq!(reads.start(now, 0.5), None);
    let round = reads.start(now + INTERVAL, 0.5).unwrap();
    assert_eq!(round, Round { keys: keys(&["a/b"]), is_all: true });
    let written = reads.answered(answers([("a/b", Ok(secret(2)))]), None, now + INTERVAL);
    assert_eq!(written.len(), 2, "what never changes is written with it");
    reads.done(round, true, now + INTERVAL, 0.5);
    assert_eq!(reads.due(), now + 2 * INTERVAL);
}

#[test]
fn what_has_changed_is_read_at_once_and_what_is_known_is_not() {
    let now = Instant::now();
    let first = answers([("a/b", Ok(secret(4))), ("a/c", Ok(secret(1))), ("a/d@1", Ok(secret(1)))]);
    let mut reads = reads(&[], &first, now);
    reads.ask(&of([("a/b", Some(4)), ("a/d", Some(2)), ("x/y", None)]), now);
    assert_eq!(reads.start(now, 0.5), None);
    reads.ask(&of([("a/b", Some(5))]), now);
    let round = reads.start(now, 0.5).unwrap();
    assert_eq!(round, Round { keys: keys(&["a/b"]), is_all: false });
    reads.answered(answers([("a/b", Ok(secret(5)))]), None, now);
    reads.done(round, true, now, 0.5);
    reads.ask(&of([("a/b", Some(5))]), now);
    assert_eq!(reads.start(now, 0.5), None);
    reads.ask(&of([("a/b", None)]), now);
    assert!(reads.start(now, 0.5).is_some(), "an event without a version");
    reads.ask(&Changes::Any, now);
    assert_eq!(reads.start(now, 0.5).unwrap().keys, keys(&["a/b", "a/c"]));
}

#[test]
fn what_was_not_written_is_read_again_though_its_version_is_known() {
    let now = Instant::now();
    let mut reads = reads(&[], &answers([("a/b", Ok(secret(1)))]), now);
    reads.ask(&of([("a/b", Some(2))]), now);
    let round = reads.start(now, 0.5).unwrap();
    reads.answered(answers([("a/b", Ok(secret(2)))]), None, now);
    reads.done(round, false, now, 1.0);
    assert_eq!(reads.due(), now + FIRST_PAUSE);
    reads.ask(&of([("a/b", Some(2))]), now);
    assert!(reads.start(now, 0.5).is_some());
}

#[test]
fn what_failed_is_tried_again_and_never_before_the_server_wants() {
    let now = Instant::now();
    let unavailable = refused("service_unavailable", None);
    let mut reads = reads(&[], &answers([("a/b", Err(unavailable)), ("a/c", Ok(secret(1)))]), now);
    assert_eq!(reads.due(), now + FIRST_PAUSE);
    let round = reads.start(now + FIRST_PAUSE, 0.5).unwrap();
    assert_eq!(round.keys, keys(&["a/b"]));
    let now = now + FIRST_PAUSE;
    let throttled = refused("rate_limited", Some(600 * SECOND));
    reads.answered(answers([("a/b", Err(throttled))]), None, now);
    reads.done(round, true, now, 0.5);
    // Neither by itself nor for an event nor at the interval.
    assert_eq!(reads.due(), now + 600 * SECOND);
    reads.ask(&Changes::Any, now);
    assert_eq!(reads.due(), now + 600 * SECOND);
    assert_eq!(reads.start(now + INTERVAL * 3 / 2, 0.5), None);
    assert_eq!(reads.start(now + 600 * SECOND, 0.5).unwrap().keys, keys(&["a/b", "a/c"]));
}

#[test]
fn the_variables_are_read_together() {
    let now = Instant::now();
    let first = answers([("a/b", Ok(secret(1))), ("a/c", Ok(secret(1))), ("a/d", Ok(secret(1)))]);
    let mut reads = reads(&["a/b", "a/c"], &first, now);
    reads.ask(&of([("a/b", None)]), now);
    assert_eq!(reads.start(now, 0.5).unwrap().keys, keys(&["a/b", "a/c"]));
}
