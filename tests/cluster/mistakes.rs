//! Mistakes in annotations are reported in the API server's answer and do not affect unrelated
//! requests afterwards.

use kube::api::ListParams;
use scaivault_testkit::{PREFIX, inspect, key};
use serde_json::{Value, json};

use crate::support::{
    api, eventually,
    kubectl::Kubectl,
    release::{Release, annotations, create_pod, is_injected, is_untouched, pod},
    workload::{KINDS, all_pods, pods, with_own, workload},
};

/// Two mistakes.
fn mistakes() -> Value {
    json!({
        key("inject-secret-db.json"): "environments//database",
        key("mount-path"): "run/secrets",
    })
}

/// The report on [`mistakes`]: both keys, and what is wrong.
const SAID: [&str; 3] =
    ["inject-secret-db.json", "\"environments//database\" is not a secret path", "mount-path"];
/// The end of an error message; a warning is too short for it.
const CURE: &str = "to fix: did you mean \"/run/secrets\"? [invalid-value]";

const BLOCK: &str = "{\"metadata\":{\"finalizers\":[\"example.com/block\"]}}";
const UNBLOCK: &str = "{\"metadata\":{\"finalizers\":null}}";

#[tokio::test]
async fn a_workload_with_mistakes_is_refused_where_it_is_applied() {
    let release = Release::shared().await;
    let (client, namespace) = (release.client().await, release.namespace("mistakes").await);
    let kubectl = Kubectl { plane: release.plane, namespace: &namespace };
    for (api_version, kind, name) in KINDS {
        let wrong = workload(kind, name, &mistakes());
        kubectl.apply(&wrong).refused(&["validate.injector.scaivault.scailabs.ai", CURE]).says(&SAID);
        kubectl.run_with("apply --server-side --filename=-", &wrong).refused(&SAID);
        kubectl.run_with("create --dry-run=server --filename=-", &wrong).refused(&SAID);
        assert_eq!(api(&client, api_version, kind, &namespace).get_opt(name).await.unwrap(), None);

        let right = workload(kind, name, &annotations());
        kubectl.apply(&right).quiet();
        let misspelt = with_own(right.clone(), &key("mutation-mode"), "ignor");
        kubectl.apply(&misspelt).refused(&["mutation-mode", "ignor", "ignore-and-detach"]);
        if kind != "Job" {
            // An update that introduces mistakes is treated like a creation.
            kubectl.apply(&wrong).refused(&SAID);
        }
    }
    // Pods that a user creates directly are checked as well.
    let mut bare = pod("bare", &mistakes());
    bare["metadata"]["namespace"] = namespace.as_str().into();
    kubectl.apply(&bare).refused(&["pods.injector.scaivault.scailabs.ai"]).says(&SAID);
    kubectl.apply(&pod("bare", &annotations())).quiet();
}

#[tokio::test]
async fn a_key_that_is_no_key_is_a_warning() {
    let release = Release::shared().await;
    let namespace = release.namespace("unknown-key").await;
    let kubectl = Kubectl { plane: release.plane, namespace: &namespace };
    let mut unknown = annotations();
    unknown[key("inject-secrets-db")] = "environments/production/billing/database".into();
    kubectl.apply(&workload("Deployment", "unknown", &unknown)).warned(&["inject-secrets-db"]);
    let misplaced =
        with_own(workload("Deployment", "misplaced", &annotations()), &key("url"), "https://vault");
    kubectl.apply(&misplaced).warned(&["url"]);
}

#[tokio::test]
async fn an_existing_mistake_does_not_block_updates() {
    let release = Release::shared().await;
    let client = release.client().await;
    // Objects that are older than the injector.
    let namespace = release.plane.namespace("old-mistakes").await.unwrap();
    let kubectl = Kubectl { plane: release.plane, namespace: &namespace };
    for (_, kind, name) in KINDS {
        let mut old = workload(kind, name, &mistakes());
        if kind == "Job" {
            old["spec"]["suspend"] = true.into();
        }
        kubectl.apply(&old).quiet();
    }
    release.serve(&namespace).await;
    eventually("a warning", async || {
        let touched =
            kubectl.run("annotate deployment/deployment --dry-run=server example.com/touched=yes").ok();
        touched.err.contains("Warning").then_some(())
    })
    .await;
    for (api_version, kind, name) in KINDS {
        let object = format!("{name}/{name}");
        kubectl.run(&format!("annotate {object} example.com/touched=yes")).warned(&SAID);
        if kind != "Job" {
            kubectl.run(&format!("set image {object} app=app:2")).warned(&SAID);
        }
        // The injector ignores subresources.
        if matches!(kind, "Deployment" | "StatefulSet") {
            kubectl.run(&format!("scale {object} --replicas=3")).quiet();
        }
        // The request introduces another mistake.
        if kind != "Job" {
            let mut more = mistakes();
            more[key("secret-mode-db.json")] = "rw".into();
            kubectl.apply(&workload(kind, name, &more)).refused(&["secret-mode-db.json"]);
        }
        kubectl.run(&format!("patch {object} --type=merge --patch={BLOCK}")).warned(&SAID);
        kubectl.run(&format!("delete {object} --wait=false")).quiet();
        kubectl.run(&format!("patch {object} --type=merge --patch={UNBLOCK}")).quiet();
        let objects = api(&client, api_version, kind, &namespace);
        eventually("the end of the workload", async || {
            objects.get_opt(name).await.unwrap().is_none().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn with_warn_the_owner_gets_an_event() {
    const PODS: u64 = 200;
    let release = Release::install("warns", json!({"injector": {"onProblem": "warn"}})).await;
    let (client, namespace) = (release.client().await, release.namespace("warned").await);
    let kubectl = Kubectl { plane: release.plane, namespace: &namespace };
    let bare = create_pod(&client, &namespace, pod("bare", &mistakes())).await.unwrap();
    assert!(is_untouched(&bare), "{bare}");
    assert_eq!(inspect::injector_annotation(&bare, "status"), Some("skipped/problems"));

    let mut deployment = workload("Deployment", "app", &mistakes());
    deployment["spec"]["replicas"] = PODS.into();
    kubectl.apply(&deployment).warned(&SAID);
    kubectl.apply(&workload("DaemonSet", "daemons", &mistakes())).warned(&SAID);
    let skipped = |pod: &Value| {
        is_untouched(pod) && inspect::injector_annotation(pod, "status") == Some("skipped/problems")
    };
    all_pods(&client, &namespace, "app", usize::try_from(PODS).unwrap(), skipped).await;
    all_pods(&client, &namespace, "daemons", 2, skipped).await;

    let all_events = api(&client, "events.k8s.io/v1", "Event", &namespace);
    let events = eventually("an event on each owner", async || {
        let events = all_events.list(&ListParams::default()).await.unwrap();
        let is_from_injector =
            |event: &Value| event["reportingController"] == "scaivault.scailabs.ai/injector";
        let events =
            events.into_iter().map(|event| serde_json::to_value(event).unwrap()).filter(is_from_injector);
        let events: Vec<_> = events.collect();
        let has = |kind: &str| events.iter().any(|event| event["regarding"]["kind"] == kind);
        (has("ReplicaSet") && has("DaemonSet")).then_some(events)
    })
    .await;
    assert_eq!(events.len(), 2, "one for each owner: {events:?}");
    for event in &events {
        assert_eq!((&event["type"], &event["reason"]), (&"Warning".into(), &"SecretsNotInjected".into()));
        assert!(event["note"].as_str().unwrap().contains("inject-secret-db.json"), "{event}");
    }
    // Where a user would look.
    let set = pods(&client, &namespace, "app").await[0]["metadata"]["ownerReferences"][0]["name"].clone();
    let described = kubectl.run(&format!("describe replicaset/{}", set.as_str().unwrap())).ok().out;
    assert!(described.contains("SecretsNotInjected"), "{described}");

    let events = async |result: &str| {
        release.counter(&format!("scaivault_injector_events_total{{result=\"{result}\"}}")).await
    };
    // An event is counted after the API server's answer.
    eventually("all events to be counted", async || {
        (events("posted").await + events("limited").await >= PODS + 2).then_some(())
    })
    .await;
    let counted = (events("posted").await, events("limited").await, events("dropped").await);
    assert_eq!(counted, (2, PODS, 0));
}

#[tokio::test]
async fn only_a_valid_configuration_is_reloaded() {
    let release = Release::install("reload", json!({})).await;
    let (client, namespace) = (release.client().await, release.namespace("reloaded").await);
    let image = async |name: &str| {
        let created = create_pod(&client, &namespace, pod(name, &annotations())).await.unwrap();
        assert!(is_injected(&created), "{created}");
        inspect::injected_containers(&created)[0]["image"].as_str().unwrap().to_owned()
    };
    let before = image("before").await;
    assert!(before.starts_with("scailabs/scaivault-init:"), "{before}");
    release.configure(|text| text.replace(&before, "registry.example.com/init:2"));
    release.until_logged("configuration replaced").await;
    assert_eq!(image("after").await, "registry.example.com/init:2");

    release.configure(|text| text.replace("initImage:", "initImages:"));
    let line = release.until_logged("new configuration rejected").await;
    assert!(line.contains("initImages"), "{line}");
    assert_eq!(image("still").await, "registry.example.com/init:2");
    let refused = create_pod(&client, &namespace, pod("wrong", &mistakes())).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("{PREFIX}inject-secret-db.json")), "{refused}");
}
