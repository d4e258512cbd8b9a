//! Repeated `kubectl apply`, client-side and server-side.

use kube::api::ListParams;
use serde_json::{Value, json};

use super::team::{INIT, Team, assert_injected, bare, template, workload};
use crate::support::release::annotations;

fn pod() -> Value {
    bare("app", &template("app", &annotations()))
}

/// Applies with these arguments and returns the object.
fn applied(team: &Team, words: &str, manifest: &Value) -> Value {
    let said = team.kubectl().run_with(&format!("{words} --output=json --filename=-"), manifest).ok();
    serde_json::from_str(&said.out).unwrap()
}

#[tokio::test]
async fn a_dry_run_shows_the_injection_and_creates_nothing() {
    let team = Team::new("dry-run").await;
    for words in ["apply --dry-run=server", "apply --server-side --dry-run=server", "create --dry-run=server"]
    {
        assert_injected(&applied(&team, words, &pod()), &[INIT]);
    }
    let pods = team.api("v1", "Pod").list(&ListParams::default()).await.unwrap();
    assert_eq!(pods.items.len(), 0);
}

/// Applying the same manifest again does not change the pod, and `diff` shows no difference.
async fn assert_steady(prefix: &str, apply: &str, diff: &str) {
    let team = Team::new(prefix).await;
    let first = applied(&team, apply, &pod());
    assert_injected(&first, &[INIT]);
    // `diff` fails if there is a difference.
    team.kubectl().run_with(diff, &pod()).quiet();
    let second = applied(&team, apply, &pod());
    for part in ["/spec", "/metadata/annotations"] {
        // The scheduler set the node meanwhile.
        let mut parts = [&first, &second].map(|pod| pod.pointer(part).unwrap().clone());
        for part in &mut parts {
            part.as_object_mut().unwrap().remove("nodeName");
        }
        assert_eq!(parts[0], parts[1]);
    }
}

#[tokio::test]
async fn a_pod_that_the_client_applies_again_stays_as_it_is() {
    assert_steady("client-side", "apply", "diff --filename=-").await;
}

#[tokio::test]
async fn a_repeated_apply_of_a_pod_changes_nothing() {
    let manager = "--server-side --field-manager=gitops";
    assert_steady("server-side", &format!("apply {manager}"), &format!("diff {manager} --filename=-")).await;
}

#[tokio::test]
async fn a_deployment_that_the_server_applies_again_rolls_nothing_out() {
    let team = Team::new("no-roll-out").await;
    let deployment = workload("Deployment", "app", 2, &template("app", &annotations()));
    let apply = "apply --server-side --field-manager=gitops";
    let first = applied(&team, apply, &deployment);
    for pod in team.wait_for_pods("app", 2).await {
        assert_injected(&pod, &[INIT]);
    }
    let second = applied(&team, apply, &deployment);
    assert_eq!(first["spec"], second["spec"]);
    assert_eq!(first["metadata"]["generation"], second["metadata"]["generation"]);
    team.kubectl().run_with(&format!("diff {} --filename=-", &apply["apply ".len()..]), &deployment).quiet();
}

#[tokio::test]
async fn a_live_pod_can_be_labelled_changed_and_debugged() {
    let team = Team::new("live").await;
    let made = team.create(&pod()).await.unwrap();
    team.kubectl().run("label pod app tier=web").quiet();
    team.kubectl().run("annotate pod app example.com/note=changed").quiet();
    team.kubectl().run("set image pod app app=app:2").quiet();
    team.kubectl().run("debug app --image=shell:1 --target=app --container=shell").ok();
    let pods = team.pods("app").await;
    assert_injected(&pods[0], &[INIT]);
    assert_eq!(pods[0]["spec"]["initContainers"], made["spec"]["initContainers"]);
    assert_eq!(pods[0]["spec"]["containers"][0]["image"], json!("app:2"));
    assert_eq!(pods[0]["spec"]["ephemeralContainers"][0]["name"], json!("shell"));
}
