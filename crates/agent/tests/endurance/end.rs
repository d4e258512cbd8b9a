//! SIGTERM: what is given back, and how long that takes.

use std::time::Duration;

use scaivault_devserver::{Effect, Fault, Route};

use crate::{sidecar::Sidecar, support::Pod};

/// How long the end may take where ScaiVault answers.
const PROMPT: Duration = Duration::from_secs(2);
/// How long it may take where ScaiVault does not, or refuses: the agent gives up after 10 s.
const PATIENT: Duration = Duration::from_secs(15);
const LEASES: usize = 5;

/// A pod whose sidecar holds leases and a subscription.
async fn holding() -> (Pod, Sidecar) {
    let pod = Pod::new().await;
    let sources: Vec<_> =
        (1..=LEASES).map(|hours| format!("engine=postgres role=readonly ttl={hours}h")).collect();
    let files: Vec<_> = (1..=LEASES).map(|number| format!("db/{number}.json")).collect();
    let entries: Vec<_> =
        sources.iter().zip(&files).map(|(source, file)| (source.as_str(), file.as_str())).collect();
    let (dynamic, watch) = (pod.mapping(&entries), pod.mapping(&[("app/stripe#key", "key")]));
    let variables = [
        ("DYNAMIC", dynamic.as_str()),
        ("WATCH_PATHS", watch.as_str()),
        ("REFRESH_ON_EVENT", "true"),
        ("REFRESH_INTERVAL", "1s"),
    ];
    let sidecar = Sidecar::start(&pod, &variables);
    // The second refresh comes when all that the first steps ask for is known.
    pod.requested(Route::Poll, 1).await;
    let reads = pod.vault.requests(Route::Read);
    pod.requested(Route::Read, reads + 2).await;
    assert_eq!((pod.live_leases(), pod.vault.subscriptions()), (LEASES, 1));
    (pod, sidecar)
}

#[tokio::test]
async fn all_leases_are_revoked_and_the_subscription_is_deleted_within_two_seconds() {
    let (pod, sidecar) = holding().await;
    // One after the other they would take longer than there is time.
    for route in [Route::Revoke, Route::Unsubscribe] {
        let effect = Effect::Delay { milliseconds: 700 };
        pod.vault.add_fault(Fault { route: Some(route), effect, times: None });
    }
    sidecar.end_within(PROMPT).await.check(0, &["stopped"]);
    assert_eq!((pod.live_leases(), pod.vault.subscriptions()), (0, 0));
    assert!(pod.vault.leases().iter().all(|lease| lease.is_revoked));
}

#[tokio::test]
async fn an_outage_at_the_end_is_said_and_holds_the_pod_no_longer_than_it_may() {
    let (pod, sidecar) = holding().await;
    let effect = Effect::Refuse { code: "service_unavailable".to_owned(), retry_after: None };
    pod.vault.add_fault(Fault { route: None, effect, times: None });
    sidecar
        .end_within(PATIENT)
        .await
        .check(0, &["not revoked, it ends by itself", "subscription not deleted"]);
    assert_eq!(pod.live_leases(), LEASES);
}

#[tokio::test]
async fn a_server_that_hangs_at_the_end_holds_the_pod_no_longer_than_it_may() {
    let (pod, sidecar) = holding().await;
    pod.vault.add_fault(Fault { route: None, effect: Effect::Hang, times: None });
    // In the middle of a refresh.
    let reads = pod.vault.requests(Route::Read);
    pod.requested(Route::Read, reads + 1).await;
    sidecar.end_within(PATIENT).await.check(0, &["stopped"]);
    assert_eq!(pod.live_leases(), LEASES);
}

#[tokio::test]
async fn the_first_fetch_is_given_up_at_once() {
    for route in [Route::Exchange, Route::Read, Route::Generate] {
        let refuse = Effect::Refuse { code: "service_unavailable".to_owned(), retry_after: None };
        for effect in [refuse, Effect::Hang] {
            let pod = Pod::new().await;
            let dynamic = pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
            let watch = pod.mapping(&[("app/stripe#key", "key")]);
            pod.vault.add_fault(Fault { route: Some(route), effect, times: None });
            let variables = [("DYNAMIC", dynamic.as_str()), ("WATCH_PATHS", watch.as_str())];
            let sidecar = Sidecar::start(&pod, &variables);
            pod.requested(route, 1).await;
            sidecar.end_within(PROMPT).await.check(1, &["stopped by SIGTERM"]);
            assert_eq!(pod.live_leases(), 0);
            assert_eq!(pod.secret("key"), None);
        }
    }
}
