use std::time::{Duration, SystemTime};

use scaivault_client::{HeldLease, Lease, LeaseTerm, SecretData};
use scaivault_contract::env;
use tokio::time::Instant;

use super::*;
use crate::{
    config::{Config, Container},
    environment::Environment,
};

fn outputs<const N: usize>(pairs: [(&'static str, &str); N]) -> &'static Outputs {
    Box::leak(Box::new(Config::read(&Environment::from(pairs), Container::Init).unwrap().outputs))
}

#[expect(clippy::unnecessary_wraps, reason = "the tests pass answers and errors")]
fn secret(json: &str) -> Result<Secret, Failure> {
    Ok(Secret { version: 1, data: SecretData::new(json).unwrap() })
}

fn denied() -> Result<Secret, Failure> {
    Err(Failure::new("a/two", "because", Exit::Denied))
}

fn absent() -> Result<Secret, Failure> {
    let (secret, field, present) = ("it".to_owned(), "x".to_owned(), String::new());
    Err(Failure::from_render_error("a/two", &RenderError::NoField { secret, field, present }))
}

fn key(text: &str) -> Key {
    Key::from_secret(&text.parse().unwrap())
}

/// The files that an answer completes, as `file: text`, and the result.
fn take(
    composer: &mut Composer,
    path: &str,
    answer: Result<Secret, Failure>,
    is_changed: bool,
) -> (Vec<String>, ComposeResult) {
    let mut files = Vec::new();
    let outcome = composer.take(&key(path), answer, is_changed, |target, _mode, bytes| {
        files.push(format!("{}: {}", target.as_str(), String::from_utf8_lossy(bytes)));
    });
    (files, outcome)
}

#[test]
fn a_secret_is_written_to_all_of_its_files_and_not_kept() {
    let mut composer =
        Composer::new(outputs([(env::SECRETS, "a/one#k -> /s/k\na/one#l -> /s/l\na/one#x -> /s/x")]));
    let (files, outcome) = take(&mut composer, "a/one", secret(r#"{"k":"v","l":"w"}"#), true);
    assert_eq!(files, ["/s/k: v", "/s/l: w"]);
    assert_eq!(outcome.failures.len(), 1);
    let said = outcome.failures[0].to_string();
    assert_eq!(said, "a/one#x -> /s/x: it has no field \"x\"; its fields: \"k\", \"l\"");
    assert_eq!(outcome.not_written, [key("a/one")].into());
    assert!(composer.held.is_empty());
    assert!(take(&mut composer, "a/one", secret(r#"{"k":"v"}"#), false).0.is_empty(), "nothing has changed");
}

#[test]
fn a_file_of_several_secrets_is_written_once_for_all_of_them() {
    let outputs = outputs([(
        env::SECRETS,
        "x=a/one#k y=a/two#k -> /s/both template=\"{{ secrets.x.data.k }}{{ secrets.y.data.k }}\"\na/one#k -> /s/one",
    )]);
    let mut composer = Composer::new(outputs);
    let (files, outcome) = take(&mut composer, "a/one", secret(r#"{"k":"1"}"#), true);
    assert_eq!((files, outcome.needed), (vec!["/s/one: 1".to_owned()], [key("a/two")].into()));
    assert_eq!(take(&mut composer, "a/two", secret(r#"{"k":"2"}"#), true).0, ["/s/both: 12"]);
    assert!(composer.held.is_empty());

    // Without a change no file is written. If one secret changes, the other is requested and both
    // are written together.
    assert!(take(&mut composer, "a/two", secret(r#"{"k":"2"}"#), false).0.is_empty());
    assert!(composer.held.is_empty());
    let (files, outcome) = take(&mut composer, "a/two", secret(r#"{"k":"3"}"#), true);
    assert_eq!((files.len(), outcome.needed), (0, [key("a/one")].into()));
    assert_eq!(take(&mut composer, "a/one", secret(r#"{"k":"1"}"#), false).0, ["/s/both: 13"]);

    // If one cannot be read, the file is kept and the other answer is dropped.
    take(&mut composer, "a/two", secret(r#"{"k":"4"}"#), true);
    let (files, outcome) = take(&mut composer, "a/one", denied(), false);
    assert!(files.is_empty() && composer.held.is_empty());
    assert_eq!(outcome.not_written, [key("a/one"), key("a/two")].into());
}

#[test]
fn a_missing_optional_source_is_no_failure() {
    let outputs = outputs([(
        env::SECRETS,
        "a/one#x -> /s/x optional=true\nx=a/one y=a/two -> /s/both optional=true\na/two -> /s/two optional=true",
    )]);
    let mut composer = Composer::new(outputs);
    assert!(composer.is_optional(&key("a/two")));
    let (_, outcome) = take(&mut composer, "a/one", secret("{}"), true);
    assert_eq!(outcome.absent.iter().map(|file| file.as_str()).collect::<Vec<_>>(), ["/s/x"]);
    let (files, outcome) = take(&mut composer, "a/two", absent(), false);
    assert_eq!((files.len(), outcome.failures.len(), outcome.not_written.len()), (0, 0, 0));
    assert_eq!(outcome.absent.len(), 2);
    // Every other reason is a failure.
    let mut composer = Composer::new(outputs);
    take(&mut composer, "a/one", secret("{}"), true);
    let (_, outcome) = take(&mut composer, "a/two", denied(), false);
    assert_eq!((outcome.absent.len(), outcome.not_written.len()), (0, 2));
}

#[test]
fn variables_are_written_together_or_as_they_are() {
    let outputs = outputs([
        (env::SECRET_ENV, "a/one#k -> ONE\na/two#k@3 -> TWO"),
        (env::SCAIVAULT_ENV_FILE, "/e/variables"),
    ]);
    let answers = || [("a/one", secret(r#"{"k":"v"}"#)), ("a/two@3", secret(r#"{"k":"it's"}"#))];
    let all = |is_partial| {
        let mut composer = Composer::new(outputs);
        composer.set_partial_variables(is_partial);
        answers().map(|(path, answer)| take(&mut composer, path, answer, true))
    };
    let [(first, _), (second, outcome)] = all(false);
    assert_eq!((first.len(), second.len(), outcome.failures.len()), (0, 0, 1));
    assert!(
        outcome.failures[0].to_string().starts_with("a/two#k@3 -> TWO: its field \"k\" has a single quote")
    );
    assert_eq!(all(true)[1].0, ["/e/variables: ONE='v'\n"]);

    let mut composer = Composer::new(outputs);
    composer.set_partial_variables(true);
    take(&mut composer, "a/one", secret(r#"{"k":"v"}"#), true);
    assert_eq!(take(&mut composer, "a/two@3", denied(), false).0, ["/e/variables: ONE='v'\n"]);
}

#[test]
fn more_variables_than_a_kubelet_reads_are_refused() {
    let mut composer = Composer::new(outputs([(env::SECRET_ENV, "a/one#k -> K")]));
    let large = serde_json::json!({ "k": "x".repeat(VARIABLES_MAX_BYTES) }).to_string();
    let (files, outcome) = take(&mut composer, "a/one", secret(&large), true);
    assert!(files.is_empty());
    assert_eq!(outcome.failures[0].exit, Exit::Invalid);
}

#[test]
fn secrets_of_one_file_are_limited_together() {
    let names = ["a", "b", "c", "d", "e"];
    let sources = names.map(|name| format!("{name}=s/{name}")).join(" ");
    let mut composer = Composer::new(outputs([(env::SECRETS, &format!("{sources} -> /s/all"))]));
    let large = serde_json::json!({ "k": "x".repeat(900 * 1024) }).to_string();
    let taken = names.map(|name| take(&mut composer, &format!("s/{name}"), secret(&large), true).1.failures);
    let counts: Vec<_> = taken.iter().map(Vec::len).collect();
    assert_eq!(counts, [0, 0, 0, 0, 1]);
    assert!(taken[4][0].to_string().contains("more than 4 MiB"));
    assert!(composer.held.is_empty());
}

#[test]
fn leases_are_written_by_themselves() {
    let outputs = outputs([
        (env::SECRETS, "a/one -> /s/one"),
        (
            env::DYNAMIC,
            "engine=e role=r -> /s/db template=\"{{ path }} {{ data.username }}\"\nengine=e role=s -> /s/x",
        ),
    ]);
    let term = LeaseTerm { ttl: Duration::from_hours(1), is_renewable: true, max_ttl: None };
    let credentials = SecretData::new(r#"{"username":"u"}"#).unwrap();
    let lease = Lease { id: "lease_1".parse().unwrap(), credentials, term };
    let lease = HeldLease::generated(lease, SystemTime::UNIX_EPOCH);
    let mut leases = Leases::default();
    leases.insert("engine=e role=r".parse().unwrap(), lease, Instant::now());
    let mut files = Vec::new();
    let failures = compose_leases(outputs, &leases, |target, _mode, bytes| {
        files.push(format!("{}: {}", target.as_str(), String::from_utf8_lossy(bytes)));
    });
    assert_eq!((files, failures.len()), (vec!["/s/db: e/r u".to_owned()], 0));
}

#[test]
fn held_answers_are_bounded_and_requested_again() {
    let line = |n| format!("x=a/shared#k y=a/s{n}#k -> /s/f{n} template=\"{{{{ secrets.y.version }}}}\"\n");
    let files = (0..20).map(line).collect::<Vec<_>>().concat();
    let mut composer = Composer::new(outputs([(env::SECRETS, Box::leak(files.into_boxed_str()))]));
    let large = |composer: &mut Composer, path: &str| {
        let json = format!(r#"{{"k":"{}"}}"#, "x".repeat(1023 * 1024));
        take(composer, path, secret(&json), true)
    };
    let held = |composer: &Composer| composer.held.values().map(bytes).sum::<usize>();
    for n in 0..20 {
        let (files, outcome) = large(&mut composer, &format!("a/s{n}"));
        assert_eq!(
            (files.len(), outcome.needed),
            (0, [key("a/shared")].into()),
            "nothing is asked for in a circle"
        );
        assert!(held(&composer) <= HELD_MAX_BYTES, "{n}");
    }
    assert_eq!(composer.held.len(), 8);
    // The slow answer arrives: the others are requested when there is room for them.
    let (files, outcome) = large(&mut composer, "a/shared");
    assert_eq!(files.len(), 8);
    let (mut written, mut asked) = (files.len(), outcome.needed);
    while let Some(next) = asked.pop_first() {
        let (files, outcome) = large(&mut composer, &next.to_string());
        written += files.len();
        asked.extend(outcome.needed);
        assert!(held(&composer) <= HELD_MAX_BYTES);
    }
    assert_eq!(written, 20);
    assert!(composer.held.is_empty() && composer.dropped.is_empty());
}
