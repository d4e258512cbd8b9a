//! Runs a migration according to its plan: every command that needs no running container, forward
//! and back.

use std::{fs, path::Path, process::Command};

use scaivault_testkit::inspect;
use serde_json::Value;

use super::team::{SECRETS, SIDECAR, Team};
use crate::support::{eventually, run};

/// A Deployment that mounts a native Secret, and the Secret.
fn manifest(namespace: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: db, namespace: {namespace}}}\nstringData: {{password: swordfish}}\n\
         ---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: billing, namespace: {namespace}}}\nspec:\n  \
         selector: {{matchLabels: {{app: billing}}}}\n  template:\n    metadata: {{labels: {{app: billing}}}}\n    spec:\n      \
         containers:\n      - name: app   # the only one\n        image: app:1\n        volumeMounts:\n        \
         - {{name: db, mountPath: /etc/billing/db}}\n      volumes:\n      - {{name: db, secret: {{secretName: db}}}}\n"
    )
}

/// The plan of the migration of the manifest in that directory.
fn migrate(directory: &Path) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scaivault-injector"));
    command.args([
        "migrate",
        "-f",
        "app.yaml",
        "--output-dir",
        "out",
        "--path",
        "environments/prod/billing/${secret}",
    ]);
    run(command.current_dir(directory));
    serde_json::from_str(&fs::read_to_string(directory.join("out/plan.json")).unwrap()).unwrap()
}

/// Runs the steps of a phase unchanged.
fn run_steps(team: &Team, directory: &Path, steps: &Value, phase: &str) {
    let steps = steps.as_array().unwrap().iter().filter(|step| step["phase"] == phase);
    let mut count = 0;
    for step in steps {
        let words: Vec<&str> =
            step["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let ["kubectl", words @ ..] = words.as_slice() else { panic!("{words:?}") };
        // The simulated nodes run no containers.
        if ["logs", "exec"].contains(&words[0]) {
            continue;
        }
        run(team.release.plane.kubectl().unwrap().args(words).current_dir(directory.join("out")));
        count += 1;
    }
    assert!(count > 0, "no step of {phase}");
}

async fn template(team: &Team) -> Value {
    let deployment = team.api("apps/v1", "Deployment").get("billing").await.unwrap();
    serde_json::to_value(deployment).unwrap()["spec"]["template"].take()
}

/// The only pod, once the previous one is gone.
async fn pod(team: &Team, is_injected: bool) -> Value {
    let only = async || {
        let pods = team.pods("billing").await;
        let [pod] = pods.as_slice() else { return None };
        (inspect::injected_containers(pod).is_empty() != is_injected).then(|| pod.clone())
    };
    eventually("the pod of the migrated Deployment", only).await
}

#[tokio::test]
async fn a_plan_runs_forward_and_back() {
    let team = Team::new("migration").await;
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("app.yaml"), manifest(&team.namespace)).unwrap();
    let mut apply = team.release.plane.kubectl().unwrap();
    run(apply.args(["apply", "-f", "app.yaml"]).current_dir(directory.path()));
    let before = template(&team).await;
    let plan = migrate(directory.path());
    let batch = &plan["batches"][0];
    for phase in ["compare", "baseline", "apply", "rollout", "latency"] {
        run_steps(&team, directory.path(), &batch["steps"], phase);
    }
    let injected = pod(&team, true).await;
    let app = inspect::app_container(&injected, "app").unwrap();
    assert_eq!(inspect::mount(app, SECRETS).unwrap()["mountPath"], "/etc/billing/db");
    let agents = inspect::injected_containers(&injected);
    assert_eq!(agents[0]["name"], SIDECAR);
    let files = inspect::env(agents[0], "WATCH_PATHS").unwrap();
    assert!(
        files.starts_with("environments/prod/billing/db#password -> /etc/billing/db/password"),
        "{files}"
    );
    assert!(!injected.to_string().contains("secretName"), "{injected}");

    run_steps(&team, directory.path(), &batch["rollback"], "rollback");
    assert_eq!(template(&team).await, before);
    pod(&team, false).await;
    // According to the manifests, nothing uses the Secret after the migration.
    assert_eq!(plan["finish"][0]["command"][4], "db");
}
