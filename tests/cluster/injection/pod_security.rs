//! Namespaces that enforce the Pod Security Standards.

use scaivault_testkit::inspect;
use serde_json::{Value, json};

use super::{
    patterns::injector_annotations,
    team::{Team, VARIABLES_SINCE, bare, minor_version, template},
};

const SECRET: (&str, &str) = ("inject-secret-db.json", "environments/production/billing/database");
const LEASE: (&str, &str) = ("inject-dynamic-pg.json", "engine=postgres-prod role=readonly");
const VARIABLE: (&str, &str) = ("inject-env-KEY", "billing/stripe#secret_key");
const SIGNAL: (&str, &str) = ("reload-signal", "SIGHUP");
const TARGET: (&str, &str) = ("reload-target", "app");

async fn team(level: &str) -> Team {
    let team = Team::new(level).await;
    team.change_namespace(json!({"labels": {"pod-security.kubernetes.io/enforce": level}})).await;
    team
}

/// A pod that satisfies `restricted` before the injection.
fn restricted(annotations: &[(&str, &str)]) -> Value {
    let mut pod = bare("app", &template("app", &injector_annotations(annotations)));
    pod["spec"]["securityContext"] =
        json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    pod["spec"]["containers"][0]["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    pod
}

#[tokio::test]
async fn every_injected_container_is_restricted() {
    let team = team("restricted").await;
    // The namespace does enforce the standard.
    let refused = team.dry_run(&bare("app", &template("app", &json!({})))).await.unwrap_err();
    assert!(refused.to_string().contains("violates PodSecurity"), "{refused}");
    let mut cases: Vec<&[(&str, &str)]> = vec![
        &[SECRET],
        &[SECRET, ("pattern", "sidecar")],
        &[SECRET, ("pattern", "sidecar"), ("start-gate", "probe")],
        &[LEASE, SECRET],
        &[SECRET, ("client-credentials-secret", "scaikey"), ("ca-configmap", "ca")],
        &[SECRET, SIGNAL, TARGET, ("run-as-user", "101")],
    ];
    if minor_version(&team.client).await >= VARIABLES_SINCE {
        cases.push(&[VARIABLE, SECRET]);
    }
    for annotations in cases {
        for restart_policy in ["Always", "Never"] {
            let mut pod = restricted(annotations);
            pod["spec"]["restartPolicy"] = restart_policy.into();
            let pod = team.dry_run(&pod).await.unwrap_or_else(|error| panic!("{annotations:?}: {error}"));
            assert!(!inspect::injected_containers(&pod).is_empty(), "{pod}");
        }
    }
}

/// A target whose user is unknown can only be signalled by root, which only a baseline namespace
/// allows.
#[tokio::test]
async fn a_sidecar_that_has_to_signal_an_unknown_user_is_baseline() {
    let unknown = [SECRET, SIGNAL, TARGET];
    let restricted_team = team("restricted").await;
    let refused = restricted_team.dry_run(&restricted(&unknown)).await.unwrap_err().to_string();
    assert!(refused.contains("run-as-user"), "the fix: {refused}");
    let team = team("baseline").await;
    let pod = team.dry_run(&bare("app", &template("app", &injector_annotations(&unknown)))).await.unwrap();
    assert_eq!(
        inspect::init_container(&pod, "scaivault-sidecar").unwrap()["securityContext"]["runAsUser"],
        0
    );
}
