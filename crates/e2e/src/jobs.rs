//! Jobs complete, also with a sidecar.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{
    app::{pod_of_job, template, two_secrets_and},
    kubectl::wait_for,
    vault::seed,
    world::World,
};

/// The timeout of a Job's pod, which needs a few seconds on a quiet node.
const END: Duration = Duration::from_mins(2);
/// The timeout of a schedule that triggers every minute.
const SCHEDULE: Duration = Duration::from_mins(3);
const SCRIPT: &str = "cat /run/secrets/stripe.key";

/// Jobs with each restart policy and a sidecar, one with the pattern init, and one created by a
/// `CronJob`.
pub(super) fn complete(world: &World<'_>) -> Result<String> {
    let sidecar = json!({"pattern": "sidecar"});
    world.kubectl.create(World::APPS, &cron_job("nightly", &job_spec(world, &sidecar, "Never")))?;
    let cases = [
        ("job-init", json!({"pattern": "init"}), "Never"),
        ("job-sidecar-never", sidecar.clone(), "Never"),
        ("job-sidecar-on-failure", sidecar, "OnFailure"),
    ];
    for (name, annotations, restart_policy) in &cases {
        world.kubectl.create(World::APPS, &job(name, &job_spec(world, annotations, restart_policy)))?;
    }
    for (name, ..) in &cases {
        finished(world, name)?;
    }
    let selector = ["jobs", "--namespace", World::APPS];
    let made = wait_for("the CronJob makes a Job", SCHEDULE, || {
        let jobs = world.kubectl.items(&selector)?;
        let made = jobs
            .iter()
            .find(|job| job.pointer("/metadata/ownerReferences/0/name") == Some(&json!("nightly")));
        Ok(made.and_then(|job| job["metadata"]["name"].as_str()).map(str::to_owned))
    })?;
    finished(world, &made)?;
    world.kubectl.delete(World::APPS, &["cronjob", "nightly"])?;
    world.kubectl.delete(World::APPS, &["job", cases[0].0, cases[1].0, cases[2].0])?;
    Ok("with init, with sidecar (Never, OnFailure) and a CronJob's: complete".to_owned())
}

fn finished(world: &World<'_>, name: &str) -> Result<()> {
    let ending = ending(world, name)?;
    if ending != "Complete" {
        bail!("the Job {name} ends as {ending}");
    }
    let log = pod_of_job(world, name)?.log(world)?;
    if log != seed::STRIPE_KEY {
        bail!("the Job {name} has not read its file: {log:?}");
    }
    Ok(())
}

/// Waits until a Job has ended; returns `Complete` or `Failed`.
pub(super) fn ending(world: &World<'_>, name: &str) -> Result<String> {
    wait_for(&format!("the Job {name} ends"), END, || {
        let job = world.kubectl.json(&["get", "job", name, "--namespace", World::APPS, "--output=json"])?;
        Ok(end_of(&job).map(str::to_owned))
    })
}

fn end_of(job: &Value) -> Option<&str> {
    let conditions = job.pointer("/status/conditions")?.as_array()?;
    let types = conditions
        .iter()
        .filter(|condition| condition["status"] == "True")
        .filter_map(|it| it["type"].as_str());
    // Other conditions announce the result.
    types.into_iter().find(|kind| ["Complete", "Failed"].contains(kind))
}

/// A Job without retries.
pub(super) fn job_spec(world: &World<'_>, annotations: &Value, restart_policy: &str) -> Value {
    let mut template = template(world, &two_secrets_and(annotations), SCRIPT);
    template["spec"]["restartPolicy"] = json!(restart_policy);
    json!({"backoffLimit": 0, "template": template})
}

pub(super) fn job(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})
}

fn cron_job(name: &str, job: &Value) -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name},
        "spec": {"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": job}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_ends_by_a_true_condition() {
        let job = |conditions: Value| json!({"status": {"conditions": conditions}});
        let before = json!({"type": "SuccessCriteriaMet", "status": "True"});
        assert_eq!(end_of(&job(json!([before]))), None);
        assert_eq!(end_of(&job(json!([before, {"type": "Complete", "status": "True"}]))), Some("Complete"));
        assert_eq!(end_of(&job(json!([{"type": "Failed", "status": "False"}]))), None);
        assert_eq!(end_of(&json!({"status": {}})), None);
    }
}
