//! `demo`: a webhook of its own on this machine, asked over TLS as an API server asks it, and what it answers.

use std::{
    io::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use scaivault_inject::{KubeVersion, Settings};
use serde_json::Value;

use crate::{
    args::DemoArgs,
    diff,
    document::{emit_yaml, parse_yaml},
    output::{self, ADDED, PLACE, STRONG, WARNED},
    serve::InProcess,
    yaml_stream,
};

use self::{
    https::Reply,
    review::{Answer, answer, pod_of, review},
};

mod https;
mod review;

/// The manifest that is shown.
const EXAMPLE: &str = include_str!("../examples/deployment.yaml");
/// Its name in the repository.
const EXAMPLE_NAME: &str = "examples/deployment.yaml";
/// How long one step may take; all of it happens on this machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where the webhook takes pods.
const PATH: &str = "/mutate";

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(show(args.kube_version.kube_version))?;
    Ok(ExitCode::SUCCESS)
}

async fn show(kube_version: KubeVersion) -> anyhow::Result<()> {
    // Its service account stands before it.
    let deployment = yaml_stream::split(EXAMPLE).pop().context("the example is empty")?;
    let deployment = parse_yaml(deployment.source()).context(EXAMPLE_NAME)?;
    let pod = pod_of(&deployment).context("the example has no pod template")?;
    let review = review(&pod);
    step(1, &format!("the pod of {EXAMPLE_NAME}, whose annotations name its secrets"))?;

    let server = InProcess::start(Settings::default(), kube_version).await?;
    step(2, &format!("a webhook on https://{}, with a certificate authority of its own", server.address))?;

    let body = review.to_string();
    let begin = Instant::now();
    let posted = https::post(server.address, &server.ca_pem, PATH, body.as_bytes());
    let replied = tokio::time::timeout(PATIENCE, posted).await;
    let elapsed = begin.elapsed();
    server.stop().await;
    let reply = replied.context("the webhook did not answer in time")??;
    step(
        3,
        &format!(
            "an AdmissionReview of {} bytes, answered in {elapsed:.1?}, connection included",
            body.len()
        ),
    )?;

    let Reply { status, body } = reply;
    if status != 200 {
        bail!("the webhook answered with status {status}: {}", String::from_utf8_lossy(&body));
    }
    show_answer(&pod, &answer(&serde_json::from_slice(&body)?, &pod)?)
}

/// Shows what the webhook decided, and what the API server would store.
fn show_answer(pod: &Value, answer: &Answer) -> anyhow::Result<()> {
    let Answer { decision, operations, patched, warnings } = answer;
    let (before, after) = (emit_yaml(pod)?, emit_yaml(patched)?);
    let (added, removed) = diff::changed_lines(&before, &after);
    step(
        4,
        &format!("the decision: {decision}; a patch of {operations} operations, +{added} -{removed} lines"),
    )?;
    let mut out = output::stdout();
    for warning in warnings {
        writeln!(out, "    {WARNED}warning:{WARNED:#} {warning}")?;
    }
    writeln!(out)?;
    diff::write(&diff::unified(&before, &after, "pod/billing"), &mut out)?;
    writeln!(
        out,
        "\n{ADDED}done{ADDED:#}; next: {STRONG}scaivault-injector annotations{STRONG:#} for all that can be written, \
         {STRONG}scaivault-injector check -f DIR{STRONG:#} for your own manifests"
    )?;
    out.flush()?;
    Ok(())
}

fn step(number: usize, text: &str) -> anyhow::Result<()> {
    let mut out = output::stdout();
    writeln!(out, "{PLACE}{number}/4{PLACE:#} {text}")?;
    out.flush()?;
    Ok(())
}
