//! SIGTERM: what is released, and that failures do not delay the pod beyond the limit.

use std::time::{Duration, Instant};

use scaivault_devserver::{Effect, Fault, Route};

use crate::support::{Pod, Sidecar};

/// The kubelet's default for a pod. Without its own limit of 25 s, the agent would run forever in
/// these tests.
const GRACE_PERIOD: Duration = Duration::from_secs(30);
const LEASES: usize = 5;

/// A pod whose sidecar has leases and a subscription.
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
    // At the second refresh, all requests of the start are complete.
    pod.requested(Route::Poll, 1).await;
    let reads = pod.vault.requests(Route::Read);
    pod.requested(Route::Read, reads + 2).await;
    assert_eq!((pod.live_leases(), pod.vault.subscriptions()), (LEASES, 1));
    (pod, sidecar)
}

#[tokio::test]
async fn leases_and_subscription_are_released_concurrently() {
    let (pod, sidecar) = holding().await;
    // One after the other they would take 36 s, and the agent gives up after 25 s.
    for route in [Route::Revoke, Route::Unsubscribe] {
        pod.vault.add_fault(Fault::on(route, Effect::Delay { milliseconds: 6000 }));
    }
    sidecar.end().await.check(0, &["stopped"]);
    assert_eq!((pod.live_leases(), pod.vault.subscriptions()), (0, 0));
    assert!(pod.vault.leases().iter().all(|lease| lease.is_revoked));
}

/// The duration is printed with `--nocapture`; the test asserts that each request is sent once.
#[tokio::test]
async fn an_end_without_trouble_needs_one_request_for_each_thing() {
    let (pod, sidecar) = holding().await;
    let began = Instant::now();
    sidecar.end().await.check(0, &["stopped"]);
    println!("{LEASES} leases and a subscription given back in {:?}", began.elapsed());
    assert_eq!((pod.live_leases(), pod.vault.subscriptions()), (0, 0));
    let requests = (pod.vault.requests(Route::Revoke), pod.vault.requests(Route::Unsubscribe));
    assert_eq!(requests, (u64::try_from(LEASES).unwrap(), 1));
}

#[tokio::test]
async fn an_outage_at_the_end_is_logged_and_has_a_time_limit() {
    let (pod, sidecar) = holding().await;
    pod.vault.add_fault(Fault::everywhere(Effect::refuse("service_unavailable")));
    sidecar
        .end_within(GRACE_PERIOD)
        .await
        .check(0, &["lease not revoked, it expires at the end of its lifetime", "subscription not deleted"]);
    assert_eq!(pod.live_leases(), LEASES);
    let revocations = pod.vault.requests(Route::Revoke);
    assert!(revocations > u64::try_from(LEASES).unwrap(), "tried again: {revocations}");
}

#[tokio::test]
async fn a_hanging_server_at_the_end_has_a_time_limit() {
    let (pod, sidecar) = holding().await;
    pod.vault.add_fault(Fault::everywhere(Effect::Hang));
    // During a refresh.
    let reads = pod.vault.requests(Route::Read);
    pod.requested(Route::Read, reads + 1).await;
    sidecar.end_within(GRACE_PERIOD).await.check(0, &["stopped"]);
    assert_eq!(pod.live_leases(), LEASES);
}

#[tokio::test]
async fn the_initial_fetch_times_out() {
    for route in [Route::Exchange, Route::Read, Route::Generate] {
        // A generation in flight is awaited until it is answered, or until the kubelet kills the
        // agent.
        let slow = match route {
            Route::Generate => Effect::Late { milliseconds: 3000 },
            _ => Effect::Hang,
        };
        for effect in [Effect::refuse("service_unavailable"), slow] {
            let pod = Pod::new().await;
            let dynamic = pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
            let watch = pod.mapping(&[("app/stripe#key", "key")]);
            pod.vault.add_fault(Fault::on(route, effect));
            // It would continue far longer than the test waits.
            let variables =
                [("DYNAMIC", dynamic.as_str()), ("WATCH_PATHS", watch.as_str()), ("FETCH_TIMEOUT", "1h")];
            let sidecar = Sidecar::start(&pod, &variables);
            pod.requested(route, 1).await;
            sidecar.end().await.check(1, &["stopped by SIGTERM"]);
            assert_eq!(pod.live_leases(), 0);
            assert_eq!(pod.secret("key"), None);
        }
    }
}
