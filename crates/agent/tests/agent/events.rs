//! Events fall away under throttling and come back; changes arrive all the time.

use std::time::Duration;

use scaivault_devserver::{Effect, Fault, Route};
use tokio::time::timeout;

use crate::support::{Pod, data, start, terminate, until};

/// Subscriptions are scarce: who is refused one asks again after half a minute at most.
const SUBSCRIBED_AGAIN: Duration = Duration::from_secs(90);

/// What an empty bucket answers.
fn throttled(route: Route) -> Fault {
    let effect = Effect::Refuse { code: "rate_limited".to_owned(), retry_after: Some(1) };
    Fault { route: Some(route), effect, times: None }
}

/// Rotates one of the two secrets until an event is what brought it. A refresh at the interval reads both secrets, one
/// after an event its own alone, so an odd number of reads has an event in it.
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
async fn throttled_subscriptions_leave_polling_until_events_come_again() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key"), ("app/database#port", "port")]);
    let variables =
        [("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "2s"), ("REFRESH_ON_EVENT", "true")];
    pod.vault.add_fault(throttled(Route::Subscribe));
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    // It starts all the same.
    pod.requested(Route::Subscribe, 1).await;
    arrives_without_events(&pod, "not subscribed").await;
    assert_eq!((pod.vault.subscriptions(), pod.vault.requests(Route::Poll)), (0, 0));

    pod.vault.clear_faults();
    timeout(SUBSCRIBED_AGAIN, pod.vault.requested(Route::Poll, 1)).await.expect("it subscribes again");
    arrives_by_event(&pod, "subscribed").await;
    assert_eq!(pod.vault.subscriptions(), 1);

    // The next poll is one that is refused: what waits now ends by an event.
    pod.vault.add_fault(throttled(Route::Poll));
    arrives_without_events(&pod, "the last that is heard").await;
    let polls = pod.vault.requests(Route::Poll);
    pod.requested(Route::Poll, polls + 1).await;
    arrives_without_events(&pod, "not polled").await;

    pod.vault.clear_faults();
    let polls = pod.vault.requests(Route::Poll);
    pod.requested(Route::Poll, polls + 1).await;
    arrives_by_event(&pod, "polled").await;
    // It went on with its subscription: another one would cost the other replicas one of their operations.
    assert_eq!(pod.vault.subscriptions(), 1);
    terminate(sidecar).await.check(0, &["no events for a while"]);
    assert_eq!(pod.vault.subscriptions(), 0);
}
