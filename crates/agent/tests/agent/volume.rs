//! Restarts on a volume that already contains files.

use std::{fs, process::Stdio};

use scaivault_devserver::{Fault, Route};

use crate::support::{Outputs, Pod, Sidecar, data, start, terminate, until};

#[tokio::test]
async fn revoked_credentials_do_not_count_as_files() {
    let pod = Pod::new().await;
    let outputs = Outputs::new(&pod, "engine=postgres role=readonly");
    let variables = outputs.variables(&[]);
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    until(|| pod.secret("db.json").is_some()).await;
    let before = pod.secret("db.json");
    pod.run("healthz", &variables).await.check(0, &[]);
    terminate(sidecar).await.check(0, &["lease revoked"]);
    assert_eq!((pod.secret("db.json"), pod.secret("key").as_deref()), (None, Some("sk-swordfish")));
    pod.run("healthz", &variables).await.check(1, &["the secrets are not fetched yet"]);
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    until(|| pod.secret("db.json").is_some()).await;
    assert_ne!(pod.secret("db.json"), before);
    pod.run("healthz", &variables).await.check(0, &[]);
    terminate(sidecar).await.check(0, &[]);
}

#[tokio::test]
async fn a_restart_with_an_unwritable_volume_renews_leases() {
    let pod = Pod::new().await;
    let outputs = Outputs::new(&pod, "engine=postgres role=readonly ttl=20s");
    let variables = outputs.variables(&[("REFRESH_INTERVAL", "1s")]);
    let mut first = start(&mut pod.agent("sidecar", &variables));
    until(|| pod.secret("key").is_some() && pod.secret("db.json").is_some()).await;
    first.kill().await.unwrap();
    // A directory in place of a link is an error for every user.
    let in_the_way = pod.path("secrets/key");
    fs::remove_file(&in_the_way).unwrap();
    fs::create_dir(&in_the_way).unwrap();
    pod.vault.write(&"app/stripe".parse().unwrap(), data("new"));
    let log = pod.path("log");
    let mut agent = pod.agent("sidecar", &variables);
    let sidecar = agent.stdout(Stdio::piped()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    until(|| fs::read_to_string(&log).unwrap().contains("not refreshed, trying again")).await;
    pod.requested(Route::Renew, 1).await;
    assert_eq!((pod.vault.requests(Route::Generate), pod.live_leases()), (1, 1));
    fs::remove_dir(&in_the_way).unwrap();
    until(|| pod.secret("key").as_deref() == Some("new")).await;
    terminate(sidecar).await.check(0, &[]);
}

/// The kubelet may stop and start only the sidecar while the application runs.
#[tokio::test]
async fn after_a_revocation_a_start_generates_new_credentials() {
    let pod = Pod::new().await;
    let outputs = Outputs::new(&pod, "engine=postgres role=readonly");
    let variables = outputs.variables(&[]);
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    until(|| pod.secret("db.json").is_some()).await;
    terminate(sidecar).await.check(0, &["lease revoked"]);
    pod.vault.add_fault(Fault::always(Route::Read, "access_denied"));
    let sidecar = Sidecar::start(&pod, &variables);
    until(|| pod.secret("db.json").is_some()).await;
    sidecar.line("keeping the file as it is").await;
    assert_eq!(pod.secret("key").as_deref(), Some("sk-swordfish"));
    sidecar.end().await.check(0, &[]);
}
