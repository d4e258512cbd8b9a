//! Namespaces with limits on the resources of their pods.

use scaivault_testkit::inspect;
use serde_json::{Value, json};

use super::{
    patterns::injector_annotations,
    team::{INIT, SIDECAR, Team, assert_injected, bare, minor_version, template, workload},
};
use crate::support::{create, eventually, release::annotations};

/// A template whose app sets its resources.
fn sized(annotations: &Value) -> Value {
    let mut template = template("app", annotations);
    let amounts = json!({"cpu": "50m", "memory": "64Mi"});
    template["spec"]["containers"][0]["resources"] = json!({"requests": amounts, "limits": amounts});
    template
}

#[tokio::test]
async fn a_quota_on_memory_accepts_injected_pods() {
    let team = Team::new("quota").await;
    let hard = json!({"requests.cpu": "2", "requests.memory": "1Gi", "limits.memory": "1Gi", "pods": "5"});
    let quotas = team.api("v1", "ResourceQuota");
    create(&quotas, json!({"metadata": {"name": "all"}, "spec": {"hard": hard}})).await.unwrap();
    // Pods are rejected until the quota's usage has been computed.
    let used = async |resource: &str| {
        quotas.get("all").await.unwrap().data["status"]["used"][resource].as_str().map(str::to_owned)
    };
    eventually("the quota's status", async || used("pods").await).await;

    // The quota does reject pods without resources.
    let refused = team.dry_run(&bare("app", &template("app", &json!({})))).await.unwrap_err().to_string();
    assert!(refused.contains("must specify"), "{refused}");
    let pod = team.create(&bare("once", &sized(&annotations()))).await.unwrap();
    assert_injected(&pod, &[INIT]);
    team.create(&workload("Deployment", "web", 3, &sized(&annotations()))).await.unwrap();
    team.wait_for_pods("app", 4).await;
    let mut refreshed = annotations();
    refreshed[scaivault_testkit::key("pattern")] = "sidecar".into();
    let pod = team.create(&bare("second", &sized(&refreshed))).await.unwrap();
    assert_injected(&pod, &[SIDECAR]);
    // Five apps; an init container ends before its app starts, but a sidecar's share is added to
    // it.
    eventually("the use of five pods", async || used("limits.memory").await.filter(|used| used == "352Mi"))
        .await;
}

/// A namespace with these defaults for containers that set none.
async fn team_with_defaults(requests: &Value, limits: &Value) -> Team {
    let team = Team::new("limits").await;
    let range = json!({"type": "Container", "max": {"cpu": "1", "memory": "128Mi"}, "min": {"cpu": "5m", "memory": "8Mi"},
        "default": limits, "defaultRequest": requests});
    let ranges = team.api("v1", "LimitRange");
    create(&ranges, json!({"metadata": {"name": "all"}, "spec": {"limits": [range]}})).await.unwrap();
    // The API server observes a new range with a delay.
    eventually("the default of the range", async || {
        let pod = team.dry_run(&bare("app", &template("app", &json!({})))).await.unwrap();
        (pod["spec"]["containers"][0]["resources"]["limits"] == *limits).then_some(())
    })
    .await;
    team
}

const SECRET: (&str, &str) = ("inject-secret-db.json", "environments/production/billing/database");

/// A pod of one pattern, and the resources of its injected container.
async fn made(team: &Team, pattern: &str) -> (Value, Value) {
    let pod = bare(pattern, &template("app", &injector_annotations(&[SECRET, ("pattern", pattern)])));
    let pod = team.create(&pod).await.unwrap();
    let [injected] = inspect::injected_containers(&pod)[..] else { panic!("{pod}") };
    let resources = injected["resources"].clone();
    (pod, resources)
}

#[tokio::test]
async fn a_limit_range_finds_nothing_to_refuse() {
    let requests = json!({"cpu": "20m", "memory": "64Mi"});
    let team = team_with_defaults(&requests, &json!({"cpu": "100m", "memory": "100Mi"})).await;
    for pattern in ["init", "sidecar"] {
        let (pod, resources) = made(&team, pattern).await;
        assert_eq!(resources["requests"], json!({"cpu": "10m", "memory": "16Mi"}));
        // The injector's own CPU limit, because the range sets one on every container of the pod.
        assert_eq!(resources["limits"], json!({"cpu": "50m", "memory": "32Mi"}));
        assert_eq!(pod["status"]["qosClass"], "Burstable");
    }
}

#[tokio::test]
async fn a_limit_ranges_guaranteed_pod_stays_guaranteed() {
    let amounts = json!({"cpu": "100m", "memory": "100Mi"});
    let team = team_with_defaults(&amounts, &amounts).await;
    for pattern in ["init", "sidecar"] {
        let (pod, resources) = made(&team, pattern).await;
        assert_eq!(resources["requests"], resources["limits"]);
        assert_eq!(pod["status"]["qosClass"], "Guaranteed");
    }
}

/// The first minor version with pod-level resources without a feature gate.
const POD_LEVEL_SINCE: u16 = 34;

/// Pod-level requests are a budget that the user distributed without the injector's containers: the
/// API server rejects containers whose sum exceeds it, and its limits determine the pod's
/// `qosClass`.
#[tokio::test]
async fn a_pod_with_own_amounts_keeps_its_class_and_budget() {
    let team = Team::new("budget").await;
    if minor_version(&team.client).await < POD_LEVEL_SINCE {
        // The API server drops the field.
        return;
    }
    let amounts = json!({"cpu": "100m", "memory": "64Mi"});
    for pattern in ["init", "sidecar"] {
        let mut pod = bare(pattern, &template("app", &injector_annotations(&[SECRET, ("pattern", pattern)])));
        // The app uses the whole budget.
        pod["spec"]["containers"][0]["resources"] = json!({"requests": amounts});
        for (budget, class) in [
            (json!({"requests": amounts}), "Burstable"),
            (json!({"requests": amounts, "limits": amounts}), "Guaranteed"),
            (json!({"limits": amounts}), "Guaranteed"),
        ] {
            pod["spec"]["resources"] = budget;
            let made = team.dry_run(&pod).await.unwrap();
            assert_eq!(inspect::injected_containers(&made).len(), 1, "{made}");
            assert_eq!(made["status"]["qosClass"], class);
        }
    }
}
