//! The second pattern: a sidecar.

use scaivault_devserver::Route;
use serde_json::json;

use crate::{
    pod::{DATABASE, Pod, STRIPE, VarRun},
    support::until,
};

const MANIFEST: &str = "sidecar.yaml";

#[tokio::test]
async fn with_the_pages_variables_both_files_are_maintained() {
    let Some(pod) = Pod::start(MANIFEST).await else { return };
    let container = pod.container("scaivault-sidecar");
    let names: Vec<_> = container.env.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["SCAIVAULT_URL", "WATCH_PATHS", "REFRESH_INTERVAL", "RELOAD_SIGNAL", "RELOAD_TARGET"]);

    let sidecar = pod.start_agent(&container, VarRun::Directory, &[]);
    until(|| sidecar.log().contains("secrets written")).await;
    assert_eq!(pod.secret("db.json").as_deref(), Some(DATABASE));
    assert_eq!(pod.secret("stripe.json").as_deref(), Some(STRIPE));
    pod.start_app(&["sh", "-ec", "test -s /run/secrets/db.json; ! echo x > /run/secrets/x"])
        .ended()
        .await
        .check(0, &[]);
    sidecar.terminate();
    let ended = sidecar.ended().await;
    // Without a lease there is nothing to wait for.
    ended.check(0, &["stopped"]);
    assert!(!ended.log.contains("waiting before revoking leases"), "{}", ended.log);
    assert_eq!((pod.vault.requests(Route::Exchange), pod.vault.requests(Route::Read)), (1, 2));
}

#[tokio::test]
async fn a_rotation_reaches_the_file_and_signals_once() {
    let Some(pod) = Pod::start(MANIFEST).await else { return };
    let container = pod.container("scaivault-sidecar");
    // Instead of the page's five minutes.
    let sidecar = pod.start_agent(&container, VarRun::Directory, &[("REFRESH_INTERVAL", "1s")]);
    until(|| pod.secret("db.json").is_some()).await;
    let app = pod.start_app(&["/tmp/billing"]);
    until(|| pod.read_by_billing().len() == 1).await;

    let rotated = json!({"password": "tunafish", "username": "billing"});
    let path = "environments/production/billing/database".parse().unwrap();
    pod.vault.rotate(&path, rotated.as_object().unwrap().clone());
    until(|| pod.read_by_billing().len() == 2).await;
    assert_eq!(pod.read_by_billing(), [DATABASE, &rotated.to_string()]);
    // Complete intervals without a change: no signal.
    let reads = pod.vault.requests(Route::Read);
    pod.requested(Route::Read, reads + 4).await;
    assert_eq!(pod.secret("stripe.json").as_deref(), Some(STRIPE));

    sidecar.terminate();
    let ended = sidecar.ended().await;
    ended.check(0, &["application signalled", "\"target_process\":\"billing\""]);
    assert_eq!(ended.log.matches("application signalled").count(), 1, "{}", ended.log);
    assert!(!ended.log.contains("tunafish"), "a value in the log: {}", ended.log);
    assert_eq!(pod.read_by_billing().len(), 2);
    drop(app);
}

#[tokio::test]
async fn an_application_that_starts_later_is_notified() {
    let Some(pod) = Pod::start(MANIFEST).await else { return };
    let container = pod.container("scaivault-sidecar");
    let sidecar = pod.start_agent(&container, VarRun::Directory, &[("REFRESH_INTERVAL", "1s")]);
    until(|| pod.secret("db.json").is_some()).await;
    let path = "environments/production/billing/database".parse().unwrap();
    pod.vault.rotate(&path, json!({"password": "tunafish"}).as_object().unwrap().clone());
    until(|| sidecar.log().contains("no process of the pod is called billing")).await;
    let app = pod.start_app(&["/tmp/billing"]);
    // Once at its own start, and once on the signal that is retried.
    until(|| pod.read_by_billing().len() == 2).await;
    sidecar.terminate();
    sidecar.ended().await.check(0, &["application not notified, trying again", "application signalled"]);
    drop(app);
}

#[tokio::test]
async fn with_the_server_down_it_ends_and_with_fail_open_it_stays() {
    // Instead of the default of a minute.
    const SOON: (&str, &str) = ("FETCH_TIMEOUT", "3s");
    let Some(mut pod) = Pod::start(MANIFEST).await else { return };
    pod.stop_server();
    let container = pod.container("scaivault-sidecar");
    pod.run_agent(&container, &[SOON]).await.check(1, &["cannot be reached"]);
    let message = pod.termination_message(&container);
    assert!(message.contains("check that ScaiVault is up"), "{message}");

    let sidecar = pod.start_agent(&container, VarRun::Directory, &[SOON, ("FAIL_OPEN", "true")]);
    until(|| sidecar.log().contains("the pod starts without it, because FAIL_OPEN is true")).await;
    pod.start_app(&["true"]).ended().await.check(0, &[]);
    sidecar.terminate();
    sidecar.ended().await.check(0, &["stopped"]);
}
