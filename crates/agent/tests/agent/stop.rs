//! The end of a pod: everything that ScaiVault holds for it is released.

use scaivault_devserver::{Effect, Fault, Route};

use crate::support::{Pod, Sidecar, start, terminate, until};

/// Twenty dynamic secrets: one role with different lifetimes.
fn many_leases(pod: &Pod) -> String {
    let sources: Vec<_> =
        (1..=20).map(|hours| format!("engine=postgres role=readonly ttl={hours}h")).collect();
    let names: Vec<_> = (1..=20).map(|number| format!("{number}.json")).collect();
    let entries: Vec<_> =
        sources.iter().zip(&names).map(|(source, name)| (source.as_str(), name.as_str())).collect();
    pod.mapping(&entries)
}

#[tokio::test]
async fn all_leases_are_revoked_concurrently() {
    for command in ["sidecar", "init"] {
        let pod = Pod::new().await;
        let dynamic = many_leases(&pod);
        let watch = pod.mapping(&[("app/stripe", "x")]);
        let variables = [
            ("DYNAMIC", dynamic.as_str()),
            ("WATCH_PATHS", watch.as_str()),
            ("SECRETS", watch.as_str()),
            ("REFRESH_ON_EVENT", "true"),
        ];
        let agent = if command == "sidecar" {
            let agent = start(&mut pod.agent(command, &variables));
            pod.requested(Route::Poll, 1).await;
            until(|| pod.secret("20.json").is_some()).await;
            agent
        } else {
            // Blocked by a hanging read.
            pod.vault.add_fault(Fault::hang(Route::Read));
            let agent = start(pod.agent(command, &variables).env("FAIL_OPEN", "true"));
            until(|| pod.live_leases() == 20).await;
            agent
        };
        assert_eq!(pod.live_leases(), 20);
        // One after the other they would take 60 s, and the agent gives up after 25 s.
        pod.vault.add_fault(Fault::on(Route::Revoke, Effect::Delay { milliseconds: 3000 }));
        let ended = terminate(agent).await;
        assert_eq!((pod.live_leases(), pod.vault.subscriptions()), (0, 0), "{}", ended.log);
    }
}

#[tokio::test]
async fn a_pending_subscription_is_deleted_at_the_end() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let late = Effect::Late { milliseconds: 500 };
    pod.vault.add_fault(Fault::on(Route::Subscribe, late));
    let variables = [("WATCH_PATHS", watch.as_str()), ("REFRESH_ON_EVENT", "true")];
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    until(|| pod.vault.subscriptions() == 1).await;
    terminate(sidecar).await.check(0, &["subscribed to events", "stopped"]);
    assert_eq!(pod.vault.subscriptions(), 0);
    assert_eq!((pod.vault.requests(Route::Subscribe), pod.vault.requests(Route::Unsubscribe)), (1, 1));
}

#[tokio::test]
async fn nothing_is_subscribed_to_again_after_the_end() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let variables = [("WATCH_PATHS", watch.as_str()), ("REFRESH_ON_EVENT", "true")];
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    pod.requested(Route::Poll, 1).await;
    let late = Effect::Late { milliseconds: 500 };
    pod.vault.add_fault(Fault::on(Route::Unsubscribe, late));
    terminate(sidecar).await.check(0, &["stopped"]);
    assert_eq!((pod.vault.requests(Route::Subscribe), pod.vault.subscriptions()), (1, 0));
}

#[tokio::test]
async fn failed_releases_are_retried() {
    let pod = Pod::new().await;
    let dynamic = pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let variables =
        [("DYNAMIC", dynamic.as_str()), ("WATCH_PATHS", watch.as_str()), ("REFRESH_ON_EVENT", "true")];
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    pod.requested(Route::Poll, 1).await;
    pod.vault.add_fault(Fault::refuse(Route::Revoke, "service_unavailable", 1));
    pod.vault.add_fault(Fault::refuse(Route::Unsubscribe, "service_unavailable", 1));
    terminate(sidecar).await.check(0, &["lease revoked"]);
    assert_eq!((pod.live_leases(), pod.vault.subscriptions()), (0, 0));
}

#[tokio::test]
async fn a_lease_that_is_being_generated_at_the_end_is_revoked_too() {
    for command in ["init", "sidecar"] {
        let pod = Pod::new().await;
        let dynamic = pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
        pod.vault.add_fault(Fault::on(Route::Generate, Effect::Late { milliseconds: 3000 }));
        let agent = start(&mut pod.agent(command, &[("DYNAMIC", &dynamic)]));
        until(|| pod.live_leases() == 1).await;
        terminate(agent).await.check(1, &["stopped by SIGTERM", "lease revoked"]);
        assert_eq!((pod.live_leases(), pod.vault.requests(Route::Generate)), (0, 1), "{command}");
    }
}

#[tokio::test]
async fn a_lease_that_is_to_replace_another_at_the_end_is_revoked_too() {
    let pod = Pod::new().await;
    let dynamic = pod.mapping(&[("engine=postgres role=readonly ttl=3s", "db.json")]);
    let sidecar = start(&mut pod.agent("sidecar", &[("DYNAMIC", &dynamic)]));
    until(|| pod.secret("db.json").is_some()).await;
    pod.vault.add_fault(Fault::on(Route::Generate, Effect::Late { milliseconds: 3000 }));
    pod.vault.take_lease_away(&pod.vault.leases().first().unwrap().id);
    until(|| pod.vault.leases().len() == 2).await;
    terminate(sidecar).await.check(0, &["lease revoked"]);
    assert_eq!(pod.live_leases(), 0);
}

#[tokio::test]
async fn a_lease_after_the_start_timeout_is_revoked() {
    for fail_open in ["true", "false"] {
        let pod = Pod::new().await;
        let dynamic = pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
        pod.vault.add_fault(Fault::on(Route::Generate, Effect::Late { milliseconds: 6000 }));
        let variables = [("DYNAMIC", dynamic.as_str()), ("FETCH_TIMEOUT", "4s"), ("FAIL_OPEN", fail_open)];
        let said = ["waiting for a lease generation in progress", "lease revoked"];
        pod.run("init", &variables).await.check(i32::from(fail_open == "false"), &said);
        assert_eq!((pod.live_leases(), pod.vault.requests(Route::Generate)), (0, 1), "{fail_open}");
    }
}

#[tokio::test]
async fn leases_are_renewed_concurrently() {
    let pod = Pod::new().await;
    let dynamic = pod.mapping(&[
        ("engine=postgres role=readonly ttl=6s", "a.json"),
        ("engine=postgres role=readonly ttl=7s", "b.json"),
    ]);
    pod.vault.add_fault(Fault::hang(Route::Renew).times(1));
    let sidecar = Sidecar::start(&pod, &[("DYNAMIC", &dynamic)]);
    pod.requested(Route::Renew, 2).await;
    assert_eq!(sidecar.said("lease not renewed"), 0, "the second waits until the first is given up");
    sidecar.end().await.check(0, &[]);
}
