//! The injector is down: which requests depend on it, and which do not.

use kube::api::{ListParams, Patch, PatchParams};
use scaivault_testkit::key;
use serde_json::{Value, json};

use crate::support::{
    api, cluster_api, eventually,
    kubectl::Kubectl,
    release::{Release, annotations, create_pod, is_injected, is_untouched, pod},
    workload::{KINDS, all_pods, with_own, workload},
};

const POD_WEBHOOK: &str = "failed calling webhook \"pods.injector.scaivault.scailabs.ai\"";
const MODE_WEBHOOK: &str = "failed calling webhook \"mode.injector.scaivault.scailabs.ai\"";
const BLOCK: &str = "{\"metadata\":{\"finalizers\":[\"example.com/block\"]}}";
const UNBLOCK: &str = "{\"metadata\":{\"finalizers\":null}}";

fn opted_out(key_name: &str, value: &str) -> Value {
    let mut annotations = annotations();
    annotations[key(key_name)] = value.into();
    annotations
}

/// Pods that never depend on the injector.
fn others() -> [(&'static str, Value); 7] {
    let with_receipt = |mut annotations: Value| {
        annotations[key("receipt")] = "{}".into();
        annotations
    };
    [
        ("plain", json!({})),
        ("other-product", json!({"example.com/inject": "true"})),
        ("off", opted_out("inject", "false")),
        ("ignored", opted_out("mutation-mode", "ignore")),
        ("of-workload", opted_out("workload-mutation-mode", "ignore-and-detach")),
        ("off-with-receipt", with_receipt(opted_out("inject", "false"))),
        ("ignored-with-receipt", with_receipt(opted_out("mutation-mode", "ignore"))),
    ]
}

#[tokio::test]
async fn only_annotated_objects_wait_for_a_stopped_injector() {
    let release = Release::install("down", json!({})).await;
    let (client, namespace) = (release.client().await, release.namespace("waits").await);
    let kubectl = Kubectl { plane: release.plane, namespace: &namespace };

    // Created before the outage: an annotated pod, and a frozen and a free workload of every kind.
    kubectl.apply(&pod("before", &annotations())).quiet();
    for (_, kind, name) in KINDS {
        for (prefix, frozen) in [("frozen", true), ("free", false)] {
            let mut manifest = workload(kind, &format!("{prefix}-{name}"), &annotations());
            if kind == "Job" {
                manifest["spec"]["suspend"] = true.into();
            }
            kubectl.apply(&manifest).quiet();
            if frozen {
                // A finalizer of another controller, which removes it when the workload is deleted.
                manifest["metadata"]["finalizers"] = json!(["example.com/block"]);
                kubectl.apply(&with_own(manifest, &key("mutation-mode"), "ignore")).ok();
            }
        }
    }
    all_pods(&client, &namespace, "free-deployment", 2, is_injected).await;
    all_pods(&client, &namespace, "frozen-deployment", 2, is_injected).await;
    release.stop().await;

    // Annotated pods are rejected, and the error names the webhook.
    kubectl.apply(&pod("annotated", &annotations())).refused(&[POD_WEBHOOK]);
    for (name, annotations) in others() {
        let created = create_pod(&client, &namespace, pod(name, &annotations)).await.unwrap();
        assert!(is_untouched(&created), "{created}");
    }
    kubectl.apply(&workload("Deployment", "plain", &json!({}))).quiet();
    all_pods(&client, &namespace, "plain", 2, is_untouched).await;

    // Workloads can be created and changed, except those with a mode.
    kubectl.run("set image deployment/free-deployment app=app:2").quiet();
    kubectl.run("scale deployment/frozen-deployment --replicas=1").quiet();
    kubectl.run("set image deployment/frozen-deployment app=app:2").refused(&[MODE_WEBHOOK]);
    kubectl.run("rollout status deployment/frozen-deployment --timeout=30s").ok();
    kubectl.apply(&workload("Deployment", "waiting", &annotations())).quiet();
    let sets = ListParams::default().labels("app=waiting");
    let set = eventually("the ReplicaSet", async || {
        let sets = api(&client, "apps/v1", "ReplicaSet", &namespace).list(&sets).await.unwrap();
        sets.into_iter().next()
    })
    .await;
    let set = set.metadata.name.unwrap();
    eventually("an event that says why", async || {
        let described = kubectl.run(&format!("describe replicaset/{set}")).ok().out;
        (described.contains("FailedCreate") && described.contains(POD_WEBHOOK)).then_some(())
    })
    .await;

    // Deletions complete, with and without another controller's finalizer.
    let delete = async |object: &str| {
        kubectl.run(&format!("delete {object} --wait=false")).quiet();
        kubectl.run(&format!("patch {object} --type=merge --patch={UNBLOCK}")).quiet();
        eventually("the end of it", async || {
            (!kubectl.run(&format!("get {object}")).is_success).then_some(())
        })
        .await;
    };
    kubectl.run(&format!("patch pod/before --type=merge --patch={BLOCK}")).quiet();
    delete("pod/before").await;
    for (_, kind, name) in KINDS {
        let free = format!("free-{name}");
        kubectl.run(&format!("patch {name}/{free} --type=merge --patch={BLOCK}")).quiet();
        if kind != "Deployment" {
            delete(&format!("{name}/{free}")).await;
        }
        delete(&format!("{name}/frozen-{name}")).await;
    }

    release.start().await;
    all_pods(&client, &namespace, "waiting", 2, is_injected).await;
    let new = |pod: &Value| is_injected(pod) && pod["spec"]["containers"][0]["image"] == "app:2";
    all_pods(&client, &namespace, "free-deployment", 2, new).await;
}

#[tokio::test]
async fn system_namespaces_and_the_injectors_own_are_never_touched() {
    let release = Release::install("system", json!({})).await;
    let client = release.client().await;
    let spaces = ["kube-system", "kube-public", "kube-node-lease", release.name.as_str()];
    // With the label for which the injector is called.
    for namespace in spaces {
        release.serve(namespace).await;
    }
    let untouched = async |time: &str| {
        for namespace in spaces {
            let mut asks = pod(&format!("{time}-{}", release.name), &annotations());
            // Not every such namespace has a service account token.
            asks["spec"]["automountServiceAccountToken"] = false.into();
            let created = create_pod(&client, namespace, asks).await.unwrap();
            assert!(is_untouched(&created), "{created}");
        }
    };
    let served = release.namespace("served").await;
    eventually("a call for an ordinary namespace with the label", async || {
        let name = format!("probe-{}", release.admissions_without_policies().await);
        let created = create_pod(&client, &served, pod(&name, &annotations())).await.unwrap();
        is_injected(&created).then_some(())
    })
    .await;
    let reviews = release.admissions_without_policies().await;
    untouched("up").await;
    assert_eq!(release.admissions_without_policies().await, reviews, "the injector was asked");
    release.stop().await;
    untouched("down").await;
    for namespace in spaces {
        let kubectl = Kubectl { plane: release.plane, namespace };
        let frozen =
            with_own(workload("Deployment", "frozen", &annotations()), &key("mutation-mode"), "ignore");
        kubectl.apply(&frozen).quiet();
        kubectl.run("delete deployment/frozen").quiet();
    }
}

#[tokio::test]
async fn if_the_webhook_fails_open_the_policy_refuses_pods() {
    const POLICY: &str = "but the injector did not answer, so it would start without them";
    let release = Release::install("open", json!({"webhook": {"failurePolicy": "Ignore"}})).await;
    let (client, namespace) = (release.client().await, release.namespace("net").await);
    let kubectl = Kubectl { plane: release.plane, namespace: &namespace };
    kubectl.apply(&pod("up", &annotations())).quiet();
    release.stop().await;
    // The policy comes into force with a delay.
    let refused = eventually("the policy's refusal", async || {
        let said = kubectl.run_with("create --dry-run=server --filename=-", &pod("probe", &annotations()));
        (!said.is_success).then_some(said)
    })
    .await;
    refused.refused(&["ValidatingAdmissionPolicy", POLICY, "inject: \"false\""]);
    kubectl.apply(&pod("down", &annotations())).refused(&[POLICY]);
    for (name, annotations) in others() {
        let created = create_pod(&client, &namespace, pod(name, &annotations)).await.unwrap();
        assert!(is_untouched(&created), "{created}");
    }
    let spaces = cluster_api(&client, "v1", "Namespace");
    let ignored = json!({"metadata": {"annotations": {key("mutation-mode"): "ignore"}}});
    let free = release.namespace("net-ignored").await;
    spaces.patch(&free, &PatchParams::default(), &Patch::Merge(ignored)).await.unwrap();
    eventually("the namespace's mode", async || {
        create_pod(&client, &free, pod("ignored-by-namespace", &annotations())).await.ok()
    })
    .await;

    // Pods of a controller are rejected, too.
    kubectl.apply(&workload("Deployment", "waiting", &annotations())).ok();
    eventually("an event with the policy's words", async || {
        let events = kubectl.run("get events --field-selector=reason=FailedCreate --output=json").ok().out;
        events.contains(POLICY).then_some(())
    })
    .await;
    release.start().await;
    all_pods(&client, &namespace, "waiting", 2, is_injected).await;
    kubectl.apply(&pod("up-again", &annotations())).quiet();
}

#[tokio::test]
async fn an_injector_outside_of_the_cluster_is_called_by_its_url() {
    let release = Release::install_by_url("by-url").await;
    let (client, namespace) = (release.client().await, release.namespace("url").await);
    let kubectl = Kubectl { plane: release.plane, namespace: &namespace };
    kubectl.apply(&workload("Deployment", "app", &annotations())).quiet();
    all_pods(&client, &namespace, "app", 2, is_injected).await;
    let mut wrong = annotations();
    wrong[key("mount-path")] = "run/secrets".into();
    kubectl.apply(&workload("Deployment", "wrong", &wrong)).refused(&["mount-path"]);
    let frozen = with_own(workload("Deployment", "frozen", &annotations()), &key("mutation-mode"), "ignore");
    kubectl.apply(&frozen).ok();
    all_pods(&client, &namespace, "frozen", 2, is_untouched).await;

    release.stop().await;
    kubectl.apply(&pod("down", &annotations())).refused(&[POD_WEBHOOK]);
    let plain = create_pod(&client, &namespace, pod("plain", &json!({}))).await.unwrap();
    assert!(is_untouched(&plain), "{plain}");
}
