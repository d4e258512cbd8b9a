//! Workloads become available and are updated, on simulated nodes.

use serde_json::{Value, json};

use super::team::{INIT, SIDECAR, Team, assert_injected, template, workload};
use crate::support::{eventually, release::annotations, run};

/// Annotations that request a sidecar.
fn refreshed() -> Value {
    let mut annotations = annotations();
    annotations[scaivault_testkit::key("refresh-interval")] = "1m".into();
    annotations
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

#[tokio::test]
async fn a_deployment_of_ten_becomes_available_and_rolls() {
    let team = Team::new("ten").await;
    let app = workload("Deployment", "app", 10, &template("app", &refreshed()));
    team.kubectl().apply(&app).quiet();
    team.kubectl().run("rollout status deployment/app --timeout=60s").ok();
    for image in ["app:2", "app:3"] {
        team.kubectl().run(&format!("set image deployment/app app={image}")).quiet();
        team.kubectl().run("rollout status deployment/app --timeout=60s").ok();
        for pod in team.wait_for_pods("app", 10).await {
            assert_injected(&pod, &[SIDECAR]);
            assert!(is_ready(&pod) && pod["spec"]["containers"][0]["image"] == image, "{pod}");
        }
    }
    team.kubectl().run("rollout undo deployment/app").ok();
    team.kubectl().run("rollout status deployment/app --timeout=60s").ok();
    let pods = team.wait_for_pods("app", 10).await;
    assert!(pods.iter().all(|pod| pod["spec"]["containers"][0]["image"] == "app:2"));
}

#[tokio::test]
async fn a_daemon_set_is_on_every_node() {
    let team = Team::new("every-node").await;
    team.kubectl().apply(&workload("DaemonSet", "app", 0, &template("app", &refreshed()))).quiet();
    team.kubectl().run("rollout status daemonset/app --timeout=60s").ok();
    let pods = team.wait_for_pods("app", 2).await;
    let mut nodes: Vec<_> = pods.iter().map(|pod| pod["spec"]["nodeName"].as_str().unwrap()).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["node-0", "node-1"]);
    for pod in &pods {
        assert_injected(pod, &[SIDECAR]);
    }
}

#[tokio::test]
async fn a_stateful_sets_pods_are_replaced_in_order() {
    let team = Team::new("in-order").await;
    team.kubectl().apply(&workload("StatefulSet", "app", 3, &template("app", &annotations()))).quiet();
    team.kubectl().run("rollout status statefulset/app --timeout=60s").ok();
    assert_eq!(by_revision(&team.pods("app").await), ["app-0", "app-1", "app-2"], "first to last");
    team.kubectl().run("set image statefulset/app app=app:2").quiet();
    team.kubectl().run("rollout status statefulset/app --timeout=60s").ok();
    let pods = team.pods("app").await;
    assert_eq!(by_revision(&pods), ["app-2", "app-1", "app-0"], "last to first");
    for pod in &pods {
        assert_injected(pod, &[INIT]);
        assert_eq!(pod["spec"]["containers"][0]["image"], "app:2");
    }
}

/// The pods' names in the order of their last change, which is when they became ready.
fn by_revision(pods: &[Value]) -> Vec<&str> {
    let revision =
        |pod: &&Value| pod["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    let mut pods: Vec<_> = pods.iter().collect();
    pods.sort_by_key(revision);
    pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_job_of_many_pods_completes() {
    let team = Team::new("job").await;
    team.kubectl().apply(&workload("Job", "app", 4, &template("app", &refreshed()))).quiet();
    team.kubectl().run("wait --for=condition=complete job/app --timeout=60s").ok();
    for pod in team.pods("app").await {
        assert_injected(&pod, &[INIT, SIDECAR]);
    }
}

/// A user's own chart, which does not know about the injection.
#[tokio::test]
async fn helm_waits_for_a_users_chart() {
    let team = Team::new("helm").await;
    let chart = team.release.plane.path().join(&team.namespace);
    let templates = chart.join("templates");
    std::fs::create_dir_all(&templates).unwrap();
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: shop\nversion: 0.1.0\n").unwrap();
    let mut deployment = workload("Deployment", "app", 3, &template("app", &refreshed()));
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "app:{{ .Values.tag }}".into();
    std::fs::write(templates.join("deployment.yaml"), deployment.to_string()).unwrap();
    for tag in ["v1", "v2"] {
        let mut helm = team.release.plane.helm().unwrap();
        helm.args(["upgrade", "--install", "shop"]).arg(&chart).args(["--namespace", &team.namespace]);
        run(helm.args(["--set", &format!("tag={tag}"), "--wait", "--timeout", "60s"]));
        let pods = eventually("the pods of this release", async || {
            let pods = team.pods("app").await;
            (pods.len() == 3 && pods.iter().all(is_ready)).then_some(pods)
        })
        .await;
        for pod in pods {
            assert_injected(&pod, &[SIDECAR]);
            assert_eq!(pod["spec"]["containers"][0]["image"], json!(format!("app:{tag}")));
        }
    }
}
