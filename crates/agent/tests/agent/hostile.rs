//! Servers with nonsensical responses, unreadable state, wrong clocks and broken volumes.

use std::{
    fs,
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

use scaivault_devserver::{Effect, Fault, Route};
use serde_json::Value;

use crate::support::{Pod, Sidecar, data, start, terminate, until};

fn answer(route: Route, body: &str) -> Fault {
    Fault::on(route, Effect::Answer { status: 200, body: body.to_owned() })
}

#[tokio::test]
async fn polls_that_are_answered_at_once_are_not_sent_in_a_circle() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    pod.vault.add_fault(answer(Route::Poll, r#"{"events":[],"has_more":false}"#));
    let variables =
        [("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1s"), ("REFRESH_ON_EVENT", "true")];
    let began = Instant::now();
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    pod.requested(Route::Poll, 2).await;
    // The pause between two empty polls.
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
    terminate(sidecar).await.check(0, &[]);
}

#[tokio::test]
async fn repeated_events_are_notified_once() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let event = r#"{"events":[{"event_id":"evt_1","event_type":"secret.updated","path":"app/stripe"}]}"#;
    let variables =
        [("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1d"), ("REFRESH_ON_EVENT", "true")];
    pod.vault.add_fault(answer(Route::Poll, event).times(2));
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    // The repeated event is acknowledged, so that it is not delivered a third time.
    pod.requested(Route::Acknowledge, 1).await;
    pod.requested(Route::Poll, 3).await;
    // At the start, after the subscription, and for the event, unless that is combined with the
    // previous one.
    pod.requested(Route::Read, 2).await;
    let reads = pod.vault.requests(Route::Read);
    assert!((2..=3).contains(&reads), "{reads}");
    terminate(sidecar).await.check(0, &[]);
}

#[tokio::test]
async fn a_malformed_renewal_creates_no_second_lease() {
    let pod = Pod::new().await;
    let dynamic = pod.mapping(&[("engine=postgres role=readonly ttl=12s", "db.json")]);
    let nonsense = Effect::Answer { status: 200, body: "<html>".to_owned() };
    pod.vault.add_fault(Fault::on(Route::Renew, nonsense).times(1));
    pod.vault.add_fault(Fault::refuse(Route::Renew, "token_revoked", 1));
    let sidecar = start(&mut pod.agent("sidecar", &[("DYNAMIC", &dynamic)]));
    pod.requested(Route::Renew, 2).await;
    terminate(sidecar).await.check(0, &["lease not renewed, trying again", "lease revoked"]);
    assert_eq!((pod.vault.requests(Route::Generate), pod.live_leases()), (1, 0));
}

#[tokio::test]
async fn a_throttled_read_waits_for_the_requested_pause() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let dynamic = pod.mapping(&[("engine=postgres role=readonly ttl=6s", "db.json")]);
    let variables =
        [("WATCH_PATHS", watch.as_str()), ("DYNAMIC", dynamic.as_str()), ("REFRESH_INTERVAL", "12s")];
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    until(|| pod.secret("key").is_some()).await;
    let refuse = Effect::Refuse { code: "rate_limited".to_owned(), retry_after: Some(3600) };
    pod.vault.add_fault(Fault::on(Route::Read, refuse));
    let reads = pod.vault.requests(Route::Read);
    pod.requested(Route::Read, reads + 1).await;
    // The lease is maintained meanwhile: some seconds pass.
    let renewals = pod.vault.requests(Route::Renew);
    pod.requested(Route::Renew, renewals + 1).await;
    assert_eq!(pod.vault.requests(Route::Read), reads + 1);
    terminate(sidecar).await.check(0, &["keeping the file as it is"]);
}

#[tokio::test]
async fn unreadable_state_is_reported() {
    let pod = Pod::new().await;
    let secrets = pod.mapping(&[("app/stripe", "x")]);
    let state = pod.path("state");
    // A link to itself cannot be read by any user.
    symlink("state.json", state.join("state.json")).unwrap();
    let variables = [("SECRETS", secrets.as_str()), ("SCAIVAULT_STATE_DIR", state.to_str().unwrap())];
    pod.run("init", &variables).await.check(0, &["state of the previous start cannot be read"]);
    pod.run("init", &variables).await.check(0, &[]);
    assert_eq!(pod.vault.requests(Route::Exchange), 1, "the state of the first start");
}

#[tokio::test]
async fn a_lease_of_the_future_is_renewed_and_revoked() {
    let pod = Pod::new().await;
    let dynamic = pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
    let state = pod.path("state");
    let variables = [("DYNAMIC", dynamic.as_str()), ("SCAIVAULT_STATE_DIR", state.to_str().unwrap())];
    pod.run("init", &variables).await.check(0, &[]);
    // As if the clock had been set back since.
    let file = state.join("state.json");
    let mut kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    for time in ["issued", "renewed", "ends", "last_end"] {
        let seconds = kept["leases"][0][time].as_u64().unwrap();
        kept["leases"][0][time] = (seconds + 86_400).into();
    }
    fs::write(&file, kept.to_string()).unwrap();
    let sidecar = Sidecar::start(&pod, &variables);
    sidecar.line("lease renewed").await;
    sidecar.end().await.check(0, &["lease revoked"]);
    assert_eq!((pod.vault.requests(Route::Generate), pod.live_leases()), (1, 0));
}

#[tokio::test]
async fn an_unwritable_volume_is_retried_and_stops_no_other() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "a/key"), ("app/stripe#key", "b/key")]);
    let variables = [("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1s")];
    let sidecar = Sidecar::start(&pod, &variables);
    until(|| pod.secret("b/key").is_some()).await;
    // A file in place of a directory is an error for every user.
    fs::remove_dir_all(pod.path("secrets/a")).unwrap();
    fs::write(pod.path("secrets/a"), "in the way").unwrap();
    pod.vault.write(&"app/stripe".parse().unwrap(), data("new"));
    until(|| pod.secret("b/key").as_deref() == Some("new")).await;
    until(|| sidecar.said("not refreshed, trying again") > 0).await;
    fs::remove_file(pod.path("secrets/a")).unwrap();
    until(|| pod.secret("a/key").as_deref() == Some("new")).await;
    sidecar.end().await.check(0, &[]);
}

#[tokio::test]
async fn malformed_answers_end_the_start_with_a_fix() {
    let huge = "x".repeat(9 * 1024 * 1024);
    for (body, said) in [
        ("", "it is not the JSON of this route"),
        ("<html>swordfish</html>", "it is not the JSON of this route"),
        (r#"{"version":1,"data":"swordfish"}"#, "the answer cannot be used"),
        (r#"{"version":-1,"data":{"key":"swordfish"}}"#, "it is not the JSON of this route"),
        (huge.as_str(), "it is larger than"),
    ] {
        let pod = Pod::new().await;
        let secrets = pod.mapping(&[("app/stripe", "x")]);
        pod.vault.add_fault(answer(Route::Read, body));
        pod.run("init", &[("SECRETS", &secrets), ("FETCH_TIMEOUT", "1s")])
            .await
            .check(1, &["app/stripe", said, "check SCAIVAULT_URL"]);
        // A response that is not JSON comes from an ingress or a portal, and may be temporary.
        let may_pass = said.contains("not the JSON");
        assert_eq!((pod.vault.requests(Route::Read) > 1, pod.secret("x")), (may_pass, None), "{said}");
    }
}

#[tokio::test]
async fn a_token_that_the_kubelet_replaces_is_read_again() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let variables = [("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1s")];
    let sidecar = Sidecar::start(&pod, &variables);
    until(|| pod.secret("key").is_some()).await;
    let token = fs::read_to_string(pod.path("token")).unwrap();
    fs::write(pod.path("token"), "").unwrap();
    pod.vault.expire_tokens();
    until(|| sidecar.said("is empty; check the volume") > 0).await;
    fs::write(pod.path("token"), token).unwrap();
    pod.vault.write(&"app/stripe".parse().unwrap(), data("new"));
    until(|| pod.secret("key").as_deref() == Some("new")).await;
    sidecar.end().await.check(0, &[]);
}

#[tokio::test]
async fn a_start_whose_state_cannot_be_kept_leaves_no_lease() {
    let pod = Pod::new().await;
    let dynamic = pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
    let state = pod.path("state");
    let late = Effect::Late { milliseconds: 300 };
    pod.vault.add_fault(Fault::on(Route::Generate, late));
    let variables = [("DYNAMIC", dynamic.as_str()), ("SCAIVAULT_STATE_DIR", state.to_str().unwrap())];
    let init = start(&mut pod.agent("init", &variables));
    until(|| pod.live_leases() == 1).await;
    fs::remove_dir_all(&state).unwrap();
    let ended = crate::support::ended(init).await;
    ended.check(1, &["cannot keep the agent's state", "lease revoked"]);
    assert_eq!(pod.live_leases(), 0);
}
