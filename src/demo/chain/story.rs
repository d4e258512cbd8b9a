//! The steps, in the order of a pod's life. Each is checked before it is reported.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context as _, ensure};
use scaivault_contract::names::{DEFAULT_MOUNT_PATH, SIDECAR_CONTAINER};
use scaivault_devserver::{LeaseState, Route};
use scaivault_inject::Settings;
use serde_json::Value;

use super::{
    app::{Reason, Report},
    container::{Container, Mounts, make_volumes},
    processes::{Agent, App},
    sandbox::Sandbox,
    vault::Vault,
    within,
};
use crate::{
    args::DemoArgs,
    demo::{
        injection,
        narrator::{Narrator, milliseconds},
    },
};

/// The number of steps: ScaiVault's start, the injection, and those of [`run`].
const STEPS: usize = 1 + injection::STEPS + 5;
/// The manifest's container.
const APP: &str = "app";
/// Its files.
const GREETING: &str = "greeting.json";
const DATABASE: &str = "database.json";
/// The annotation with the name of the process to signal.
const RELOAD_TARGET: &str = "/metadata/annotations/scaivault.scailabs.ai~1reload-target";

/// Runs and reports all steps.
pub(super) async fn show(sandbox: &mut Sandbox, args: &DemoArgs) -> anyhow::Result<()> {
    let mut narrator = Narrator::new(STEPS);
    let vault = Vault::start().await?;
    narrator.step(
        "ScaiVault",
        &format!("a development server on {}, with a secret and a database engine", vault.url()),
    )?;

    let mut pod = injection::example()?;
    // No other process on this machine has this name, so no other process gets the signal.
    let target = pod.pointer_mut(RELOAD_TARGET).context("the example has no process to notify")?;
    *target = sandbox.app_name().into();
    let settings = Settings::try_from(vault.injector_config()).map_err(|problems| {
        anyhow::anyhow!("the injector rejects the demonstration's configuration: {problems}")
    })?;
    let pod = injection::show(&mut narrator, &pod, settings, args).await?;
    run(&mut narrator, sandbox, &vault, &pod).await
}

async fn run(
    narrator: &mut Narrator,
    sandbox: &mut Sandbox,
    vault: &Vault,
    pod: &Value,
) -> anyhow::Result<()> {
    start_agent(narrator, sandbox, vault, pod).await?;
    let files = Mounts::of_app(pod, APP, sandbox.path())?.translate(DEFAULT_MOUNT_PATH);
    let files = Path::new(&files);
    let lease = see_files(narrator, vault, files)?;
    start_app(narrator, sandbox, &files.join(GREETING)).await?;
    rotate(narrator, sandbox, vault, &files.join(GREETING)).await?;
    end(narrator, sandbox, vault, &lease).await
}

async fn start_agent(
    narrator: &mut Narrator,
    sandbox: &mut Sandbox,
    vault: &Vault,
    pod: &Value,
) -> anyhow::Result<()> {
    let volumes = make_volumes(pod, sandbox.path(), vault)?;
    let container = Container::of_pod(pod, SIDECAR_CONTAINER, sandbox.path())?;
    narrator.step(
        "kubelet",
        &format!(
            "(played here) starts `{}` as a process with {} injected variables;",
            container.program.join(" "),
            container.variables.len()
        ),
    )?;
    narrator.detail(&format!(
        "only their paths differ: the {volumes} volumes are directories in {}",
        sandbox.path().display()
    ))?;
    let begin = Instant::now();
    let agent = Agent::start(container, sandbox.log())?;
    let agent = sandbox.processes.agent.insert(agent);
    agent.ready().await?;
    narrator.step(
        "agent",
        &format!(
            "process {} logs in with the pod's token; its files are there after {}, its gate opens:",
            agent.pid(),
            milliseconds(begin.elapsed())
        ),
    )?;
    Ok(())
}

/// Compares the files with ScaiVault's values, shows them, and returns the lease of the database's
/// user.
fn see_files(narrator: &Narrator, vault: &Vault, files: &Path) -> anyhow::Result<LeaseState> {
    let [greeting, _] = Vault::greetings();
    let written = read(&files.join(GREETING))?;
    ensure!(written == greeting, "{GREETING} is {written}, and the secret {greeting}");
    let leases = vault.live_leases();
    let [lease] = leases.as_slice() else {
        anyhow::bail!("expected one lease, and ScaiVault has {}", leases.len());
    };
    let credentials = read(&files.join(DATABASE))?;
    ensure!(
        credentials["username"] == lease.username.as_str() && credentials["password"].is_string(),
        "{DATABASE} does not have the credentials of the lease {}",
        lease.id
    );
    narrator.detail(&format!("{DEFAULT_MOUNT_PATH}/{GREETING}: {written}"))?;
    narrator.detail(&format!(
        "{DEFAULT_MOUNT_PATH}/{DATABASE}: user {} for {} s, password not shown",
        lease.username, lease.seconds_left
    ))?;
    Ok(lease.clone())
}

async fn start_app(narrator: &mut Narrator, sandbox: &mut Sandbox, file: &Path) -> anyhow::Result<()> {
    let [greeting, _] = Vault::greetings();
    let app = sandbox.processes.app.insert(App::start(&sandbox.app_name(), file)?);
    let Report { reason, content } = within("the application's first line", app.report()).await?;
    ensure!(
        reason == Reason::Start && content == greeting,
        "the application reads {content}, not {greeting}"
    );
    narrator.step("application", &format!("process {} starts and reads {content}", app.pid()))?;
    Ok(())
}

async fn rotate(
    narrator: &mut Narrator,
    sandbox: &mut Sandbox,
    vault: &Vault,
    file: &Path,
) -> anyhow::Result<()> {
    let listening = async {
        vault.handle().requested(Route::Poll, 1).await;
        Ok(())
    };
    within("the agent's subscription to events", listening).await?;
    let [_, greeting] = Vault::greetings();
    let begin = Instant::now();
    let version = vault.rotate(&greeting)?;
    narrator.step(
        "ScaiVault",
        &format!("rotates the secret to version {version}, and the agent receives the event:"),
    )?;
    let app = sandbox.processes.app.as_mut().context("the application is not running")?;
    let report = within("SIGHUP for the application after the rotation", app.report()).await;
    let elapsed = begin.elapsed();
    let written = read(file)?;
    ensure!(written == greeting, "{GREETING} is still {written} after the rotation to {greeting}");
    let Report { reason, content } = report?;
    ensure!(
        reason == Reason::Hangup && content == greeting,
        "after {reason} the application reads {content}, not {greeting}"
    );
    narrator.detail(&format!("{DEFAULT_MOUNT_PATH}/{GREETING}: {written}"))?;
    narrator.detail(&format!(
        "process {} gets {reason} from the agent and reads this {} after the rotation",
        app.pid(),
        milliseconds(elapsed)
    ))?;
    Ok(())
}

async fn end(
    narrator: &mut Narrator,
    sandbox: &mut Sandbox,
    vault: &Vault,
    lease: &LeaseState,
) -> anyhow::Result<()> {
    ensure!(vault.live_leases().iter().map(|lease| &lease.id).eq([&lease.id]), "the lease was not kept");
    let app = sandbox.processes.app.as_mut().context("the application is not running")?;
    let unread = app.terminate().await?;
    ensure!(unread == 0, "the application got {unread} signals too many");
    let agent = sandbox.processes.agent.as_mut().context("the agent is not running")?;
    let begin = Instant::now();
    agent.terminate().await?;
    let elapsed = begin.elapsed();
    let handle = vault.handle();
    let (live, all) = (vault.live_leases().len(), handle.leases().len());
    ensure!(live == 0, "the agent has ended, and {live} leases are still valid");
    ensure!(all == 1, "{all} leases were generated for one file");
    ensure!(handle.subscriptions() == 0, "the agent did not delete its subscription");
    narrator.step(
        "kubelet",
        &format!("ends the application, then the agent, which is gone after {}:", milliseconds(elapsed)),
    )?;
    narrator.detail(&format!("leases before: {} of {}; leases after: none", lease.id, lease.role))?;
    narrator.detail(&format!(
        "ScaiVault counted: logins {}, reads {}, leases generated {}, leases revoked {}",
        handle.requests(Route::Exchange),
        handle.requests(Route::Read),
        handle.requests(Route::Generate),
        handle.requests(Route::Revoke),
    ))?;
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))
}
