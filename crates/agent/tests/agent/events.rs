//! Events stop because of an outage or throttling and start again; changes arrive in any case.

use std::time::Duration;

use scaivault_devserver::{Effect, Fault, Route};
use scaivault_testkit::world::{Answer, Calls, Chance, Misbehaviour, World};
use serde_json::json;

use crate::support::{Pod, Sidecar, data, until};

/// A response of the rate limiter.
fn throttled(route: Route) -> Fault {
    let effect = Effect::Refuse { code: "rate_limited".to_owned(), retry_after: Some(1) };
    Fault::on(route, effect)
}

fn watch(pod: &Pod) -> String {
    pod.mapping(&[("app/stripe#key", "key"), ("app/database#port", "port")])
}

fn variables(watch: &str) -> [(&str, &str); 3] {
    [("WATCH_PATHS", watch), ("REFRESH_INTERVAL", "2s"), ("REFRESH_ON_EVENT", "true")]
}

/// Rotates one of the two secrets until a change arrives by event. A refresh by interval reads both
/// secrets, and an event only one, so an odd number of reads includes an event.
async fn arrives_by_event(pod: &Pod, round: &str) {
    for rotation in 0..10 {
        let (before, value) = (pod.vault.requests(Route::Read), format!("{round} {rotation}"));
        pod.vault.rotate(&"app/stripe".parse().unwrap(), data(&value));
        until(|| pod.secret("key").as_deref() == Some(&value)).await;
        if (pod.vault.requests(Route::Read) - before) % 2 == 1 {
            return;
        }
    }
    panic!("{round}: no change arrives by event");
}

async fn arrives_without_events(pod: &Pod, value: &str) {
    pod.vault.rotate(&"app/stripe".parse().unwrap(), data(value));
    until(|| pod.secret("key").as_deref() == Some(value)).await;
}

#[tokio::test]
async fn without_events_files_are_polled_until_reconnection() {
    let pod = Pod::new().await;
    let watch = watch(&pod);
    pod.vault.add_fault(Fault::always(Route::Subscribe, "service_unavailable"));
    let sidecar = Sidecar::start(&pod, &variables(&watch));
    // It starts nevertheless, and tries to subscribe again.
    pod.requested(Route::Subscribe, 2).await;
    arrives_without_events(&pod, "not subscribed").await;
    assert_eq!((pod.vault.subscriptions(), pod.vault.requests(Route::Poll)), (0, 0));

    pod.vault.clear_faults();
    pod.requested(Route::Poll, 1).await;
    arrives_by_event(&pod, "subscribed").await;
    assert_eq!(pod.vault.subscriptions(), 1);

    // The next poll is rejected; the current one ends with an event.
    pod.vault.add_fault(throttled(Route::Poll));
    arrives_without_events(&pod, "the last that is heard").await;
    let polls = pod.vault.requests(Route::Poll);
    pod.requested(Route::Poll, polls + 1).await;
    arrives_without_events(&pod, "not polled").await;

    pod.vault.clear_faults();
    let polls = pod.vault.requests(Route::Poll);
    pod.requested(Route::Poll, polls + 1).await;
    arrives_by_event(&pod, "polled").await;
    // It kept its subscription: another one would have used one of the other replicas' operations.
    assert_eq!(pod.vault.subscriptions(), 1);
    sidecar.end().await.check(0, &["events unavailable"]);
}

/// The test does not wait for the end of the long pause; the log shows its length.
#[tokio::test]
async fn a_throttled_subscription_leaves_the_limit_to_others() {
    let pod = Pod::new().await;
    let watch = watch(&pod);
    pod.vault.add_fault(throttled(Route::Subscribe));
    let sidecar = Sidecar::start(&pod, &variables(&watch));
    let line = sidecar.line("events unavailable").await;
    let pause = line["pause_seconds"].as_f64().unwrap();
    assert!((15.0..=30.0).contains(&pause), "{pause}");
    arrives_without_events(&pod, "not subscribed").await;
    assert_eq!((pod.vault.subscriptions(), pod.vault.requests(Route::Poll)), (0, 0));
    sidecar.end().await.check(0, &[]);
}

/// A proxy ignores `since`, and acknowledgements fail: the same hundred events are delivered
/// repeatedly.
#[tokio::test]
async fn events_that_cannot_be_acknowledged_cause_no_busy_loop() {
    const POLL: Calls = Calls("GET", "/poll");
    const ACKNOWLEDGE: Calls = Calls("POST", "/ack");
    let pod = Pod::new().await;
    let world = World::start(pod.server(), 1).unwrap();
    let event = |number| json!({"event_id": format!("evt_{number}"), "event_type": "secret.updated", "path": "app/x"});
    let events = json!({"events": (0..100).map(event).collect::<Vec<_>>()}).to_string();
    world.add(POLL, Chance::Always, Misbehaviour::Answer(Answer::json(200, events)));
    let failed = Misbehaviour::Answer(Answer::error(503, "service_unavailable"));
    world.add(ACKNOWLEDGE, Chance::Always, failed);
    let (url, watch) = (world.url(), watch(&pod));
    let variables = [&variables(&watch)[..], &[("SCAIVAULT_URL", url.as_str())]].concat();
    let sidecar = Sidecar::start(&pod, &variables);
    until(|| world.seen(POLL).len() >= 3).await;
    sidecar.end().await.check(0, &[]);
    let polls = world.seen(POLL);
    // From start to start, because the agent subtracts the duration of the response from the pause.
    let pause = |second: usize| polls[second].from - polls[second - 1].from;
    assert!(pause(1) >= Duration::from_millis(50), "{:?}", pause(1));
    assert!(pause(2) >= Duration::from_millis(4900), "nothing is new: {:?}", pause(2));
}
