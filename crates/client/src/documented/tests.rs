use std::sync::Arc;

use hyper::HeaderMap;
use serde_json::{Value, json};

use super::*;

fn answer(body: &Value) -> Answer {
    let body = body.to_string().into_bytes();
    Answer { status: 200, headers: HeaderMap::new(), body, cut: None }
}

fn sent(content: &Content) -> Value {
    serde_json::from_slice(&content.bytes).unwrap()
}

fn path(text: &str) -> SecretPath {
    text.parse().unwrap()
}

#[test]
fn routes_are_as_published() {
    let id: SubscriptionId = "sub_1".parse().unwrap();
    assert_eq!(read_route(&path("a/b"), None), "/v1/secrets/a/b");
    assert_eq!(read_route(&path("a/b"), NonZeroU32::new(3)), "/v1/secrets/a/b?version=3");
    assert_eq!(ack_route(&id), "/v1/subscriptions/sub_1/ack");
    assert_eq!(poll_route(&id, &Poll::default()), "/v1/subscriptions/sub_1/poll?timeout=30&max_events=100");
    let poll = Poll { wait: Duration::from_mins(5), since: Some("evt_1".parse().unwrap()), max_events: 1 };
    let route = "/v1/subscriptions/sub_1/poll?timeout=60&max_events=1&since_event_id=evt_1";
    assert_eq!(poll_route(&id, &poll), route);
}

#[test]
fn bodies_are_as_published() {
    let subscription = NewSubscription {
        name: "n".to_owned(),
        paths: Arc::new([path("a/b")].into()),
        events: vec![EventKind::Rotated, EventKind::Updated],
        buffer_size: 7,
    };
    assert_eq!(
        sent(&subscribe(&subscription)),
        json!({
            "name": "n", "paths": ["a/b"], "events": ["secret.rotated", "secret.updated"],
            "delivery": {"type": "polling", "buffer_size": 7},
        })
    );
    assert_eq!(sent(&ack(&["evt_1".parse().unwrap()])), json!({"event_ids": ["evt_1"]}));
}

#[test]
fn client_credentials_survive_the_form() {
    let form = client_credentials(&"app".into(), &"a&b=c d+é%".into());
    let expected = "grant_type=client_credentials&client_id=app&client_secret=a%26b%3Dc%20d%2B%C3%A9%25";
    assert_eq!(str::from_utf8(&form.bytes).unwrap(), expected);
}

#[test]
fn an_event_needs_little() {
    let body = json!({"events": [
        {"event_id": "evt_1", "event_type": "secret.rotated", "path": "a/b", "data": {"new_version": 4}},
        {"event_id": "evt_2", "event_type": "policy.updated", "path": "Not/A Path", "data": null, "x": 1},
    ]});
    let events = events(&answer(&body)).unwrap();
    assert_eq!(
        events,
        [
            Event {
                id: "evt_1".parse().unwrap(),
                kind: Some(EventKind::Rotated),
                path: Some(path("a/b")),
                new_version: Some(4)
            },
            Event { id: "evt_2".parse().unwrap(), kind: None, path: None, new_version: None },
        ]
    );
}

#[test]
fn an_event_that_is_not_understood_hides_no_other() {
    let good = json!({"event_id": "evt_1", "event_type": "secret.rotated", "path": "a/b"});
    let odd_version = json!({"event_id": "evt_2", "path": "a/b", "data": {"new_version": "7"}});
    let found = events(&answer(&json!({"events": [good, odd_version]}))).unwrap();
    assert_eq!(found.iter().map(|event| event.new_version).collect::<Vec<_>>(), [None, None]);
    assert_eq!(found[1].path, Some(path("a/b")));
    let odd_name = json!({"event_id": {"x": 1}, "path": "c/d"});
    let found = events(&answer(&json!({"events": [odd_name, good]}))).unwrap();
    assert_eq!((found.len(), found[0].path.as_ref()), (1, None), "any secret may have changed");
    assert!(events(&answer(&json!({"events": [odd_name]}))).is_err());
}
