//! The number of webhook calls for a pod: a second call is made only if something changed the pod
//! after the injector's answer.

use scaivault_testkit::inspect;
use serde_json::{Value, json};

use super::{
    patterns::injector_annotations,
    team::{INIT, SIDECAR, Team, assert_injected, bare, template},
};
use crate::support::{create, eventually, other_webhook::OtherWebhook, release::Release};

/// Where the API server mounts its token in every container without a mount there.
const API_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

const SECRET: (&str, &str) = ("inject-secret-db.json", "environments/production/billing/database");

/// A namespace with an injector that is only called for its pods.
async fn team(prefix: &str) -> Team {
    let release: &'static Release = Box::leak(Box::new(Release::install(prefix, json!({})).await));
    let team = Team { release, client: release.client().await, namespace: release.namespace(prefix).await };
    // From here on, the namespace and its service account are in the injector's cache.
    let pod = bare("known", &template("app", &injector_annotations(&[SECRET])));
    eventually("an injected pod", async || {
        let pod = team.dry_run(&pod).await.ok()?;
        (!inspect::injected_containers(&pod).is_empty()).then_some(())
    })
    .await;
    team
}

/// Creates a pod and counts the calls for it.
async fn calls(team: &Team, pod: &Value) -> (Value, u64) {
    let before = team.release.admissions_without_policies().await;
    let pod = team.create(pod).await.unwrap();
    (pod, team.release.admissions_without_policies().await - before)
}

/// The agents have no token for the API server; all other containers have it.
#[track_caller]
fn assert_api_token_is_for_the_app(pod: &Value) {
    for container in inspect::entries(pod, "containers") {
        let volume = inspect::volume_at(container, API_TOKEN).unwrap_or_default();
        assert!(volume.starts_with("kube-api-access-"), "{container}");
    }
    for agent in inspect::injected_containers(pod) {
        let volume = inspect::volume_at(agent, API_TOKEN).unwrap_or_default();
        assert!(matches!(volume, "scaivault-token" | "scaivault-credentials"), "{agent}");
        assert!(!agent.to_string().contains("kube-api-access-"), "{agent}");
    }
}

#[tokio::test]
async fn a_pod_with_an_api_token_needs_one_call() {
    let team = team("one-call").await;
    let pod = |name: &str, annotations: &[(&str, &str)], spec: Value| {
        let mut pod = bare(name, &template("app", &injector_annotations(&[&[SECRET], annotations].concat())));
        pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        pod
    };
    let sidecar = ("pattern", "sidecar");
    let ca = [("ca-configmap", "ca"), ("client-credentials-secret", "client")];
    for (pod, agents) in [
        (pod("init", &[], json!({})), &[INIT] as &[_]),
        (pod("sidecar", &[sidecar], json!({})), &[SIDECAR]),
        (pod("once", &[sidecar], json!({"restartPolicy": "Never"})), &[INIT, SIDECAR]),
        (pod("below", &[sidecar, ("mount-path", "/var/run/secrets")], json!({})), &[SIDECAR]),
        (pod("credentials", &ca, json!({})), &[INIT]),
        (pod("group", &[], json!({"securityContext": {"fsGroup": 2000}})), &[INIT]),
    ] {
        let (made, calls) = calls(&team, &pod).await;
        let names =
            inspect::injected_containers(&made).into_iter().map(|agent| agent["name"].as_str().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), agents);
        assert_eq!(calls, 1, "{made}");
        assert_api_token_is_for_the_app(&made);
    }

    let without = pod("without", &[], json!({"automountServiceAccountToken": false}));
    let (made, calls) = calls(&team, &without).await;
    assert_injected(&made, &[INIT]);
    assert!(!made.to_string().contains("kube-api-access-"), "{made}");
    assert_eq!(calls, 1);
}

/// Adds another product's container, once.
fn add_container(pod: &mut Value) {
    let containers = pod["spec"]["containers"].as_array_mut().unwrap();
    if inspect::named(containers, "log-shipper").is_none() {
        containers.push(json!({"name": "log-shipper", "image": "log-shipper:1"}));
    }
}

#[tokio::test]
async fn a_container_of_another_webhook_needs_a_second_call() {
    let team = team("two-calls").await;
    // The configuration is called after the release's, whose name is that of its namespace.
    let _other = OtherWebhook::start(&team.client, &team.namespace, "zz-after", add_container).await;
    let pod = bare("app", &template("app", &injector_annotations(&[SECRET])));
    eventually("the other webhook", async || {
        let pod = team.dry_run(&pod).await.unwrap();
        inspect::app_container(&pod, "log-shipper").map(|_| ())
    })
    .await;
    let (made, calls) = calls(&team, &pod).await;
    assert_eq!(inspect::names(inspect::entries(&made, "containers")), ["app", "log-shipper"]);
    assert_injected(&made, &[INIT]);
    assert_api_token_is_for_the_app(&made);
    assert_eq!(calls, 2);
}

/// The range sets a CPU limit on every container before the injector is called, so the injector
/// sets one on the agent.
#[tokio::test]
async fn a_limit_range_with_defaults_needs_no_second_call() {
    let team = team("ranges").await;
    let ranges = team.api("v1", "LimitRange");
    let pod = |name: &str| bare(name, &template("app", &injector_annotations(&[SECRET])));
    for (resource, request, amount) in [("memory", "64Mi", "100Mi"), ("cpu", "20m", "100m")] {
        let defaults = json!([{"type": "Container", "defaultRequest": {resource: request}, "default": {resource: amount}}]);
        create(&ranges, json!({"metadata": {"name": resource}, "spec": {"limits": defaults}})).await.unwrap();
        // The API server observes a new range with a delay.
        eventually("the default of the range", async || {
            let pod = team.dry_run(&pod("probe")).await.unwrap();
            (pod["spec"]["containers"][0]["resources"]["limits"][resource] == amount).then_some(())
        })
        .await;
        let (made, calls) = calls(&team, &pod(resource)).await;
        assert_eq!(calls, 1, "{made}");
        assert_injected(&made, &[INIT]);
        assert_api_token_is_for_the_app(&made);
    }
}
