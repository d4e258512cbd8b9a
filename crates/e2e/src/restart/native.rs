//! Native Secrets as variables, which are followed only if they are selected.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::{LEFT_ALONE, Workload, value};
use crate::{
    app::{SCRIPT, template, wait_for_rollout},
    injection::PREFIX,
    kubectl::hold,
    world::World,
};

/// Secret and Deployment: selected by the Secret, by the workload, and by neither.
const BY_SECRET: &str = "by-secret";
const BY_WORKLOAD: &str = "by-workload";
const UNSELECTED: &str = "unselected";

/// New data restarts the workloads that request it; a label and an unselected Secret restart none.
pub(crate) fn selected(world: &World<'_>) -> Result<String> {
    create(world, BY_SECRET, &json!({format!("{PREFIX}restart"): "auto"}), &json!({}))?;
    create(world, BY_WORKLOAD, &json!({}), &json!({"restart-secrets": "by-work*"}))?;
    create(world, UNSELECTED, &json!({}), &json!({}))?;
    let [by_secret, by_workload, unselected] = [BY_SECRET, BY_WORKLOAD, UNSELECTED].map(Workload::deployment);
    by_secret.wait_until_known(world, 1)?;
    by_workload.wait_until_known(world, 1)?;
    wait_for_rollout(world, World::RESTARTS, &unselected.reference())?;
    let (before, untouched) = (by_secret.uids(world)?, unselected.uids(world)?);

    world.kubectl.run(&["label", "secret", BY_SECRET, "--namespace", World::RESTARTS, "team=billing"])?;
    hold(LEFT_ALONE, || {
        ensure!(by_secret.uids(world)? == before, "a label of the Secret has restarted the workload");
        Ok(())
    })?;
    let mut times = Vec::new();
    for workload in [&by_secret, &by_workload] {
        let before = workload.uids(world)?;
        let started = Instant::now();
        write(world, &workload.name)?;
        for pod in workload.wait_until_replaced(world, &before)? {
            if pod.said(world, "variable: ")? != value(2) {
                bail!("the variable of the new pod {} is not the new one", pod.name);
            }
        }
        times.push(format!("{:.1} s", started.elapsed().as_secs_f64()));
        workload.wait_until_current(world, 1)?;
        workload.check_templates(world, 2)?;
    }
    write(world, UNSELECTED)?;
    hold(LEFT_ALONE, || {
        ensure!(
            unselected.uids(world)? == untouched,
            "a Secret that nothing selects has restarted its workload"
        );
        Ok(())
    })?;
    if !unselected.record(world)?.is_null() {
        bail!("a workload whose Secret nothing selects has a RotationRollout");
    }
    Ok(format!(
        "variables are new after {}; a label, or a Secret without the opt-in, restarts none",
        times.join(", ")
    ))
}

/// Writes new data into a Secret.
fn write(world: &World<'_>, name: &str) -> Result<()> {
    let patch = json!({"stringData": {"password": value(2)}}).to_string();
    let args = ["patch", "secret", name, "--namespace", World::RESTARTS, "--type=merge", "--patch", &patch];
    world.kubectl.text(&args).map(drop)
}

/// A Secret, and a Deployment with a variable of it.
fn create(world: &World<'_>, name: &str, of_secret: &Value, of_workload: &Value) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "annotations": of_secret},
        "stringData": {"password": value(1)},
    });
    world.kubectl.create(World::RESTARTS, &secret)?;
    let mut template = template(world, &json!({}), SCRIPT);
    let key = json!({"secretKeyRef": {"name": name, "key": "password"}});
    template["spec"]["containers"][0]["env"] = json!([{"name": "DB_PASSWORD", "valueFrom": key}]);
    let manifest = Workload::deployment(name).manifest(1, of_workload, template);
    world.kubectl.create(World::RESTARTS, &manifest)
}
