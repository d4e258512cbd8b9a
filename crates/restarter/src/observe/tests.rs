use serde_json::json;

use super::*;

fn deployment(wanted: i64, total: i64, updated: i64, available: i64) -> Value {
    json!({
        "metadata": {"generation": 4},
        "spec": {"replicas": wanted},
        "status": {"observedGeneration": 4, "replicas": total, "updatedReplicas": updated, "availableReplicas": available},
    })
}

#[test]
fn a_deployment_progresses_until_old_pods_have_ended() {
    for (counts, expected) in [
        ((3, 3, 3, 3), Progress::Complete),
        ((3, 4, 2, 3), Progress::Progressing),
        ((3, 4, 3, 3), Progress::Progressing),
        ((3, 3, 3, 2), Progress::Unavailable),
        ((0, 0, 0, 0), Progress::Complete),
    ] {
        let (wanted, total, updated, available) = counts;
        let object = deployment(wanted, total, updated, available);
        assert_eq!(state(Kind::Deployment, &object).progress, expected, "{counts:?}");
    }
}

#[test]
fn a_status_of_an_older_generation_is_ignored() {
    let mut object = deployment(1, 1, 1, 1);
    object["metadata"]["generation"] = 5.into();
    assert_eq!(state(Kind::Deployment, &object).progress, Progress::Progressing);
}

#[test]
fn an_exceeded_deadline_is_seen() {
    let mut object = deployment(3, 4, 1, 3);
    object["status"]["conditions"] =
        json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
    assert_eq!(state(Kind::Deployment, &object).progress, Progress::DeadlineExceeded);
}

#[test]
fn a_stateful_set_rolls_to_its_partition() {
    let set = |partition: i64, updated: i64, current: &str| {
        json!({
            "metadata": {"generation": 1},
            "spec": {"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}},
            "status": {"observedGeneration": 1, "replicas": 3, "updatedReplicas": updated, "availableReplicas": 3,
                       "currentRevision": current, "updateRevision": "b"},
        })
    };
    for (object, expected) in [
        (set(0, 2, "a"), Progress::Progressing),
        (set(1, 2, "a"), Progress::Complete),
        (set(0, 0, "b"), Progress::Complete),
    ] {
        assert_eq!(state(Kind::StatefulSet, &object).progress, expected, "{object}");
    }
    let on_delete = json!({"spec": {"updateStrategy": {"type": "OnDelete"}}});
    assert!(state(Kind::StatefulSet, &on_delete).is_on_delete);
    let partition = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}});
    assert!(state(Kind::StatefulSet, &partition).is_partitioned);
    assert!(!state(Kind::StatefulSet, &on_delete).is_partitioned);
}

#[test]
fn deployments_have_their_own_deadline() {
    let deadline = |seconds: i64| {
        state(Kind::Deployment, &json!({"spec": {"progressDeadlineSeconds": seconds}})).deadline
    };
    assert_eq!(state(Kind::Deployment, &json!({})).deadline, Some(600));
    assert_eq!(state(Kind::StatefulSet, &json!({})).deadline, None);
    assert_eq!(deadline(3600), Some(3600));
    for too_long in [i64::from(i32::MAX), 1_000_000, -1] {
        assert_eq!(deadline(too_long), None, "{too_long}");
    }
}

#[test]
fn a_running_pod_is_not_always_ready() {
    let mut found = pod_of("StatefulSet", "db", json!({}));
    assert!(!pod(&found).unwrap().1.is_ready);
    for status in ["False", "True"] {
        found["status"]["conditions"] =
            json!([{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": status}]);
        assert_eq!(pod(&found).unwrap().1.is_ready, status == "True");
    }
}

#[test]
fn a_daemon_set_counts_nodes() {
    let set = |updated: i64, available: i64| {
        json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "desiredNumberScheduled": 3,
               "currentNumberScheduled": 3, "updatedNumberScheduled": updated, "numberAvailable": available}})
    };
    assert_eq!(state(Kind::DaemonSet, &set(2, 3)).progress, Progress::Progressing);
    assert_eq!(state(Kind::DaemonSet, &set(3, 2)).progress, Progress::Unavailable);
    let complete = state(Kind::DaemonSet, &set(3, 3));
    assert_eq!((complete.progress, complete.replicas), (Progress::Complete, 3));
}

#[test]
fn an_argo_rollout_has_finished_its_restart() {
    let rollout = |phase: &str, restarted: &str| json!({"spec": {"restartAt": "2026-11-27T00:00:00Z"}, "status": {"phase": phase, "restartedAt": restarted}});
    let progress = |object| state(Kind::Rollout, &object).progress;
    assert_eq!(progress(rollout("Healthy", "2026-11-27T00:00:00Z")), Progress::Complete);
    assert_eq!(progress(rollout("Healthy", "2026-11-26T00:00:00Z")), Progress::Progressing);
    assert_eq!(progress(rollout("Degraded", "2026-11-27T00:00:00Z")), Progress::DeadlineExceeded);
    let paused = json!({"status": {"pauseConditions": [{"reason": "CanaryPauseStep"}]}});
    assert!(state(Kind::Rollout, &paused).is_paused);
}

#[expect(clippy::needless_pass_by_value, reason = "callers write JSON in place")]
fn pod_of(kind: &str, name: &str, labels: Value) -> Value {
    json!({
        "metadata": {
            "namespace": "team", "creationTimestamp": "2026-09-21T14:13:20Z", "labels": labels,
            "annotations": {MARKER: "secret:a=@1"},
            "ownerReferences": [{"kind": "Node", "name": "x"}, {"kind": kind, "name": name, "controller": true}],
        },
        "status": {"phase": "Running"},
    })
}

#[test]
fn a_pod_belongs_to_the_workload_of_its_replica_set() {
    for (kind, name, labels, expected) in [
        ("ReplicaSet", "web-5d", json!({"pod-template-hash": "5d"}), Some("Deployment team/web")),
        ("ReplicaSet", "web-5d", json!({"rollouts-pod-template-hash": "5d"}), Some("Rollout team/web")),
        ("ReplicaSet", "web-5d", json!({"pod-template-hash": "6e"}), None),
        ("ReplicaSet", "web", json!({}), None),
        ("StatefulSet", "db", json!({}), Some("StatefulSet team/db")),
        ("DaemonSet", "log", json!({}), Some("DaemonSet team/log")),
        ("Job", "once", json!({}), None),
    ] {
        let found = pod(&pod_of(kind, name, labels));
        assert_eq!(found.map(|(key, _)| key.to_string()).as_deref(), expected);
    }
    let (_, found) = pod(&pod_of("StatefulSet", "db", json!({}))).unwrap();
    assert_eq!((found.created, found.marker), (1_790_000_000, digest(&["secret:a=@1"])));
}

#[test]
fn ended_and_deleted_pods_do_not_count() {
    let mut ended = pod_of("StatefulSet", "db", json!({}));
    ended["status"]["phase"] = "Failed".into();
    assert!(pod(&ended).is_none());
    let mut deleted = pod_of("StatefulSet", "db", json!({}));
    deleted["metadata"]["deletionTimestamp"] = "2026-09-21T14:13:20Z".into();
    assert!(pod(&deleted).is_none());
}

#[test]
fn crashing_and_starting_containers_are_distinguished() {
    let failing = |status: Value| is_failing(&json!({"status": {"containerStatuses": [status]}}));
    assert!(failing(json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}})));
    assert!(failing(json!({"state": {"waiting": {"reason": "CreateContainerConfigError"}}})));
    assert!(!failing(json!({"state": {"waiting": {"reason": "ContainerCreating"}}})));
    let between = |restarts: i64, ready: bool| json!({"state": {"running": {}}, "ready": ready, "restartCount": restarts, "lastState": {"terminated": {"exitCode": 1}}});
    assert!(failing(between(3, false)));
    assert!(!failing(between(3, true)));
    assert!(!failing(between(1, false)));
    let init = json!({"status": {"initContainerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}});
    assert!(is_failing(&init));
}

#[test]
fn the_last_crash_of_a_pod_is_known() {
    let ended = |code: i64, at: &str| json!({"terminated": {"exitCode": code, "finishedAt": at}});
    let status = |state: Value, last: Value| json!({"state": state, "lastState": last, "ready": true});
    let mut found = pod_of("StatefulSet", "db", json!({}));
    found["status"]["containerStatuses"] = json!([
        status(json!({"running": {}}), ended(1, "2026-09-21T14:13:20Z")),
        status(ended(137, "2026-09-21T14:13:25Z"), json!({})),
        status(json!({"running": {}}), ended(0, "2026-09-21T15:00:00Z")),
    ]);
    assert_eq!(pod(&found).unwrap().1.crashed_at, 1_790_000_005);
    found["status"]["containerStatuses"] = json!([status(json!({"running": {}}), json!({}))]);
    assert_eq!(pod(&found).unwrap().1.crashed_at, 0);
}

#[test]
fn writes_of_data_owners_change_a_native_secret() {
    let metadata = json!({
        "creationTimestamp": "2026-09-21T14:13:20Z",
        "managedFields": [
            {"time": "2026-09-21T14:13:25Z", "fieldsV1": {"f:data": {"f:a": {}}}},
            {"time": "2026-09-21T15:00:00Z", "fieldsV1": {"f:metadata": {"f:labels": {}}}},
        ],
    });
    assert_eq!(secret_version(&metadata), Some(Version::Numbered { time: 1_790_000_005, number: 0 }));
    // If one manager owns both, the changed field is not known.
    let both = json!({
        "creationTimestamp": "2026-09-21T14:13:20Z",
        "managedFields": [
            {"time": "2026-09-21T14:13:25Z", "fieldsV1": {"f:data": {"f:a": {}}, "f:metadata": {"f:labels": {}}}},
        ],
    });
    assert_eq!(secret_version(&both), Some(Version::Numbered { time: 1_790_000_005, number: 0 }));
    let bare = json!({"creationTimestamp": "2026-09-21T14:13:20Z"});
    assert_eq!(secret_version(&bare), Some(Version::Numbered { time: 1_790_000_000, number: 0 }));
}

#[test]
fn a_driver_status_is_identified_by_its_objects() {
    let status = |generation: i64, objects: Value| {
        let object = json!({
            "metadata": {"generation": generation},
            "status": {"podName": "web-1", "secretProviderClassName": "files", "objects": objects},
        });
        class_status(&object).unwrap()
    };
    let first = status(1, json!([{"id": "a", "version": "1"}, {"id": "b", "version": "1"}]));
    let sorted = status(2, json!([{"id": "b", "version": "1"}, {"id": "a", "version": "1"}]));
    let other = status(2, json!([{"id": "a", "version": "2"}, {"id": "b", "version": "1"}]));
    assert_eq!((first.label, first.is_changed), (sorted.label, false));
    assert!(other.label != first.label && other.is_changed);
}
