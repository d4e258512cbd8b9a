//! Pods that say nothing to us do not wait for us.

use serde_json::json;

use super::team::{INIT, Team, assert_injected, bare, template, workload};
use crate::support::release::{Release, annotations, is_untouched};

/// All admissions of a release, whatever was asked, and whatever came of it.
async fn admissions(release: &Release) -> f64 {
    release.metric("scaivault_injector_admission_duration_seconds_count").await
}

#[tokio::test]
async fn pods_and_workloads_without_our_annotations_never_reach_the_webhook() {
    // Of its own, for nobody else may count there.
    let release: &'static Release = Box::leak(Box::new(Release::install("untouched", json!({})).await));
    let (client, namespace) = (release.client().await, release.namespace("untouched").await);
    let team = Team { release, client, namespace };
    let before = admissions(release).await;
    assert!(before > 0.0, "the release was asked while it was installed");

    let foreign = json!({"example.com/inject": "true", "scaivault.example/inject-secret-db": "apps/db"});
    let plain = template("app", &foreign);
    for (kind, replicas) in
        [("Deployment", 20), ("StatefulSet", 6), ("DaemonSet", 0), ("Job", 8), ("CronJob", 4)]
    {
        // A label of its own: bare pods with its selector would become the workload's.
        let mut template = plain.clone();
        template["metadata"]["labels"]["kind"] = kind.into();
        team.create(&workload(kind, &kind.to_lowercase(), replicas, &template)).await.unwrap();
    }
    team.kubectl().run("create job now --from=cronjob/cronjob").ok();
    for number in 0..10 {
        team.create(&bare(&format!("bare-{number}"), &plain)).await.unwrap();
    }
    let pods = team.wait_for_pods("app", 20 + 6 + 2 + 8 + 4 + 10).await;
    assert!(pods.iter().all(is_untouched));
    team.kubectl().run("delete pods --all --wait=false").ok();
    assert!((admissions(release).await - before).abs() < 0.5, "the webhook was called");

    // One that has reason to would have been counted.
    assert_injected(
        &team.create(&bare("annotated", &template("late", &annotations()))).await.unwrap(),
        &[INIT],
    );
    assert!(admissions(release).await > before);
}
