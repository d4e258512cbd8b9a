//! A policy gives secrets to pods of a namespace in which nothing has an annotation, and limits what they may ask for.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    app::{CA, SCRIPT, deployment, template},
    injection::{APP, PREFIX},
    kubectl::wait_for,
    patterns::has_variables_of_files,
    running::{Running, START},
    vault::seed,
    world::World,
};

/// The policy's name.
const NAME: &str = "scaivault-e2e";
/// Until a policy that was written is in force on every replica, and its status says so.
const SOON: Duration = Duration::from_mins(1);

/// A file and a variable without an annotation anywhere, a refusal, and the status of the policy.
pub(super) fn gives_and_limits(world: &World<'_>) -> Result<String> {
    prepare(world)?;
    let has_variables = has_variables_of_files(world)?;
    let mut inject =
        json!({"secrets": [{"name": "db.json", "path": "environments/${environment}/billing/database"}]});
    if has_variables {
        inject["variables"] =
            json!([{"name": "DB_PASSWORD", "secret": format!("{}#password", seed::DATABASE)}]);
    }
    let policy = json!({
        "apiVersion": "scaivault.scailabs.ai/v1alpha1",
        "kind": "InjectionPolicy",
        "metadata": {"name": NAME},
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": World::POLICIES}},
            "environment": "production",
            "inject": inject,
            "defaults": {"ca-configmap": CA},
            "allow": {"paths": ["environments/${environment}/billing/**"]},
        },
    });
    world.kubectl.create(World::POLICIES, &policy)?;
    let plain = deployment("plain", template(world, &json!({}), SCRIPT));
    wait_for("the policy is in force", SOON, || {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": plain["spec"]["template"]["spec"]});
        let made = world.kubectl.dry_run(World::POLICIES, &pod)?;
        Ok(made.to_string().contains("scaivault-secrets").then_some(()))
    })?;

    world.kubectl.create(World::POLICIES, &plain)?;
    let pod = ready(world)?;
    let database: Value = serde_json::from_str(&pod.said(world, "start db.json: ")?)?;
    if database != seed::database(1) {
        bail!("db.json has other data");
    }
    let variable = pod.said(world, "variable: ")?;
    if has_variables && variable != seed::password(1) {
        bail!("the variable is {variable:?}");
    }
    refuses(world)?;
    status(world)?;
    world.kubectl.delete(World::POLICIES, &["injectionpolicy", NAME])?;
    let what = if has_variables { "a file and a variable" } else { "a file" };
    Ok(format!("a Deployment without annotations reads {what}, and a path outside of the limits is refused"))
}

/// The namespace: every pod of it is sent to the injector.
fn prepare(world: &World<'_>) -> Result<()> {
    for label in ["pod-security.kubernetes.io/enforce=restricted", "scaivault.scailabs.ai/injection=enabled"]
    {
        world.kubectl.run(&["label", "namespace", World::POLICIES, label])?;
    }
    let ca = format!("--from-file=ca.crt={}", world.vault.ca_file().display());
    world.kubectl.run(&["create", "configmap", CA, "--namespace", World::POLICIES, &ca])
}

fn ready(world: &World<'_>) -> Result<Running> {
    let timeout = format!("--timeout={}s", START.as_secs());
    world.kubectl.text(&[
        "rollout",
        "status",
        "deployment/plain",
        "--namespace",
        World::POLICIES,
        &timeout,
    ])?;
    let pods = world.kubectl.items(&[
        "pods",
        "--namespace",
        World::POLICIES,
        "--selector",
        &format!("{APP}=plain"),
    ])?;
    let name = pods.first().and_then(|pod| pod.pointer("/metadata/name")?.as_str());
    let name = name.context("the Deployment has no pod")?;
    Ok(Running { namespace: World::POLICIES, name: name.to_owned() })
}

fn refuses(world: &World<'_>) -> Result<()> {
    let annotations = json!({"inject-secret-payroll.json": seed::DENIED});
    let mut pod = template(world, &annotations, SCRIPT);
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("outside");
    let Err(error) = world.kubectl.create(World::POLICIES, &pod) else {
        bail!("a pod with a path outside of the policy's limits was created");
    };
    let said = format!("{error:#}");
    for word in [NAME, seed::DENIED, &format!("{PREFIX}inject-secret-payroll.json")] {
        if !said.contains(word) {
            bail!("the refusal does not name {word}: {said}");
        }
    }
    Ok(())
}

fn status(world: &World<'_>) -> Result<()> {
    wait_for("the policy's status has the pods", SOON * 2, || {
        let policy = world.kubectl.json(&["get", "injectionpolicy", NAME, "--output=json"])?;
        let count = |what: &str| policy["status"]["pods"][what].as_u64().unwrap_or_default();
        Ok((count("injected") >= 1 && count("refused") >= 1).then_some(()))
    })
}
