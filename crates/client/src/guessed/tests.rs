use std::time::Duration;

use hyper::HeaderMap;
use serde_json::{Value, json};

use super::*;

const START: SystemTime = SystemTime::UNIX_EPOCH;

fn answer(body: &Value) -> Answer {
    let body = body.to_string().into_bytes();
    Answer { status: 200, headers: HeaderMap::new(), body, cut: None }
}

fn sent(content: &Content) -> Value {
    serde_json::from_slice(&content.bytes).unwrap()
}

#[test]
fn the_exchange_has_the_names_of_rfc_8693() {
    let token = SecretString::from("ey.J\"");
    assert_eq!(
        sent(&exchange(&token, "scaivault", Some("sa:web"))),
        json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": "ey.J\"",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "audience": "scaivault",
            "role": "sa:web",
        })
    );
    assert!(sent(&exchange(&token, "scaivault", None)).get("role").is_none());
}

#[test]
fn a_token_is_all_that_its_answer_needs() {
    let read = |body: Value| token(&answer(&body), START).map(|token| token.use_until());
    let end = |seconds| START + Duration::from_secs(seconds);
    assert_eq!(read(json!({"access_token": "ey.J"})).unwrap(), end(3000));
    assert_eq!(read(json!({"access_token": "ey.J", "expires_in": 100, "scope": []})).unwrap(), end(90));
    for body in [
        json!({}),
        json!({"access_token": ""}),
        json!({"access_token": "a b"}),
        json!({"access_token": "a\n"}),
        json!({"access_token": 1}),
    ] {
        let kind = read(body).unwrap_err();
        assert!(matches!(kind, ErrorKind::Answer(AnswerFault::Missing(_))), "{kind:?}");
    }
}

#[test]
fn a_body_without_options_is_an_empty_object() {
    let dynamic = |text: &str| text.parse().unwrap();
    assert_eq!(sent(&generate(&dynamic("engine=e role=r"))), json!({}));
    assert_eq!(sent(&generate(&dynamic("engine=e role=r ttl=2h"))), json!({"ttl": "2h"}));
    assert_eq!(sent(&renew(None)), json!({}));
    assert_eq!(sent(&renew(Some("90m".parse().unwrap()))), json!({"increment": "90m"}));
}

#[test]
fn a_lease_is_read_by_all_likely_names() {
    let credentials = json!({"username": "u", "password": "p"});
    for body in [
        json!({"lease_id": "l-1", "data": credentials, "ttl_seconds": 60}),
        json!({"id": "l-1", "credentials": credentials, "lease_duration": 60}),
        json!({"id": "l-1", "lease_id": "l-1", "data": credentials, "credentials": credentials, "ttl": "60s"}),
        json!({"lease_id": "l-1", "username": "u", "password": "p", "ttl": 60, "renewable": null}),
        json!({"lease_id": "l-1", "data": credentials, "expires_at": "1970-01-01T00:01:00Z"}),
    ] {
        let lease = lease(answer(&body), START).unwrap();
        assert_eq!(lease.id.as_str(), "l-1");
        assert_eq!(serde_json::from_str::<Value>(lease.credentials.json()).unwrap(), credentials);
        assert_eq!(
            lease.term,
            LeaseTerm { ttl: Duration::from_mins(1), is_renewable: true, max_ttl: None },
            "{body}"
        );
    }
}

#[test]
fn a_lease_has_a_name_credentials_and_an_end() {
    let nameless = lease(answer(&json!({"data": {}, "ttl": 60})), START).unwrap_err();
    assert!(matches!(nameless, ErrorKind::Answer(AnswerFault::Missing(_))), "{nameless:?}");
    // The lease exists, so the error has its identifier.
    for body in [
        json!({"lease_id": "l", "ttl": 60}),
        json!({"lease_id": "l", "username": "u", "ttl": 60}),
        json!({"lease_id": "l", "data": {}}),
        json!({"lease_id": "l", "data": {}, "expires_at": "soon"}),
    ] {
        let kind = lease(answer(&body), START).unwrap_err();
        assert!(
            matches!(&kind, ErrorKind::OrphanedLease { lease, .. } if lease.as_str() == "l"),
            "{body} {kind:?}"
        );
    }
}

#[test]
fn an_expired_lease_is_refused() {
    for ended in [
        json!({"ttl_seconds": 0}),
        json!({"lease_duration": 0}),
        json!({"ttl": 0}),
        json!({"expires_at": "1970-01-01T00:00:00Z"}),
        json!({"expires_at": "1969-12-31T00:00:00Z"}),
    ] {
        let refused = term(&answer(&ended), START).unwrap_err();
        assert!(matches!(refused, ErrorKind::Answer(AnswerFault::Ended)), "{ended}: {refused}");
    }
}

#[test]
fn no_number_of_seconds_is_too_large_to_add() {
    let term = term(&answer(&json!({"ttl": u64::MAX, "max_ttl": u64::MAX})), START).unwrap();
    assert!(START.checked_add(term.ttl).is_some() && term.max_ttl == Some(Ttl::MAX.to_std()));
}
