//! The agent is killed while the application runs, with `ScaiVault` available and unavailable.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    app::{self, count, pod, ready, serving, status, two_secrets_and},
    failure::ended,
    injection::APP,
    kubectl::{hold, wait_for},
    patterns::{DYNAMIC, INIT},
    running::AppPod,
    world::World,
};

/// The maximum time from the agent's exit to its next start: the kubelet's backoff grows with the
/// restarts.
const RESTART: Duration = Duration::from_mins(2);
/// Longer than the `fetch-timeout` of the Deployment `dynamic`, after which an agent would give up.
const OUTAGE: Duration = Duration::from_secs(12);
/// The agent's exit code for temporary failures.
const EXIT_FAILED: u64 = 1;
/// Run in the application's container: the process namespace is shared, and the user is the same.
const KILL: &str = "kill -9 $(pidof scaivault-agent)";
const FILES: &str = "cd /run/secrets && cat db.json stripe.key user.json";
/// The agent's log message after a restart.
const RESTARTED: &str = "found the files of an earlier start";
const SIGNALS: &str = "hup db.json: ";

/// After `kill -9` of the agent, the application continues with the same files and the same lease.
pub(super) fn agent_killed(world: &World<'_>) -> Result<String> {
    let pod = ready(world, DYNAMIC)?;
    let before = seen(world, &pod)?;
    restart(world, &pod)?;
    wait_for("the agent goes on", RESTART, || {
        Ok(pod.log_of(world, app::SIDECAR)?.contains(RESTARTED).then_some(()))
    })?;
    let after = seen(world, &pod)?;
    if after.files != before.files {
        bail!("the files have changed");
    }
    if (after.generated, after.logins) != (before.generated, before.logins) {
        bail!("the agent that was started again has made a lease or a login: {after:?}, before {before:?}");
    }
    if after.signals != before.signals {
        bail!("the application got a signal for nothing");
    }
    goes_on(world, &pod)?;
    Ok("the application goes on; same files, no second lease, no second login".to_owned())
}

/// `ScaiVault` stops, then the agent. A running pod stays up, a new one waits and reports why.
pub(super) fn vault_gone(world: &World<'_>) -> Result<String> {
    let (pod, other) = (ready(world, DYNAMIC)?, ready(world, INIT)?);
    let files = pod.exec(world, FILES)?;
    world.vault.end()?;
    restart(world, &pod)?;
    let restarts = pod.restarts(world, app::SIDECAR)?;
    hold(OUTAGE, || {
        if pod.restarts(world, app::SIDECAR)? != restarts {
            bail!("the agent ends because ScaiVault is away");
        }
        goes_on(world, &pod)
    })?;
    if pod.exec(world, FILES)? != files {
        bail!("the files have changed");
    }
    goes_on(world, &other)?;
    let message = new_pod_waits(world)?;
    Ok(format!("a running pod stays up with its files; a new one waits: {message}"))
}

/// The application of a new pod does not start, and the pod's status contains the reason.
fn new_pod_waits(world: &World<'_>) -> Result<String> {
    const NAME: &str = "waiting";
    let annotations = two_secrets_and(&json!({"pattern": "init", "fetch-timeout": "3s"}));
    world.kubectl.create(World::APPS, &pod(NAME, &serving(world, &annotations)))?;
    let message = wait_for("the status of a new pod says why it waits", RESTART, || {
        ended(&AppPod::app(NAME).object(world)?, app::INIT, EXIT_FAILED)
    })?;
    world.kubectl.delete(World::APPS, &["pod", NAME])?;
    Ok(message)
}

#[derive(Debug)]
struct AgentState {
    files: String,
    signals: usize,
    logins: u64,
    generated: u64,
}

fn seen(world: &World<'_>, pod: &AppPod) -> Result<AgentState> {
    let admin = &world.vault.admin;
    Ok(AgentState {
        files: pod.exec(world, FILES)?,
        signals: count(&pod.log(world)?, SIGNALS),
        logins: admin.requests("exchange")?,
        generated: admin.requests("generate")?,
    })
}

fn restart(world: &World<'_>, pod: &AppPod) -> Result<()> {
    let before = pod.restarts(world, app::SIDECAR)?;
    pod.exec(world, KILL)?;
    wait_for("the kubelet starts the agent again", RESTART, || {
        let object = pod.object(world)?;
        let agent = status(&object, app::SIDECAR).context("the agent has a status")?;
        let again = agent["restartCount"].as_u64() > Some(before);
        Ok((again && agent["started"] == true).then_some(()))
    })
}

fn goes_on(world: &World<'_>, pod: &AppPod) -> Result<()> {
    let object = pod.object(world)?;
    let app = status(&object, APP).context("the application has a status")?;
    if app["restartCount"] != 0 || app["ready"] != Value::Bool(true) {
        bail!("the application does not go on: {app}");
    }
    Ok(())
}
