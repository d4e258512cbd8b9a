//! Pods without the injector's annotations do not wait for the injector.

use serde_json::json;

use super::team::{INIT, Team, assert_injected, bare, template, workload};
use crate::support::release::{Release, annotations, is_untouched};

#[tokio::test]
async fn objects_without_annotations_never_reach_the_webhook() {
    // Uses its own release, because the admissions of other tests must not be counted.
    let release: &'static Release = Box::leak(Box::new(Release::install("untouched", json!({})).await));
    let (client, namespace) = (release.client().await, release.namespace("untouched").await);
    let team = Team { release, client, namespace };
    let before = release.admissions_without_policies().await;
    assert!(before > 0, "the release was asked while it was installed");

    let foreign = json!({"example.com/inject": "true", "scaivault.example/inject-secret-db": "apps/db"});
    let plain = template("app", &foreign);
    for (kind, replicas) in
        [("Deployment", 20), ("StatefulSet", 6), ("DaemonSet", 0), ("Job", 8), ("CronJob", 4)]
    {
        // Its own label: bare pods that match the workload's selector would be adopted.
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
    assert_eq!(release.admissions_without_policies().await, before, "the webhook was called");

    // An annotated pod is counted, which shows that the counter works.
    assert_injected(
        &team.create(&bare("annotated", &template("late", &annotations()))).await.unwrap(),
        &[INIT],
    );
    assert!(release.admissions_without_policies().await > before);
}
