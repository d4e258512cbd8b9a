//! Pods of every kind of workload are injected.

use serde_json::json;

use super::team::{INIT, Team, assert_injected, bare, template, workload};
use crate::support::{
    self,
    release::{annotations, is_untouched},
};

/// Creates the workload and checks the pods that its controller creates.
async fn assert_pods_are_injected(kind: &str, number: usize) {
    let team = Team::new(&kind.to_lowercase()).await;
    let template = template("app", &annotations());
    let made = team.create(&workload(kind, "app", number, &template)).await.unwrap();
    if kind == "CronJob" {
        team.kubectl().run("create job now --from=cronjob/app").ok();
    }
    // The workload itself is unchanged.
    let template = support::workload::template(&made);
    assert!(is_untouched(template), "{made}");
    assert_eq!(template["metadata"]["annotations"], annotations());
    for pod in team.wait_for_pods("app", number).await {
        assert_injected(&pod, &[INIT]);
    }
}

#[tokio::test]
async fn pods_of_deployments() {
    assert_pods_are_injected("Deployment", 3).await;
}

#[tokio::test]
async fn pods_of_replica_sets() {
    assert_pods_are_injected("ReplicaSet", 2).await;
}

#[tokio::test]
async fn pods_of_stateful_sets() {
    assert_pods_are_injected("StatefulSet", 2).await;
}

#[tokio::test]
async fn pods_of_daemon_sets() {
    let nodes = 2;
    assert_pods_are_injected("DaemonSet", nodes).await;
}

#[tokio::test]
async fn pods_of_jobs() {
    assert_pods_are_injected("Job", 2).await;
}

#[tokio::test]
async fn pods_of_cron_jobs() {
    assert_pods_are_injected("CronJob", 1).await;
}

#[tokio::test]
async fn bare_pods_with_a_name_and_with_a_generated_one() {
    let team = Team::new("bare").await;
    let template = template("app", &annotations());
    assert_injected(&team.create(&bare("app", &template)).await.unwrap(), &[INIT]);
    let mut generated = bare("app", &template);
    generated["metadata"] = json!({"generateName": "app-", "annotations": annotations()});
    let names: Vec<_> = [team.create(&generated).await.unwrap(), team.create(&generated).await.unwrap()]
        .map(|pod| {
            assert_injected(&pod, &[INIT]);
            pod["metadata"]["name"].clone()
        })
        .into();
    assert_ne!(names[0], names[1]);
}
