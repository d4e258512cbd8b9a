//! A workload that mounts a native Secret is compared with `ScaiVault` and migrated, using the
//! output of the injector's own program.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{
    app::{deployment, pod_of_job, ready, template},
    running::START,
    vault::seed,
    world::World,
};

const NAME: &str = "native";
const JOB: &str = "scaivault-verify-native";
/// The native Secret, whose name is the last segment of the path.
const SECRET: &str = "database";
const SCRIPT: &str = r#"echo "password: $(cat /etc/app/secrets/password)"; exec sleep 1000"#;

/// A Job that finds everything equal, a Job that finds a difference without revealing it, and the
/// migrated workload.
pub(super) fn from_a_native_secret(world: &World<'_>) -> Result<String> {
    let mut workload = deployment(NAME, template(world, &json!({}), SCRIPT));
    let spec = &mut workload["spec"]["template"]["spec"];
    spec["volumes"] = json!([{"name": "secret", "secret": {"secretName": SECRET, "items": [
        {"key": "username", "path": "username"}, {"key": "password", "path": "password"},
    ]}}]);
    spec["containers"][0]["volumeMounts"] =
        json!([{"name": "secret", "mountPath": "/etc/app/secrets", "readOnly": true}]);
    let mut native = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "stringData": seed::database(1)});
    world.kubectl.create(World::APPS, &native)?;
    // Not by `create`, because kubectl only removes fields that it has applied.
    apply(world, &workload.to_string())?;
    ready(world, NAME)?;

    let jobs = written(world, "verify", &workload)?;
    let said = verdict(world, &jobs, "Complete")?;
    if !said.ends_with("2 of 2 equal\n") {
        bail!("the Secret and ScaiVault have the same, and the Job says: {said}");
    }
    native["stringData"]["password"] = json!("another-example");
    world.kubectl.delete(World::APPS, &["secret", SECRET])?;
    world.kubectl.create(World::APPS, &native)?;
    let said = verdict(world, &jobs, "Failed")?;
    let differs = said.lines().any(|line| line.starts_with("different") && line.contains("/password"));
    let counts = said.lines().any(|line| line == "1 of 2 equal");
    if !differs || !counts || said.contains("example") {
        bail!("the password differs, and the Job says: {said}");
    }

    let migrated = written(world, "migrate", &workload)?;
    apply(world, &migrated)?;
    let pod = ready(world, NAME)?;
    let password = pod.said(world, "password: ")?;
    if password != seed::password(1) {
        bail!("the migrated workload reads {password:?}");
    }
    world.kubectl.delete(World::APPS, &[&format!("deployment/{NAME}"), &format!("secret/{SECRET}")])?;
    Ok("a Job compares a native Secret with ScaiVault, and the migrated workload reads the same file"
        .to_owned())
}

fn apply(world: &World<'_>, manifest: &str) -> Result<()> {
    world.kubectl.text_of(&["apply", "--filename=-", "--namespace", World::APPS], manifest).map(drop)
}

/// The output of a subcommand of the injector for a workload.
fn written(world: &World<'_>, subcommand: &str, workload: &Value) -> Result<String> {
    let injector = format!("deployment/{}", World::RELEASE);
    let exec = ["exec", "--stdin", "--namespace", World::SYSTEM, &injector, "--", "/scaivault-injector"];
    let rule = ["--path", "environments/${environment}/billing/${secret}", "--environment", "production"];
    let args = [&exec[..], &[subcommand, "--filename", "-", "--namespace", World::APPS], &rule].concat();
    world.kubectl.text_of(&args, &workload.to_string())
}

/// The log of a Job of `verify`, once it has this condition.
fn verdict(world: &World<'_>, jobs: &str, condition: &str) -> Result<String> {
    world.kubectl.text_of(&["create", "--filename=-", "--namespace", World::APPS], jobs)?;
    let (condition, timeout) =
        (format!("--for=condition={condition}"), format!("--timeout={}s", START.as_secs()));
    let job = format!("job/{JOB}");
    world.kubectl.text(&["wait", &condition, &job, "--namespace", World::APPS, &timeout])?;
    let said = pod_of_job(world, JOB)?.log_of(world, "verify")?;
    world.kubectl.delete(World::APPS, &[&job])?;
    Ok(said)
}
