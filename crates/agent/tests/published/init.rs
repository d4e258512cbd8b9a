//! The first pattern: an init container.

use std::fs;

use scaivault_devserver::Route;

use crate::pod::{DATABASE, Pod, STRIPE, VarRun};

const MANIFEST: &str = "init-container.yaml";
/// The page uses the default of a minute, in which the agent retries. The behaviour afterwards is
/// the same.
const SOON: (&str, &str) = ("FETCH_TIMEOUT", "3s");
/// The start of the application: it reads both files, and cannot write to the volume.
const APP: [&str; 3] = [
    "sh",
    "-ec",
    "cat /run/secrets/db.json /var/run/secrets/stripe.json >&2; if echo x > /run/secrets/x; then echo written >&2; fi",
];

#[tokio::test]
async fn writes_both_files_and_ends_and_the_application_starts() {
    for var_run in [VarRun::Directory, VarRun::Linked] {
        let Some(pod) = Pod::start(MANIFEST).await else { return };
        let init = pod.container("fetch-secrets");
        let names: Vec<_> = init.env.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["SCAIVAULT_URL", "SCAIVAULT_TOKEN_FILE", "SECRETS"], "the variables of the page");

        pod.start_agent(&init, var_run, &[]).ended().await.check(0, &["secrets written"]);
        assert_eq!(pod.secret("db.json").as_deref(), Some(DATABASE), "{var_run:?}");
        assert_eq!(pod.secret("stripe.json").as_deref(), Some(STRIPE));
        assert_eq!(pod.termination_message(&init), "");
        assert_eq!((pod.vault.requests(Route::Exchange), pod.vault.requests(Route::Read)), (1, 2));

        let read = pod.start_app(&APP).output().await;
        assert!(read.contains(&format!("{DATABASE}{STRIPE}")), "{read}");
        assert!(read.contains("Read-only file system") && !read.contains("written"), "{read}");
    }
}

/// Without the directory the application's container does not start: its runtime has to mount the
/// service account's token there, and the volume is already read-only.
#[tokio::test]
async fn the_application_needs_the_token_directory() {
    let Some(pod) = Pod::start(MANIFEST).await else { return };
    pod.start_app(&["true"]).ended().await.check(1, &["kubernetes.io", "Read-only file system"]);
    pod.run_agent(&pod.container("fetch-secrets"), &[]).await.check(0, &[]);
    assert!(pod.secrets().join("kubernetes.io/serviceaccount").is_dir());
    pod.start_app(&["true"]).ended().await.check(0, &[]);
}

#[tokio::test]
async fn with_the_server_down_the_pod_does_not_start() {
    let Some(mut pod) = Pod::start(MANIFEST).await else { return };
    pod.stop_server();
    let init = pod.container("fetch-secrets");
    pod.run_agent(&init, &[SOON]).await.check(1, &["trying again", "cannot be reached"]);
    let message = pod.termination_message(&init);
    assert!(message.contains("cannot be reached"), "{message}");
    assert!(
        message.ends_with("check that ScaiVault is up and that the pod's network reaches it"),
        "{message}"
    );
    assert_eq!(fs::read_dir(pod.secrets()).unwrap().count(), 0, "nothing is written");
}

#[tokio::test]
async fn a_denied_secret_is_in_the_pods_status() {
    let Some(pod) = Pod::start(MANIFEST).await else { return };
    let init = pod.container("fetch-secrets");
    let secrets = init
        .env
        .iter()
        .find(|(name, _)| name == "SECRETS")
        .unwrap()
        .1
        .replace("billing/stripe", "orders/stripe");
    pod.run_agent(&init, &[("SECRETS", &secrets)]).await.check(3, &[]);
    let message = pod.termination_message(&init);
    assert!(message.starts_with("environments/production/orders/stripe: "), "{message}");
    assert!(message.contains("give the pod's identity a policy"), "{message}");
    assert_eq!(pod.secret("db.json"), None, "all or nothing");
}

#[tokio::test]
async fn fail_open_starts_the_pod_without_the_server() {
    let Some(mut pod) = Pod::start(MANIFEST).await else { return };
    pod.stop_server();
    let init = pod.container("fetch-secrets");
    let ended = pod.run_agent(&init, &[SOON, ("FAIL_OPEN", "true")]).await;
    ended.check(0, &["\"level\":\"ERROR\"", "the pod starts without it, because FAIL_OPEN is true"]);
    let message = pod.termination_message(&init);
    assert!(message.starts_with("started without all secrets (FAIL_OPEN): "), "{message}");
    assert_eq!(pod.secret("db.json"), None);
    // The application's container starts nevertheless.
    pod.start_app(&["true"]).ended().await.check(0, &[]);
}
