use std::{fs, process::Stdio};

use scaivault_devserver::{Fault, Route};
use serde_json::json;
use tokio::process::Command;

use crate::support::{Outputs, Pod, data, start, terminate, until, until_exists, within};

#[tokio::test]
async fn the_gate_opens_when_all_files_exist() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe", "stripe.json")]);
    let variables = [("WATCH_PATHS", watch.as_str())];
    pod.run("healthz", &variables).await.check(1, &["not fetched yet"]);
    let gate = start(&mut pod.agent("wait", &variables));
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    assert!(within(gate.wait_with_output()).await.unwrap().status.success());
    assert!(pod.secret("stripe.json").is_some());
    pod.run("healthz", &variables).await.check(0, &[]);
    terminate(sidecar).await.check(0, &["stopped"]);
}

#[tokio::test]
async fn a_change_is_found_at_the_interval_written_and_signalled_once() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key"), ("app/database@1", "db.json")]);
    let (notified, running) = (pod.path("notified"), pod.path("running"));
    let name = format!("app-{}", std::process::id());
    // Not SIGHUP: a shell cannot catch a signal that was ignored when it started, as below `nohup`.
    let script = format!(
        "trap 'echo notified >> {}' USR1; echo > {}; while :; do read line || exit; done",
        notified.display(),
        running.display()
    );
    let mut app = Command::new("/bin/sh");
    let _app =
        app.arg0(&name).args(["-c", &script]).stdin(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    until_exists(&running).await;
    let variables = [
        ("WATCH_PATHS", watch.as_str()),
        ("REFRESH_INTERVAL", "1s"),
        ("RELOAD_SIGNAL", "SIGUSR1"),
        ("RELOAD_TARGET", &name),
    ];
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    until(|| pod.secret("key").is_some()).await;
    let reads = pod.vault.requests(Route::Read);
    pod.requested(Route::Read, reads + 2).await;
    assert!(!notified.exists(), "nothing has changed yet");

    pod.vault.write(&"app/stripe".parse().unwrap(), data("new"));
    until(|| pod.secret("key").as_deref() == Some("new")).await;
    until_exists(&notified).await;
    let reads = pod.vault.requests(Route::Read);
    pod.requested(Route::Read, reads + 2).await;
    let ended = terminate(sidecar).await;
    ended.check(0, &["application signalled"]);
    assert_eq!(fs::read_to_string(&notified).unwrap(), "notified\n", "{}", ended.log);
    // After one signal the shell may have exited.
    assert_eq!(ended.log.matches("application signalled").count(), 1, "{}", ended.log);
}

#[tokio::test]
async fn an_event_causes_a_read_before_the_interval() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let variables =
        [("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1d"), ("REFRESH_ON_EVENT", "true")];
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    pod.requested(Route::Poll, 1).await;
    pod.vault.rotate(&"app/stripe".parse().unwrap(), data("rotated"));
    until(|| pod.secret("key").as_deref() == Some("rotated")).await;
    assert_eq!(pod.vault.subscriptions(), 1);
    terminate(sidecar).await.check(0, &["subscribed to events"]);
    assert_eq!(pod.vault.subscriptions(), 0);
}

#[tokio::test]
async fn a_lease_is_renewed_and_revoked_at_the_end() {
    let pod = Pod::new().await;
    let dynamic = pod.mapping(&[("engine=postgres role=readonly ttl=6s", "db.json")]);
    let state = pod.path("state");
    let variables = [("DYNAMIC", dynamic.as_str()), ("SCAIVAULT_STATE_DIR", state.to_str().unwrap())];
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    pod.requested(Route::Renew, 1).await;
    let before = pod.secret("db.json");
    assert!(before.is_some());
    // The lease is revoked externally, and a new one replaces it.
    let lease = pod.vault.leases().first().unwrap().id.clone();
    pod.vault.take_lease_away(&lease);
    until(|| pod.secret("db.json") != before).await;
    assert_eq!(pod.live_leases(), 1);
    terminate(sidecar).await.check(0, &["lease renewed", "generating a new one", "lease revoked"]);
    assert_eq!(pod.live_leases(), 0);
}

#[tokio::test]
async fn a_crash_costs_neither_a_login_nor_a_lease_nor_the_gate() {
    let pod = Pod::new().await;
    let outputs = Outputs::new(&pod, "engine=postgres role=readonly");
    let variables = outputs.variables(&[("REFRESH_INTERVAL", "1s"), ("FETCH_TIMEOUT", "1s")]);
    // The first start has enough time.
    let mut sidecar = start(&mut pod.agent("sidecar", &outputs.variables(&[("REFRESH_INTERVAL", "1s")])));
    pod.run("wait", &variables).await.check(0, &[]);
    let lease = pod.secret("db.json");
    within(sidecar.kill()).await.unwrap();

    // The next start happens during an outage.
    for route in [Route::Read, Route::Exchange, Route::Generate] {
        pod.vault.add_fault(Fault::always(route, "service_unavailable"));
    }
    let reads = pod.vault.requests(Route::Read);
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    pod.run("wait", &variables).await.check(0, &[]);
    pod.requested(Route::Read, reads + 4).await;
    pod.vault.clear_faults();
    pod.vault.write(&"app/stripe".parse().unwrap(), data("after"));
    until(|| pod.secret("key").as_deref() == Some("after")).await;
    assert_eq!(pod.secret("db.json"), lease);
    assert_eq!((pod.vault.requests(Route::Exchange), pod.vault.requests(Route::Generate)), (1, 1));
    terminate(sidecar).await.check(0, &["keeping the file as it is"]);
}

#[tokio::test]
async fn a_deleted_secret_keeps_its_file() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key"), ("app/database#port", "port")]);
    let variables = [("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1s")];
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    until(|| pod.secret("key").is_some()).await;
    pod.vault.delete(&"app/stripe".parse().unwrap());
    pod.vault.write(&"app/database".parse().unwrap(), json!({"port": 6432}).as_object().unwrap().clone());
    until(|| pod.secret("port").as_deref() == Some("6432")).await;
    assert_eq!(pod.secret("key").unwrap(), "sk-swordfish");
    terminate(sidecar).await.check(0, &["keeping the file as it is"]);
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_is_replaced_before_it_ends() {
    let pod = Pod::new().await;
    let dynamic = pod.mapping(&[("engine=postgres role=readonly ttl=30s", "db.json")]);
    let sidecar = start(&mut pod.agent("sidecar", &[("DYNAMIC", &dynamic)]));
    until(|| pod.secret("db.json").is_some()).await;
    let before = pod.secret("db.json");
    pod.vault.add_fault(Fault::always(Route::Renew, "service_unavailable"));
    until(|| pod.secret("db.json") != before).await;
    assert_eq!(pod.live_leases(), 2, "the application may still use the one before");
    terminate(sidecar).await.check(0, &["trying again"]);
    assert_eq!(pod.live_leases(), 0);
}
