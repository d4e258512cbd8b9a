//! With `manual`, a restart waits until a user releases it.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::{LEFT_ALONE, RESTART, Workload, check_files, path, rotate, usual};
use crate::{
    app::template,
    injection::{APP, PREFIX},
    kubectl::{hold, wait_for},
    running::AppPod,
    world::World,
};

const NAME: &str = "manual";
/// The service account with the rights that docs/restart.md names.
const RELEASER: &str = "releaser";

/// Releases the restarts of two rotations: by the command, and by the annotation.
pub(crate) fn released(world: &World<'_>) -> Result<String> {
    let (workload, path) = (Workload::deployment(NAME), path(NAME));
    rotate(world, &path, 1)?;
    let manifest = workload.manifest(1, &json!({"restart": "manual"}), usual(world, &path));
    world.kubectl.create(World::RESTARTS, &manifest)?;
    for object in rights() {
        world.kubectl.create(World::RESTARTS, &object)?;
    }
    workload.wait_until_known(world, 1)?;

    let before = workload.uids(world)?;
    rotate(world, &path, 2)?;
    wait_for_release(world, &workload)?;
    hold(LEFT_ALONE, || {
        ensure!(workload.uids(world)? == before, "a restart was not waiting for its release");
        Ok(())
    })?;
    let said = run_command(world, "release", true)?;
    if said.trim() != format!("released the pending restart of Deployment {}/{NAME}", World::RESTARTS) {
        bail!("the command says {said:?}");
    }
    check_files(world, &workload.wait_until_replaced(world, &before)?, 2)?;
    workload.wait_until_current(world, 1)?;
    let said = run_command(world, "release-nothing", false)?;
    if !said.contains("has no pending restart") {
        bail!("without a pending restart, the command says {said:?}");
    }

    let before = workload.uids(world)?;
    rotate(world, &path, 3)?;
    wait_for_release(world, &workload)?;
    let release = format!("{PREFIX}restart-release=second");
    let reference = workload.reference();
    world.kubectl.run(&["annotate", "--overwrite", &reference, "--namespace", World::RESTARTS, &release])?;
    check_files(world, &workload.wait_until_replaced(world, &before)?, 3)?;
    workload.wait_until_current(world, 2)?;
    workload.check_templates(world, 3)?;
    Ok("released by the command and by the annotation; a release without a restart is an error".to_owned())
}

fn wait_for_release(world: &World<'_>, workload: &Workload) -> Result<()> {
    let is_waiting = |record: &Value| record["phase"] == "Waiting" && record["reason"] == "NotReleased";
    workload.wait_for_record(world, "the restart waits for a release", is_waiting).map(drop)
}

fn rights() -> [Value; 3] {
    let role = "rbac.authorization.k8s.io/v1";
    [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": RELEASER}}),
        json!({"apiVersion": role, "kind": "Role", "metadata": {"name": RELEASER}, "rules": [
            {"apiGroups": ["scaivault.scailabs.ai"], "resources": ["rotationrollouts"], "verbs": ["get"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["patch"]},
        ]}),
        json!({
            "apiVersion": role,
            "kind": "RoleBinding",
            "metadata": {"name": RELEASER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": RELEASER},
            "subjects": [{"kind": "ServiceAccount", "name": RELEASER, "namespace": World::RESTARTS}],
        }),
    ]
}

/// Runs `restart` in a pod of the injector's image. Returns its output.
fn run_command(world: &World<'_>, name: &str, succeeds: bool) -> Result<String> {
    let mut pod = crate::app::pod(name, &template(world, &json!({}), ""));
    let container = &mut pod["spec"]["containers"][0];
    container["image"] = json!(world.args.image.to_string());
    container["command"] = Value::Null;
    container["args"] = json!(["restart", format!("deployment/{NAME}"), "--namespace", World::RESTARTS]);
    pod["spec"]["serviceAccountName"] = json!(RELEASER);
    pod["spec"]["restartPolicy"] = json!("Never");
    world.kubectl.create(World::RESTARTS, &pod)?;
    let pod = AppPod { namespace: World::RESTARTS, name: name.to_owned() };
    let expected = if succeeds { "Succeeded" } else { "Failed" };
    let ended = wait_for(&format!("the pod {name} has {expected}"), RESTART, || {
        let phase = pod.object(world)?["status"]["phase"].clone();
        Ok(["Succeeded", "Failed"].iter().any(|end| phase == *end).then_some(phase))
    })?;
    let said = pod.log_of(world, APP)?;
    if ended != expected {
        bail!("the command has {ended}, not {expected}: {said}");
    }
    Ok(said)
}
