//! Warnings on settings of pods and Jobs with which injected containers do not work well.

use scaivault_inject::workload::{WorkloadKind, WorkloadView, decide};
use scaivault_testkit::{PodBuilder, key, pod};
use serde_json::{Value, json};

use crate::support::{DATABASE, cluster};

fn warnings(pod: PodBuilder, setting: &str, value: i64) -> Vec<String> {
    let mut pod = pod.json();
    pod["spec"][setting] = value.into();
    cluster().injection(&pod).warnings
}

#[track_caller]
fn one(warnings: &[String], words: &[&str]) {
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(words.iter().all(|word| warnings[0].contains(word)), "{warnings:?}");
}

#[test]
fn a_deadline_before_the_fetch_timeout_is_warned_about() {
    let secret = || pod().annotate("inject-secret-db", DATABASE);
    let deadline = |pod, seconds| warnings(pod, "activeDeadlineSeconds", seconds);
    one(&deadline(secret(), 60), &["activeDeadlineSeconds: 60", "fetch-timeout"]);
    assert!(deadline(secret(), 61).is_empty());
    assert!(deadline(secret().annotate("fetch-timeout", "20s"), 30).is_empty());
}

#[test]
fn a_grace_period_without_time_to_revoke_is_warned_about() {
    let grace = |pod, seconds| warnings(pod, "terminationGracePeriodSeconds", seconds);
    let lease = || pod().annotate("inject-dynamic-db", "engine=pg role=r");
    one(&grace(lease(), 0), &["terminationGracePeriodSeconds: 0", "revoke", "set 5 or more"]);
    assert!(grace(lease(), 5).is_empty());
    assert!(grace(pod().annotate("inject-secret-db", DATABASE), 0).is_empty());
}

#[test]
fn exit_codes_that_count_the_agents_are_warned_about() {
    let policy = |name: Value| json!({"rules": [{"action": "FailJob", "onExitCodes": {"containerName": name, "operator": "In", "values": [1]}}]});
    let template = json!({
        "metadata": {"annotations": {key("inject-secret-db"): DATABASE}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "app", "image": "x"}]},
    });
    let job = |name: Value| json!({"spec": {"podFailurePolicy": policy(name), "template": template}});
    let cluster = cluster();
    for (kind, object) in [
        (WorkloadKind::Job, job(Value::Null)),
        (WorkloadKind::CronJob, json!({"spec": {"jobTemplate": job(Value::Null)}})),
    ] {
        let json = object.to_string();
        let decision = decide(&WorkloadView::parse(kind, &json).unwrap(), &cluster.context());
        one(decision.warnings(), &["podFailurePolicy: rule 1", "fails the Job", "set containerName"]);
    }
    let json = job("app".into()).to_string();
    let decision = decide(&WorkloadView::parse(WorkloadKind::Job, &json).unwrap(), &cluster.context());
    assert!(decision.warnings().is_empty(), "{:?}", decision.warnings());
}
