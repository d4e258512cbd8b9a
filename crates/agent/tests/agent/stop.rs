//! The end of a pod: what ScaiVault holds for it is given back.

use scaivault_devserver::{Effect, Fault, Route};

use crate::support::{Pod, start, terminate, until};

/// Twenty dynamic secrets: one role, of different lifetimes.
fn many_leases(pod: &Pod) -> String {
    let sources: Vec<_> =
        (1..=20).map(|hours| format!("engine=postgres role=readonly ttl={hours}h")).collect();
    let names: Vec<_> = (1..=20).map(|number| format!("{number}.json")).collect();
    let entries: Vec<_> =
        sources.iter().zip(&names).map(|(source, name)| (source.as_str(), name.as_str())).collect();
    pod.mapping(&entries)
}

#[tokio::test]
async fn all_leases_are_revoked_beside_each_other() {
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
            // Held up when it has some leases.
            pod.vault.add_fault(Fault::on(Route::Generate, Effect::Late { milliseconds: 500 }));
            let agent = start(&mut pod.agent(command, &variables));
            pod.requested(Route::Generate, 4).await;
            pod.vault.add_fault(Fault::hang(Route::Generate));
            let generated = pod.vault.requests(Route::Generate);
            pod.requested(Route::Generate, generated + 1).await;
            agent
        };
        assert!(pod.live_leases() >= 4);
        // One after the other they would take 12 s at least, and the agent gives up after 10 s.
        pod.vault.add_fault(Fault::on(Route::Revoke, Effect::Delay { milliseconds: 3000 }));
        let ended = terminate(agent).await;
        assert_eq!((pod.live_leases(), pod.vault.subscriptions()), (0, 0), "{}", ended.log);
    }
}

#[tokio::test]
async fn a_subscription_that_is_being_made_at_the_end_is_deleted_too() {
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
async fn what_is_not_given_back_at_once_is_tried_again() {
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
