//! A policy injects secrets into pods of a namespace without annotations, and limits what they may
//! request.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{
    app::{CA, SCRIPT, create_ca, deployment, ready_in, template},
    injection::PREFIX,
    kubectl::wait_for,
    patterns::has_variables_of_files,
    vault::seed,
    world::World,
};

const NAME: &str = "scaivault-e2e";
/// The timeout until a policy is in force on every replica and its status is updated.
const SOON: Duration = Duration::from_mins(1);

/// A file and a variable without annotations, a rejection, and the status of the policy.
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
    let probe = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": plain["spec"]["template"]["spec"]});
    wait_for("the policy is in force", SOON, || Ok(is_injected(world, &probe)?.then_some(())))?;

    world.kubectl.create(World::POLICIES, &plain)?;
    let pod = ready_in(world, World::POLICIES, "plain")?;
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
    is_not_stopped_by_a_broken_one(world, &policy, &probe)?;
    disagrees(world, policy, &probe)?;
    warns_and_audits(world, &probe)?;
    world.kubectl.delete(World::POLICIES, &["injectionpolicy", NAME])?;
    let what = if has_variables { "a file and a variable" } else { "a file" };
    Ok(format!(
        "a Deployment without annotations reads {what}; limits refuse, warn and audit; two that disagree are named"
    ))
}

fn is_injected(world: &World<'_>, pod: &Value) -> Result<bool> {
    Ok(world.kubectl.dry_run(World::POLICIES, pod)?.to_string().contains("scaivault-secrets"))
}

/// A policy with an invalid path is rejected when it is applied, and the valid one stays in force.
fn is_not_stopped_by_a_broken_one(world: &World<'_>, policy: &Value, probe: &Value) -> Result<()> {
    let mut broken = policy.clone();
    broken["metadata"]["name"] = json!("scaivault-e2e-broken");
    broken["spec"]["inject"]["secrets"][0]["path"] = json!("environments/../billing");
    let Err(error) = world.kubectl.create(World::POLICIES, &broken) else {
        bail!("a policy with `..` in a path was stored");
    };
    says(&format!("{error:#}"), &["spec.inject.secrets[0].path", "environments/../billing"])?;
    if !is_injected(world, probe)? {
        bail!("the policy does not inject any more");
    }
    Ok(())
}

/// A second policy gives the same file another source: pods selected by both are rejected until it
/// is deleted.
fn disagrees(world: &World<'_>, mut policy: Value, probe: &Value) -> Result<()> {
    const OTHER: &str = "scaivault-e2e-other";
    policy["metadata"]["name"] = json!(OTHER);
    policy["spec"]["inject"] =
        json!({"secrets": [{"name": "db.json", "path": "environments/production/billing/api-keys"}]});
    world.kubectl.create(World::POLICIES, &policy)?;
    let refusal = wait_for("two policies that disagree refuse the pod", SOON, || {
        Ok(world.kubectl.dry_run(World::POLICIES, probe).err().map(|error| format!("{error:#}")))
    })?;
    says(&refusal, &[NAME, OTHER, "db.json"])?;
    world.kubectl.delete(World::POLICIES, &["injectionpolicy", OTHER])?;
    let injects = || Ok(world.kubectl.dry_run(World::POLICIES, probe).is_ok().then_some(()));
    wait_for("the pod is injected again", SOON, injects)
}

/// Under `warn`, a path outside the limits gives a warning; under `audit` the policy has no effect.
fn warns_and_audits(world: &World<'_>, probe: &Value) -> Result<()> {
    let outside = outside(world);
    enforcement(world, "warn")?;
    let warnings = wait_for("the policy warns", SOON, || {
        Ok(world.kubectl.warnings(World::POLICIES, &outside).ok().filter(|warnings| !warnings.is_empty()))
    })?;
    says(&warnings, &[NAME, seed::DENIED])?;
    if !is_injected(world, probe)? {
        bail!("a policy under `warn` does not inject");
    }
    enforcement(world, "audit")?;
    wait_for("the policy changes nothing", SOON, || Ok((!is_injected(world, probe)?).then_some(())))?;
    let warnings = world.kubectl.warnings(World::POLICIES, &outside)?;
    if warnings.contains(NAME) {
        bail!("a policy under `audit` warns: {warnings}");
    }
    Ok(())
}

fn enforcement(world: &World<'_>, level: &str) -> Result<()> {
    let patch = json!({"spec": {"enforcement": level}}).to_string();
    world.kubectl.run(&["patch", "injectionpolicy", NAME, "--type=merge", "--patch", &patch])
}

fn says(text: &str, words: &[&str]) -> Result<()> {
    match words.iter().find(|word| !text.contains(**word)) {
        Some(word) => bail!("this does not name {word}: {text}"),
        None => Ok(()),
    }
}

/// Creates the namespace, all of whose pods are sent to the injector.
fn prepare(world: &World<'_>) -> Result<()> {
    for label in ["pod-security.kubernetes.io/enforce=restricted", "scaivault.scailabs.ai/injection=enabled"]
    {
        world.kubectl.run(&["label", "namespace", World::POLICIES, label])?;
    }
    create_ca(world, World::POLICIES)
}

fn refuses(world: &World<'_>) -> Result<()> {
    let Err(error) = world.kubectl.create(World::POLICIES, &outside(world)) else {
        bail!("a pod with a path outside of the policy's limits was created");
    };
    says(&format!("{error:#}"), &[NAME, seed::DENIED, &format!("{PREFIX}inject-secret-payroll.json")])
}

/// A pod that requests a path outside the policy's limits.
fn outside(world: &World<'_>) -> Value {
    let mut pod = template(world, &json!({"inject-secret-payroll.json": seed::DENIED}), SCRIPT);
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("outside");
    pod
}

fn status(world: &World<'_>) -> Result<()> {
    wait_for("the policy's status has the pods", SOON * 2, || {
        let policy = world.kubectl.json(&["get", "injectionpolicy", NAME, "--output=json"])?;
        let count = |what: &str| policy["status"]["pods"][what].as_u64().unwrap_or_default();
        Ok((count("injected") >= 1 && count("refused") >= 1).then_some(()))
    })
}
