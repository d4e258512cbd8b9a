use std::time::{Duration, SystemTime};

use scaivault_client::{Lease, LeaseTerm, SecretData};
use scaivault_contract::env;

use super::*;
use crate::{
    config::{Config, Container},
    environment::Environment,
    lease::HeldLease,
};

fn wanted<const N: usize>(pairs: [(&'static str, &str); N]) -> Wanted {
    Config::read(&Environment::from(pairs), Container::Init).unwrap().wanted
}

fn secret(json: &str) -> Secret {
    Secret { version: 1, data: SecretData::new(json).unwrap() }
}

fn key(text: &str) -> Key {
    Key::of(&text.parse().unwrap())
}

fn text(composition: &Composition<'_>, file: &str) -> Option<String> {
    let file = composition.files.iter().find(|composed| composed.target.as_str() == file)?;
    Some(String::from_utf8(file.bytes.to_vec()).unwrap())
}

#[test]
fn a_secret_that_failed_leaves_the_others_alone() {
    let wanted = wanted([(env::SECRETS, "a/one#k -> /s/one\na/two -> /s/two\na/three#x -> /s/three")]);
    let failure = Failure::new("a/two", "because", Exit::Denied);
    let answers = Answers::from([
        (key("a/one"), Ok(secret(r#"{"k":"v"}"#))),
        (key("a/two"), Err(failure.clone())),
        (key("a/three"), Ok(secret(r#"{"k":"v"}"#))),
    ]);
    let composition = compose(&wanted, &answers, &Leases::default(), Variables::AllOrNone);
    assert_eq!(text(&composition, "/s/one").unwrap(), "v");
    assert_eq!(composition.files.len(), 1);
    assert_eq!(composition.failures.len(), 2);
    assert_eq!(composition.failures[0], failure);
    let said = composition.failures[1].to_string();
    assert_eq!(said, "a/three#x -> /s/three: it has no field \"x\"; its fields: \"k\"");
}

#[test]
fn what_was_not_asked_for_is_left_out_without_a_failure() {
    let wanted = wanted([
        (env::SECRETS, "a/one -> /s/one"),
        (env::DYNAMIC, "engine=e role=r -> /s/db template=\"{{ path }} {{ data.username }}\""),
        (env::SECRET_ENV, "a/one#k -> K"),
    ]);
    let term = LeaseTerm { ttl: Duration::from_hours(1), is_renewable: true, max_ttl: None };
    let credentials = SecretData::new(r#"{"username":"u"}"#).unwrap();
    let lease = Lease { id: "lease_1".parse().unwrap(), credentials, term };
    let lease = HeldLease::generated(lease, SystemTime::UNIX_EPOCH);
    let mut leases = Leases::default();
    leases.insert("engine=e role=r".parse().unwrap(), lease, tokio::time::Instant::now());
    let composition = compose(&wanted, &Answers::new(), &leases, Variables::AllOrNone);
    assert_eq!(text(&composition, "/s/db").unwrap(), "e/r u");
    assert_eq!((composition.files.len(), composition.failures.len()), (1, 0));
}

#[test]
fn variables_are_written_together_or_as_they_are() {
    let wanted = wanted([
        (env::SECRET_ENV, "a/one#k -> ONE\na/two#k -> TWO"),
        (env::SCAIVAULT_ENV_FILE, "/e/variables"),
    ]);
    let answers = Answers::from([
        (key("a/one"), Ok(secret(r#"{"k":"v"}"#))),
        (key("a/two"), Ok(secret(r#"{"k":"it's"}"#))),
    ]);
    let all = compose(&wanted, &answers, &Leases::default(), Variables::AllOrNone);
    assert_eq!((all.files.len(), all.failures.len()), (0, 1));
    assert!(all.failures[0].to_string().starts_with("a/two#k -> TWO: its field \"k\" has a single quote"));
    let some = compose(&wanted, &answers, &Leases::default(), Variables::AsTheyAre);
    assert_eq!(text(&some, "/e/variables").unwrap(), "ONE='v'\n");
}

#[test]
fn a_round_that_did_not_ask_for_every_variable_writes_none() {
    let wanted = wanted([
        (env::SECRET_ENV, "a/one#k -> ONE\na/two#k@3 -> TWO"),
        (env::SECRETS, "a/three -> /s/three"),
    ]);
    let pinned = (key("a/two@3"), Ok(secret(r#"{"k":"v"}"#)));
    let answers = Answers::from([pinned, (key("a/three"), Ok(secret(r#"{"k":"v"}"#)))]);
    for variables in [Variables::AllOrNone, Variables::AsTheyAre] {
        let composition = compose(&wanted, &answers, &Leases::default(), variables);
        let targets: Vec<_> = composition.files.iter().map(|file| file.target.as_str()).collect();
        assert_eq!((targets, composition.failures.len()), (vec!["/s/three"], 0));
    }
}

#[test]
fn more_variables_than_a_kubelet_reads_are_refused() {
    let wanted = wanted([(env::SECRET_ENV, "a/one#k -> K")]);
    let large = serde_json::json!({ "k": "x".repeat(VARIABLES_MAX_BYTES) }).to_string();
    let answers = Answers::from([(key("a/one"), Ok(secret(&large)))]);
    let composition = compose(&wanted, &answers, &Leases::default(), Variables::AsTheyAre);
    assert!(composition.files.is_empty());
    assert_eq!(composition.failures[0].exit(), Exit::Invalid);
}

#[test]
fn variables_of_which_some_were_not_asked_for_stay_as_they_are() {
    let wanted = wanted([(env::SECRET_ENV, "a/one#k -> ONE\na/two#k@3 -> TWO")]);
    let answers = Answers::from([(key("a/two@3"), Ok(secret(r#"{"k":"v"}"#)))]);
    for variables in [Variables::AllOrNone, Variables::AsTheyAre] {
        let composition = compose(&wanted, &answers, &Leases::default(), variables);
        assert_eq!((composition.files.len(), composition.failures.len()), (0, 0));
    }
}
