//! Opting out and back in: for pods, workloads and namespaces.

use std::process::Command;

use kube::{
    Client,
    api::{Patch, PatchParams},
};
use scaivault_testkit::{PREFIX, inspect, key};
use serde_json::{Value, json};

use crate::support::{
    api, cluster_api, eventually,
    kubectl::{Kubectl, said},
    release::{Release, annotations, create_pod, is_injected, is_untouched, pod},
    workload::{KINDS, all_pods, pods, template, with_own, workload},
};

/// The usual annotations, and one more secret.
fn two_secrets() -> Value {
    let mut two = annotations();
    two[key("inject-secret-stripe.key")] = "environments/production/billing/stripe#secret_key".into();
    two
}

fn with(mut annotations: Value, name: &str, value: &str) -> Value {
    annotations[key(name)] = value.into();
    annotations
}

/// The pod as the command line injects it into a manifest.
fn injected_by_hand(pod: &Value) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scaivault-injector"));
    command.args(["inject", "--output=json"]);
    serde_json::from_str(&said(command, Some(pod)).ok().out).unwrap()
}

/// The agent's `SECRETS` variable, with the secrets that it fetches.
fn secrets(pod: &Value) -> &str {
    inspect::injected_containers(pod)
        .first()
        .and_then(|agent| inspect::env(agent, "SECRETS"))
        .unwrap_or_default()
}

fn has_image(pod: &Value, image: &str) -> bool {
    inspect::app_container(pod, "app").is_some_and(|app| app["image"] == image)
}

fn has_both_secrets(pod: &Value) -> bool {
    ["billing/database", "billing/stripe"].iter().all(|secret| secrets(pod).contains(secret))
}

fn has_the_first_secret(pod: &Value) -> bool {
    secrets(pod).contains("billing/database") && !secrets(pod).contains("billing/stripe")
}

#[tokio::test]
async fn a_pod_with_a_mode_is_not_changed() {
    let release = Release::shared().await;
    let (client, namespace) = (release.client().await, release.namespace("pod-modes").await);
    let create = async |name: &str, annotations: Value| {
        create_pod(&client, &namespace, pod(name, &annotations)).await.unwrap()
    };
    assert!(is_injected(&create("none", annotations()).await));
    for (name, mode, value) in [
        ("ignore", "mutation-mode", "ignore"),
        ("detach", "mutation-mode", "ignore-and-detach"),
        ("off", "inject", "false"),
        ("of-workload", "workload-mutation-mode", "ignore"),
    ] {
        let created = create(name, with(annotations(), mode, value)).await;
        assert!(is_untouched(&created), "{name}: {created}");
        assert_eq!(inspect::injector_annotation(&created, "status"), None, "{name}");
    }

    // An injection in the manifest is kept with `ignore` and removed with `ignore-and-detach`.
    let carries = |name: &str, annotations: Value| injected_by_hand(&pod(name, &annotations));
    for (name, mode, stays) in
        [("carries-ignored", "ignore", true), ("carries-detached", "ignore-and-detach", false)]
    {
        let mut manifest = carries(name, annotations());
        assert!(is_injected(&manifest), "{manifest}");
        manifest["metadata"]["annotations"][key("mutation-mode")] = mode.into();
        let created = create_pod(&client, &namespace, manifest).await.unwrap();
        assert_eq!(is_injected(&created), stays, "{created}");
        assert_eq!(is_untouched(&created), !stays, "{created}");
    }
}

#[tokio::test]
async fn a_namespaces_mode_applies_to_new_pods() {
    let release = Release::shared().await;
    let (client, namespace) = (release.client().await, release.namespace("namespace-modes").await);
    let carrying = injected_by_hand(&pod("carrying", &annotations()));
    assert!(is_injected(&carrying));
    let mut number = 0;
    for (mode, asked_for, carried) in
        [(Some("ignore"), false, true), (Some("ignore-and-detach"), false, false), (None, true, true)]
    {
        set_mode_of_namespace(&client, &namespace, mode).await;
        // The injector observes the change with a delay.
        eventually("the mode's effect", async || {
            number += 1;
            let fresh = pod(&format!("asks-{number}"), &annotations());
            let mut carrying = carrying.clone();
            carrying["metadata"]["name"] = format!("carries-{number}").into();
            let fresh = create_pod(&client, &namespace, fresh).await.unwrap();
            let carrying = create_pod(&client, &namespace, carrying).await.unwrap();
            assert!(is_injected(&fresh) || is_untouched(&fresh), "{fresh}");
            (is_injected(&fresh) == asked_for && is_injected(&carrying) == carried).then_some(())
        })
        .await;
    }
}

async fn set_mode_of_namespace(client: &Client, namespace: &str, mode: Option<&str>) {
    let patch = json!({"metadata": {"annotations": {key("mutation-mode"): mode}}});
    let namespaces = cluster_api(client, "v1", "Namespace");
    namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

#[tokio::test]
async fn the_strictest_mode_wins() {
    let release = Release::shared().await;
    let (client, namespace) = (release.client().await, release.namespace("strictest").await);
    set_mode_of_namespace(&client, &namespace, Some("ignore-and-detach")).await;
    let carrying = |name: &str, mode: Option<&str>| {
        let mut manifest = injected_by_hand(&pod(name, &annotations()));
        if let Some(mode) = mode {
            manifest["metadata"]["annotations"][key("mutation-mode")] = mode.into();
        }
        manifest
    };
    let mut number = 0;
    eventually("the namespace's mode", async || {
        number += 1;
        let created = create_pod(&client, &namespace, carrying(&format!("probe-{number}"), None)).await;
        is_untouched(&created.unwrap()).then_some(())
    })
    .await;
    // The pod's own `ignore` would keep it.
    let detached = create_pod(&client, &namespace, carrying("pod-lax", Some("ignore"))).await.unwrap();
    assert!(is_untouched(&detached), "{detached}");
    // The same for a workload.
    let lax = with_own(workload("Deployment", "lax", &annotations()), &key("mutation-mode"), "ignore");
    let kubectl = Kubectl { plane: release.plane, namespace: &namespace };
    kubectl.apply(&lax).ok();
    all_pods(&client, &namespace, "lax", 2, is_untouched).await;

    set_mode_of_namespace(&client, &namespace, Some("ignore")).await;
    eventually("the namespace's other mode", async || {
        number += 1;
        let created = create_pod(&client, &namespace, carrying(&format!("probe-{number}"), None)).await;
        is_injected(&created.unwrap()).then_some(())
    })
    .await;
    let strict =
        create_pod(&client, &namespace, carrying("pod-strict", Some("ignore-and-detach"))).await.unwrap();
    assert!(is_untouched(&strict), "{strict}");
}

#[tokio::test]
async fn a_frozen_deployment_keeps_its_secrets() {
    let release = Release::shared().await;
    let (client, namespace) = (release.client().await, release.namespace("frozen").await);
    let kubectl = Kubectl { plane: release.plane, namespace: &namespace };
    let deployment = workload("Deployment", "app", &annotations());
    kubectl.apply(&deployment).quiet();
    all_pods(&client, &namespace, "app", 2, has_the_first_secret).await;
    let before = pod_names(&client, &namespace).await;
    kubectl.run(&format!("annotate deployment/app {PREFIX}mutation-mode=ignore")).quiet();

    // The freeze by itself changes no pod, and scaling creates pods of the same form.
    kubectl.run("scale deployment/app --replicas=3").quiet();
    let scaled = all_pods(&client, &namespace, "app", 3, has_the_first_secret).await;
    assert!(before.iter().all(|name| scaled.iter().any(|pod| pod["metadata"]["name"] == **name)));

    let frozen = ["frozen by mutation-mode: ignore", "inject-secret-stripe.key"];
    let mut changed = workload("Deployment", "app", &two_secrets());
    changed["spec"]["replicas"] = 3.into();
    set_image(&mut changed, "app:2");
    kubectl.apply(&changed).warned(&frozen);
    all_pods(&client, &namespace, "app", 3, |pod| has_image(pod, "app:2") && has_the_first_secret(pod)).await;

    // This applies to every user: kube-system contains service accounts of tools, too.
    let tool = "--as=system:serviceaccount:kube-system:helm-app --as-group=system:masters";
    kubectl.run_with(&format!("apply {tool} --filename=-"), &changed).warned(&frozen);

    // Removing the annotation has no effect either.
    let gone =
        json!({"spec": {"template": {"metadata": {"annotations": {key("inject-secret-db.json"): null}}}}});
    kubectl
        .run(&format!("patch deployment/app --type=merge --patch={gone}"))
        .warned(&["frozen by mutation-mode: ignore; not removed: inject-secret-db.json"]);

    set_image(&mut changed, "app:3");
    changed["metadata"]["namespace"] = namespace.as_str().into();
    kubectl.run_with("apply --server-side --force-conflicts --filename=-", &changed).warned(&frozen);
    all_pods(&client, &namespace, "app", 3, |pod| has_image(pod, "app:3") && has_the_first_secret(pod)).await;

    let mut edit = kubectl.command("edit deployment/app");
    edit.env("KUBE_EDITOR", "sed -i -e s,billing/database,billing/other, -e s,app:3,app:4,");
    said(edit, None).warned(&["frozen by mutation-mode: ignore; not changed: inject-secret-db.json"]);
    all_pods(&client, &namespace, "app", 3, |pod| has_image(pod, "app:4") && has_the_first_secret(pod)).await;

    kubectl.run("rollout undo deployment/app").ok();
    all_pods(&client, &namespace, "app", 3, |pod| has_image(pod, "app:3") && has_the_first_secret(pod)).await;
    kubectl.run("rollout restart deployment/app").quiet();
    let restarted =
        |pod: &Value| !pod["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].is_null();
    all_pods(&client, &namespace, "app", 3, |pod| restarted(pod) && has_the_first_secret(pod)).await;

    kubectl.run(&format!("annotate deployment/app {PREFIX}mutation-mode-")).quiet();
    kubectl.apply(&changed).quiet();
    all_pods(&client, &namespace, "app", 3, |pod| has_image(pod, "app:3") && has_both_secrets(pod)).await;
}

fn set_image(workload: &mut Value, image: &str) {
    workload["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
}

async fn pod_names(client: &Client, namespace: &str) -> Vec<String> {
    let pods = pods(client, namespace, "app").await;
    pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_workload_that_is_created_frozen_is_not_injected() {
    let release = Release::shared().await;
    let (client, namespace) = (release.client().await, release.namespace("created-frozen").await);
    let kubectl = Kubectl { plane: release.plane, namespace: &namespace };
    for (kind, name, number) in running_kinds() {
        let manifest = with_own(workload(kind, name, &annotations()), &key("mutation-mode"), "ignore");
        kubectl.apply(&manifest).ok();
        all_pods(&client, &namespace, name, number, is_untouched).await;
        kubectl.apply(&workload(kind, name, &annotations())).ok();
        all_pods(&client, &namespace, name, number, is_injected).await;
    }
}

/// The kinds whose pods keep running: kind, name in kubectl, number of pods.
fn running_kinds() -> impl Iterator<Item = (&'static str, &'static str, usize)> {
    // Two replicas on two nodes.
    KINDS.into_iter().filter(|(group, ..)| *group == "apps/v1").map(|(_, kind, name)| (kind, name, 2))
}

#[tokio::test]
async fn a_workload_can_be_detached_and_injected_again() {
    let release = Release::shared().await;
    let (client, namespace) = (release.client().await, release.namespace("detached").await);
    let kubectl = Kubectl { plane: release.plane, namespace: &namespace };
    for (kind, name, number) in running_kinds() {
        kubectl.apply(&workload(kind, name, &annotations())).quiet();
        all_pods(&client, &namespace, name, number, is_injected).await;
        kubectl.run(&format!("annotate {name}/{name} {PREFIX}mutation-mode=ignore-and-detach")).quiet();
        all_pods(&client, &namespace, name, number, is_untouched).await;
        kubectl.run(&format!("rollout undo {name}/{name}")).ok();
        let object = api(&client, "apps/v1", kind, &namespace).get(name).await.unwrap();
        let object = serde_json::to_value(object).unwrap();
        if kind == "Deployment" {
            // `kubectl rollout undo` also restores a Deployment's own annotations from before the
            // mode.
            assert_eq!(inspect::injector_annotation(&object, "mutation-mode"), None);
            all_pods(&client, &namespace, name, number, is_injected).await;
            continue;
        }
        // A template without the key does not bypass the mode.
        assert_eq!(
            inspect::injector_annotation(template(&object), "workload-mutation-mode"),
            Some("ignore-and-detach")
        );
        all_pods(&client, &namespace, name, number, is_untouched).await;
        kubectl.run(&format!("annotate {name}/{name} {PREFIX}mutation-mode-")).quiet();
        all_pods(&client, &namespace, name, number, is_injected).await;
    }
}

#[tokio::test]
async fn a_change_of_modes_attaches_nothing() {
    let release = Release::shared().await;
    let (client, namespace) = (release.client().await, release.namespace("both-modes").await);
    let kubectl = Kubectl { plane: release.plane, namespace: &namespace };
    kubectl.apply(&workload("Deployment", "app", &annotations())).quiet();
    let annotate =
        |mode: &str| kubectl.run(&format!("annotate --overwrite deployment/app {PREFIX}mutation-mode{mode}"));
    let carried =
        |pod: &Value| inspect::injector_annotation(pod, "workload-mutation-mode").map(str::to_owned);
    all_pods(&client, &namespace, "app", 2, is_injected).await;
    annotate("=ignore").quiet();
    annotate("=ignore-and-detach").quiet();
    all_pods(&client, &namespace, "app", 2, is_untouched).await;
    annotate("=ignore").quiet();
    all_pods(&client, &namespace, "app", 2, |pod| {
        is_untouched(pod) && carried(pod).as_deref() == Some("ignore")
    })
    .await;
    annotate("-").quiet();
    all_pods(&client, &namespace, "app", 2, is_injected).await;
}

#[tokio::test]
async fn a_cron_jobs_mode_applies_to_its_jobs() {
    let release = Release::shared().await;
    let (client, namespace) = (release.client().await, release.namespace("cron").await);
    let kubectl = Kubectl { plane: release.plane, namespace: &namespace };
    kubectl.apply(&workload("CronJob", "cron", &annotations())).quiet();
    let mut jobs = 0;
    let mut pod_of_a_job = async || {
        jobs += 1;
        kubectl.run(&format!("create job job-{jobs} --from=cronjob/cron")).ok();
        let pods = eventually("the job's pod", async || {
            let pods = pods(&client, &namespace, "cron").await;
            let of_job = |pod: &Value| pod["metadata"]["labels"]["job-name"] == format!("job-{jobs}");
            pods.into_iter().find(of_job)
        });
        pods.await
    };
    assert!(has_the_first_secret(&pod_of_a_job().await));
    kubectl.run(&format!("annotate cronjob/cron {PREFIX}mutation-mode=ignore")).quiet();
    kubectl
        .apply(&workload("CronJob", "cron", &two_secrets()))
        .warned(&["frozen", "inject-secret-stripe.key"]);
    assert!(has_the_first_secret(&pod_of_a_job().await));
    kubectl
        .run(&format!("annotate --overwrite cronjob/cron {PREFIX}mutation-mode=ignore-and-detach"))
        .quiet();
    assert!(is_untouched(&pod_of_a_job().await));
    kubectl.run(&format!("annotate cronjob/cron {PREFIX}mutation-mode-")).quiet();
    assert!(is_injected(&pod_of_a_job().await));
}

#[tokio::test]
async fn a_job_follows_its_mode_until_it_has_started() {
    let release = Release::shared().await;
    let (client, namespace) = (release.client().await, release.namespace("job").await);
    let kubectl = Kubectl { plane: release.plane, namespace: &namespace };
    let mut suspended = workload("Job", "suspended", &annotations());
    suspended["spec"]["suspend"] = true.into();
    kubectl.apply(&suspended).quiet();
    kubectl.run(&format!("annotate job/suspended {PREFIX}mutation-mode=ignore-and-detach")).quiet();
    kubectl.run("patch job/suspended --type=merge --patch={\"spec\":{\"suspend\":false}}").ok();
    all_pods(&client, &namespace, "suspended", 1, is_untouched).await;

    kubectl.apply(&workload("Job", "started", &annotations())).quiet();
    all_pods(&client, &namespace, "started", 1, is_injected).await;
    kubectl
        .run(&format!("annotate job/started {PREFIX}mutation-mode=ignore-and-detach"))
        .warned(&["delete and create the job"]);
    kubectl.run(&format!("annotate job/started {PREFIX}mutation-mode-")).ok();

    let created = with_own(workload("Job", "created", &annotations()), &key("mutation-mode"), "ignore");
    kubectl.apply(&created).ok();
    all_pods(&client, &namespace, "created", 1, is_untouched).await;
}

/// The definition of Argo Rollouts, as far as the API server needs it.
fn rollouts() -> Value {
    let spec = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "rollouts.argoproj.io"},
        "spec": {
            "group": "argoproj.io",
            "scope": "Namespaced",
            "names": {"plural": "rollouts", "singular": "rollout", "kind": "Rollout", "listKind": "RolloutList"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": schema}],
        },
    })
}

#[tokio::test]
async fn argo_rollouts_are_checked_and_have_a_mode() {
    let release = Release::shared().await;
    let (client, namespace) = (release.client().await, release.namespace("rollouts").await);
    let kubectl = Kubectl { plane: release.plane, namespace: &namespace };
    kubectl.apply(&rollouts()).ok();
    eventually("the kind", async || kubectl.run("get rollouts.argoproj.io").is_success.then_some(())).await;
    let rollout = |annotations: &Value| {
        let mut rollout = workload("Deployment", "web", annotations);
        rollout["apiVersion"] = "argoproj.io/v1alpha1".into();
        rollout["kind"] = "Rollout".into();
        rollout
    };
    kubectl.apply(&rollout(&with(annotations(), "mount-path", "run/secrets"))).refused(&[
        "validate.injector.scaivault.scailabs.ai",
        &key("mount-path"),
        "\"run/secrets\"",
    ]);
    kubectl.apply(&with_own(rollout(&annotations()), &key("mutation-mode"), "ignore")).quiet();
    let stored = api(&client, "argoproj.io/v1alpha1", "Rollout", &namespace).get("web").await.unwrap();
    let in_template = &stored.data["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(in_template[key("workload-mutation-mode")], "ignore", "{in_template}");
}
