//! The API server calls the injector, by URL and by Service.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use kube::{
    Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use scaivault_testkit::{balancer::Balancer, inspect};
use serde_json::{Value, json};

use crate::support::{
    self, api, cluster_api, create, eventually,
    injector::{Injector, tls_directory},
    install, object,
    release::Release,
};

const PREFIX: &str = scaivault_testkit::PREFIX;

/// The annotations of a typical workload.
fn annotations() -> Value {
    json!({
        format!("{PREFIX}inject-secret-db.json"): "environments/production/billing/database",
        format!("{PREFIX}role"): "billing",
    })
}

fn pod(name: &str, annotations: &Value) -> Value {
    json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    })
}

/// A webhook configuration for the creation of pods in one namespace, named after it.
fn configuration(namespace: &str, authority: &str, mut client_config: Value) -> Value {
    client_config["caBundle"] = BASE64_STANDARD.encode(authority).into();
    json!({
        "metadata": {"name": namespace},
        "webhooks": [{
            "name": "pods.injector.scaivault.scailabs.ai",
            "clientConfig": client_config,
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 5,
        }],
    })
}

async fn configure(client: &Client, configuration: Value) {
    let configurations =
        cluster_api(client, "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration");
    create(&configurations, configuration).await.unwrap();
}

fn is_injected(pod: &Value) -> bool {
    inspect::init_container(pod, "scaivault-init").is_some()
}

/// The API server observes configurations with a delay: sends dry runs until the webhook is called.
async fn wait_until_called(client: &Client, namespace: &str) {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let pods = api(client, "v1", "Pod", namespace);
    eventually("an injected pod", async || {
        let created = pods.create(&dry_run, &object(pod("probe", &annotations()))).await.ok()?;
        is_injected(&serde_json::to_value(created).unwrap()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_is_injected_by_a_webhook_with_an_address() {
    let plane = support::control_plane().await;
    let (client, namespace) = (plane.client().await.unwrap(), plane.namespace("by-url").await.unwrap());
    let (tls, authority) = tls_directory(&["127.0.0.1"]);
    let injector = Injector::start(None, ["--tls-dir".as_ref(), tls.path().as_os_str()]).await;
    let url = format!("https://{}/mutate", injector.address);
    configure(&client, configuration(&namespace, &authority, json!({"url": url}))).await;
    wait_until_called(&client, &namespace).await;

    let pods = api(&client, "v1", "Pod", &namespace);
    let injected = create(&pods, pod("annotated", &annotations())).await.unwrap();
    assert!(is_injected(&injected), "{injected}");
    assert_eq!(inspect::injector_annotation(&injected, "status"), Some("injected"));
    let untouched = create(&pods, pod("plain", &json!({}))).await.unwrap();
    assert!(!is_injected(&untouched), "{untouched}");
    let unknown = json!({format!("{PREFIX}inject-secret-db.json"): "not a path"});
    let refused = create(&pods, pod("refused", &unknown)).await.unwrap_err().to_string();
    assert!(refused.contains("inject-secret-db.json"), "{refused}");

    injector.until_logged("\"annotated\"").await;
    assert!(injector.terminate().await.0.success());
}

/// An upgrade may add a webhook. Without the watch, the injector would only see it after an hour.
#[tokio::test]
async fn a_new_entry_gets_its_ca_bundle_at_once() {
    let release = Release::install("new-entry", json!({"certificates": {"reloadInterval": "1h"}})).await;
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let configurations = cluster_api(&release.client().await, "admissionregistration.k8s.io/v1", kind);
        let entries = async || {
            let found = configurations.get(&release.name).await.unwrap();
            found.data["webhooks"].as_array().unwrap().clone()
        };
        let mut webhooks = entries().await;
        let bundle = webhooks[0]["clientConfig"]["caBundle"].clone();
        assert!(bundle.is_string(), "{webhooks:?}");
        let mut added = webhooks[0].clone();
        added["name"] = "added.injector.scaivault.scailabs.ai".into();
        added["namespaceSelector"] = json!({"matchLabels": {"nobody": "has-it"}});
        added["clientConfig"].as_object_mut().unwrap().remove("caBundle");
        webhooks.push(added);
        let patch = Patch::Merge(json!({"webhooks": webhooks}));
        configurations.patch(&release.name, &PatchParams::default(), &patch).await.unwrap();
        eventually("the bundle of the new entry", async || {
            entries().await.iter().all(|entry| entry["clientConfig"]["caBundle"] == bundle).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn pods_are_injected_while_replicas_change() {
    let plane = support::control_plane().await;
    let (client, namespace) = (plane.client().await.unwrap(), plane.namespace("by-service").await.unwrap());
    let (tls, authority) = tls_directory(&[&format!("{namespace}.{namespace}.svc")]);
    let flags = ["--tls-dir".as_ref(), tls.path().as_os_str()];
    let (first, second) = (Injector::start(None, flags).await, Injector::start(None, flags).await);
    let balancer = Balancer::start().await.unwrap();
    balancer.set_backends([first.address, second.address]);
    let service = json!({"metadata": {"name": namespace}, "spec": {"ports": [{"port": 443}]}});
    create(&api(&client, "v1", "Service", &namespace), service).await.unwrap();
    let by_service = json!({"service": {"namespace": namespace, "name": namespace, "path": "/mutate"}});
    configure(&client, configuration(&namespace, &authority, by_service)).await;
    install::route(plane, &namespace, &namespace, &balancer).await;
    wait_until_called(&client, &namespace).await;

    balancer.set_backends([second.address]);
    assert!(first.terminate().await.0.success());
    let labels = json!({"app": "app"});
    let deployment = json!({"metadata": {"name": "app"}, "spec": {
        "replicas": 3,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels, "annotations": annotations()},
            "spec": {"containers": [{"name": "app", "image": "app:1"}]},
        },
    }});
    create(&api(&client, "apps/v1", "Deployment", &namespace), deployment).await.unwrap();
    let pods = api(&client, "v1", "Pod", &namespace);
    let running = eventually("three running pods", async || {
        let pods = pods.list(&ListParams::default()).await.unwrap();
        let pods: Vec<_> = pods.into_iter().map(|pod| serde_json::to_value(pod).unwrap()).collect();
        (pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count() == 3).then_some(pods)
    })
    .await;
    assert!(running.iter().all(is_injected), "{running:?}");

    // Without backends the failure policy `Fail` applies.
    balancer.set_backends([]);
    drop(second);
    let refused = create(&pods, pod("late", &annotations())).await.unwrap_err().to_string();
    assert!(refused.contains("failed calling webhook"), "{refused}");
    let configurations =
        cluster_api(&client, "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration");
    configurations.delete(&namespace, &DeleteParams::default()).await.unwrap();
}
