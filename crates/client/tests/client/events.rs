//! Subscriptions: created, polled, acknowledged, deleted.

use std::{pin::pin, sync::Arc, time::Duration};

use scaivault_client::{Class, Client, EventKind, NewSubscription, Poll, Settings, Timeouts};
use scaivault_devserver::{Category, Route};
use serde_json::json;
use tokio::time::timeout;

use crate::fixture::{DATABASE, Fixture, STRIPE, data, path};

fn subscription() -> NewSubscription {
    NewSubscription {
        name: "scaivault-sidecar/billing/web-0".to_owned(),
        paths: Arc::new([path(DATABASE)].into()),
        events: vec![EventKind::Rotated, EventKind::Updated],
        buffer_size: 1000,
    }
}

#[tokio::test]
async fn an_event_ends_the_wait() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    let id = client.subscribe(&subscription()).await.unwrap();
    let poll = Poll { wait: Duration::from_mins(1), ..Poll::default() };
    let (events, ()) = tokio::join!(client.poll(&id, &poll), async {
        fixture.handle.requested(Route::Poll, 1).await;
        fixture.handle.write(&path(STRIPE), data(json!({"secret_key": "not subscribed to"})));
        fixture.handle.write(&path(DATABASE), data(json!({"username": "new"})));
    });
    let events = events.unwrap();
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((event.path.as_ref(), event.new_version), (Some(&path(DATABASE)), Some(2)));
}

#[tokio::test]
async fn the_wait_is_no_part_of_the_requests_timeout() {
    let fixture = Fixture::new().await;
    let patient = fixture.client();
    let id = patient.subscribe(&subscription()).await.unwrap();
    let short = Duration::from_millis(100);
    let timeouts = Timeouts { idle: short, ..fixture.settings().timeouts };
    let client = Client::new(Settings { timeouts, ..fixture.settings() }).unwrap();
    client.resume(patient.token().unwrap());

    let poll = Poll { wait: Duration::from_mins(1), ..Poll::default() };
    let mut polled = pin!(client.poll(&id, &poll));
    assert!(timeout(3 * short, polled.as_mut()).await.is_err(), "still waiting");
    fixture.handle.write(&path(DATABASE), data(json!({"username": "new"})));
    assert_eq!(polled.await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_event_is_repeated_until_it_is_acknowledged() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    let id = client.subscribe(&subscription()).await.unwrap();
    fixture.handle.rotate(&path(DATABASE), data(json!({"username": "new"})));
    let at_once = Poll { wait: Duration::ZERO, ..Poll::default() };
    let first = client.poll(&id, &at_once).await.unwrap();
    assert_eq!(first.len(), 2, "an update, and a rotation");
    assert_eq!(client.poll(&id, &at_once).await.unwrap(), first);

    let one = Poll { max_events: 1, ..at_once.clone() };
    assert_eq!(client.poll(&id, &one).await.unwrap(), first[..1]);
    let rest = Poll { since: Some(first[0].id.clone()), ..at_once.clone() };
    assert_eq!(client.poll(&id, &rest).await.unwrap(), first[1..]);

    let ids: Vec<_> = first.iter().map(|event| event.id.clone()).collect();
    client.acknowledge(&id, &ids).await.unwrap();
    assert!(client.poll(&id, &at_once).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_the_owner_may_wait() {
    let fixture = Fixture::new().await;
    let id = fixture.client().subscribe(&subscription()).await.unwrap();
    let other = Settings { login: fixture.exchange(Some("sa:other")), ..fixture.settings() };
    let error = Client::new(other).unwrap().poll(&id, &Poll::default()).await.unwrap_err();
    assert_eq!(error.class(), Class::Denied);
}

#[tokio::test]
async fn a_subscription_is_deleted_and_twice_is_as_good() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    let id = client.subscribe(&subscription()).await.unwrap();
    assert_eq!(fixture.handle.subscriptions(), 1);
    client.unsubscribe(&id).await.unwrap();
    client.unsubscribe(&id).await.unwrap();
    assert_eq!(fixture.handle.subscriptions(), 0);
    let error = client.poll(&id, &Poll::default()).await.unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
}

#[tokio::test]
async fn a_rollout_that_subscribes_too_often_is_throttled() {
    let fixture = Fixture::new().await;
    fixture.handle.set_rate_limit(Category::Subscription, 1);
    let client = fixture.client();
    let id = client.subscribe(&subscription()).await.unwrap();
    let error = client.subscribe(&subscription()).await.unwrap_err();
    assert_eq!(error.class(), Class::Throttled);
    // Polls have their own rate limit.
    client.poll(&id, &Poll { wait: Duration::ZERO, ..Poll::default() }).await.unwrap();
}

#[tokio::test]
async fn a_changed_subscription_keeps_its_events() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    let id = client.subscribe(&subscription()).await.unwrap();
    fixture.handle.rotate(&path(DATABASE), data(json!({"username": "new"})));
    client.change_subscription(&id, &[path(DATABASE), path(STRIPE)].into()).await.unwrap();
    fixture.handle.write(&path(STRIPE), data(json!({"secret_key": "now subscribed to"})));
    let at_once = Poll { wait: Duration::ZERO, ..Poll::default() };
    let events = client.poll(&id, &at_once).await.unwrap();
    let paths: Vec<_> = events.into_iter().filter_map(|event| event.path).collect();
    assert_eq!(paths, [path(DATABASE), path(DATABASE), path(STRIPE)]);
}
