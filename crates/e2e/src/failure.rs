//! Failed deliveries: no application starts, and the pod's status names the secret.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    app::{self, pod, pod_of_job, serving, status, two_secrets_and},
    injection::APP,
    jobs::{ending, job, job_spec},
    kubectl::wait_for,
    vault::seed,
    world::World,
};

const SAID: Duration = Duration::from_mins(1);
/// The agent's exit code if the identity may not read a secret.
const EXIT_DENIED: u64 = 3;
/// The agent's exit code if a secret does not exist.
const EXIT_NOT_FOUND: u64 = 4;

/// A Job whose identity may not read its secret.
pub(super) fn denied(world: &World<'_>) -> Result<String> {
    const NAME: &str = "job-denied";
    let annotations = json!({"pattern": "sidecar", "inject-secret-payroll.json": seed::DENIED});
    world.kubectl.create(World::APPS, &job(NAME, &job_spec(world, &annotations, "Never")))?;
    let ending = ending(world, NAME)?;
    if ending != "Failed" {
        bail!("the Job ends as {ending}");
    }
    let pod = pod_of_job(world, NAME)?.object(world)?;
    let message = ended(&pod, app::INIT, EXIT_DENIED)?.context("the init container has not ended")?;
    if !message.contains(seed::DENIED) {
        bail!("the message does not name the secret: {message}");
    }
    world.kubectl.delete(World::APPS, &["job", NAME])?;
    Ok(format!("the Job fails, and the status of its pod names {}", seed::DENIED))
}

/// Pods of both patterns with a secret that does not exist.
pub(super) fn missing(world: &World<'_>) -> Result<String> {
    let cases = [("missing-init", "init", app::INIT), ("missing-sidecar", "sidecar", app::SIDECAR)];
    for (name, pattern, _) in cases {
        let annotations = json!({"pattern": pattern, "inject-secret-absent.json": seed::ABSENT});
        let template = serving(world, &two_secrets_and(&annotations));
        world.kubectl.create(World::APPS, &pod(name, &template))?;
    }
    for (name, _, container) in cases {
        let message = wait_for(&format!("the status of {name} says why"), SAID, || {
            let pod =
                world.kubectl.json(&["get", "pod", name, "--namespace", World::APPS, "--output=json"])?;
            if has_started(&pod) {
                bail!("the application of {name} runs without its secret");
            }
            ended(&pod, container, EXIT_NOT_FOUND)
        })?;
        if !message.contains(seed::ABSENT) {
            bail!("the message of {name} does not name the secret: {message}");
        }
    }
    world.kubectl.delete(World::APPS, &["pod", cases[0].0, cases[1].0])?;
    Ok(format!("the status of both patterns names {}", seed::ABSENT))
}

/// The current or last termination message of a container, which must have exited with this code.
pub(super) fn ended(pod: &Value, container: &str, exit_code: u64) -> Result<Option<String>> {
    let Some(status) = status(pod, container) else { return Ok(None) };
    let ends = ["state", "lastState"].map(|state| &status[state]["terminated"]);
    let Some(end) = ends.into_iter().find(|end| end.is_object()) else { return Ok(None) };
    if end["exitCode"] != exit_code {
        bail!("the container {container} has ended as {end}");
    }
    Ok(end["message"].as_str().map(str::to_owned))
}

pub(super) fn has_started(pod: &Value) -> bool {
    status(pod, APP).is_some_and(|status| status["state"].get("waiting").is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_seen_after_the_next_start_too() {
        let end = json!({"terminated": {"exitCode": 4, "message": "a/b: not there"}});
        let now = json!({"status": {"initContainerStatuses": [{"name": "a", "state": end}]}});
        let before = json!({"status": {"initContainerStatuses": [{"name": "a", "state": {"running": {}}, "lastState": end}]}});
        for pod in [now, before] {
            assert_eq!(ended(&pod, "a", 4).unwrap().as_deref(), Some("a/b: not there"));
            assert!(ended(&pod, "a", 3).is_err(), "another code");
            assert_eq!(ended(&pod, "b", 4).unwrap(), None);
        }
    }

    #[test]
    fn an_application_that_waits_has_not_started() {
        let pod = |state: Value| json!({"status": {"containerStatuses": [{"name": APP, "state": state}]}});
        assert!(!has_started(&pod(json!({"waiting": {"reason": "PodInitializing"}}))));
        assert!(has_started(&pod(json!({"running": {}}))));
        assert!(!has_started(&json!({"status": {}})));
    }
}
