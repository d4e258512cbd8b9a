//! The sidecar with dynamic credentials.

use scaivault_devserver::{LeaseState, Route};

use crate::{
    pod::{Pod, VarRun},
    support::until,
};

const MANIFEST: &str = "sidecar-with-dynamic-credentials.yaml";

#[tokio::test]
async fn a_lease_is_generated_written_and_revoked_at_the_end() {
    let Some(pod) = Pod::start(MANIFEST).await else { return };
    let container = pod.container("scaivault-sidecar");
    // Instead of the default of twenty seconds.
    let sidecar = pod.start_agent(&container, VarRun::Directory, &[("SCAIVAULT_REVOKE_DELAY", "1s")]);
    until(|| pod.secret("db.json").is_some()).await;
    let lease = only_lease(&pod);
    assert_eq!((lease.role.as_str(), lease.is_revoked), ("postgres-prod/readonly", false));
    assert!((7100..=7200).contains(&lease.seconds_left), "ttl=2h: {}", lease.seconds_left);
    let written = pod.secret("db.json").unwrap();
    assert!(written.contains(&lease.username), "{written}");

    sidecar.terminate();
    sidecar.ended().await.check(0, &["\"delay_seconds\":1", "lease revoked", "stopped"]);
    assert!(only_lease(&pod).is_revoked);
    assert_eq!(pod.vault.requests(Route::Revoke), 1);
}

/// The kubelet sends the signal to all containers of such a pod at once: a draining application
/// keeps its credentials.
#[tokio::test]
async fn with_the_pages_variables_a_draining_app_keeps_its_user() {
    let Some(pod) = Pod::start(MANIFEST).await else { return };
    let container = pod.container("scaivault-sidecar");
    let names: Vec<_> = container.env.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["DYNAMIC", "SCAIVAULT_URL"], "the variables of the page");
    let sidecar = pod.start_agent(&container, VarRun::Directory, &[]);
    until(|| pod.secret("db.json").is_some()).await;
    sidecar.terminate();
    until(|| sidecar.log().contains("waiting before revoking leases")).await;
    assert!(sidecar.log().contains("\"delay_seconds\":20"), "{}", sidecar.log());
    assert_eq!((only_lease(&pod).is_revoked, pod.vault.requests(Route::Revoke)), (false, 0));
}

#[track_caller]
fn only_lease(pod: &Pod) -> LeaseState {
    let mut leases = pod.vault.leases();
    assert_eq!(leases.len(), 1);
    leases.remove(0)
}
