//! The part of the demo that runs on every platform: a webhook on this machine, called over TLS as
//! by an API server.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use scaivault_contract::names::ANNOTATION_PREFIX;
use scaivault_inject::Settings;
use serde_json::Value;

use super::{
    TIMEOUT,
    additions::additions,
    https::{self, Reply},
    narrator::{Narrator, milliseconds},
    review::{Answer, answer, pod_of, review},
};
use crate::{
    args::DemoArgs,
    diff,
    document::{emit_yaml, parse_yaml},
    output::{self, ADDED},
    serve::InProcess,
};

/// The number of steps of [`show`].
pub(super) const STEPS: usize = 3;

/// The manifest that is shown.
const MANIFEST: &str = include_str!("manifest.yaml");
/// The webhook's path for pods.
const PATH: &str = "/mutate";

/// The pod that the controllers would create from the manifest.
pub(super) fn example() -> anyhow::Result<Value> {
    let deployment = parse_yaml(MANIFEST).context("the demonstration's manifest")?;
    pod_of(&deployment).context("the manifest has no pod template")
}

/// Lets a webhook decide on the pod, reports the steps, and returns the pod as the API server would
/// store it.
pub(super) async fn show(
    narrator: &mut Narrator,
    pod: &Value,
    settings: Settings,
    args: &DemoArgs,
) -> anyhow::Result<Value> {
    let server = InProcess::start(settings, args.kube_version.kube_version).await?;
    narrator.step(
        "injector",
        &format!("a webhook on https://{}, with a certificate authority of its own", server.address),
    )?;
    let body = review(pod).to_string();
    narrator.step(
        "API server",
        &format!("sends it a new pod to review ({} bytes), whose annotations name its secrets:", body.len()),
    )?;
    for (key, value) in annotations(pod) {
        narrator.detail(&format!("{key}: {value}"))?;
    }
    let (reply, elapsed) = ask(&server, &body).await;
    server.stop().await;
    let answer = read(reply?, pod)?;
    tell_answer(narrator, pod, &answer, elapsed, args.diff)?;
    Ok(answer.patched)
}

/// The injector's annotations, without their prefix.
fn annotations(pod: &Value) -> impl Iterator<Item = (&str, &str)> {
    let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object);
    annotations
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.strip_prefix(ANNOTATION_PREFIX)?, value.as_str()?)))
}

async fn ask(server: &InProcess, body: &str) -> (anyhow::Result<Reply>, Duration) {
    let begin = Instant::now();
    let posted = https::post(server.address, &server.ca_pem, PATH, body.as_bytes());
    let replied = tokio::time::timeout(TIMEOUT, posted).await;
    let elapsed = begin.elapsed();
    (replied.context("the webhook did not answer in time").flatten(), elapsed)
}

fn read(reply: Reply, pod: &Value) -> anyhow::Result<Answer> {
    let Reply { status, body } = reply;
    if status != 200 {
        bail!("the webhook answered with status {status}: {}", String::from_utf8_lossy(&body));
    }
    answer(&serde_json::from_slice(&body)?, pod)
}

/// Shows the webhook's decision and the object that the API server would store.
fn tell_answer(
    narrator: &mut Narrator,
    pod: &Value,
    answer: &Answer,
    elapsed: Duration,
    wants_diff: bool,
) -> anyhow::Result<()> {
    let Answer { decision, patched, warnings } = answer;
    let (before, after) = (emit_yaml(pod)?, emit_yaml(patched)?);
    let (added, removed) = diff::changed_lines(&before, &after);
    let shown = if wants_diff { "" } else { " (--diff shows all):" };
    let elapsed = milliseconds(elapsed);
    narrator.step(
        "injector",
        &format!("answers after {elapsed}: {decision}; +{added} -{removed} lines{shown}"),
    )?;
    for warning in warnings {
        narrator.warning(warning)?;
    }
    if wants_diff {
        let mut out = output::stdout();
        diff::write(&diff::unified(&before, &after, "pod/shop"), &mut out)?;
        out.flush()?;
        return Ok(());
    }
    for addition in additions(pod, patched) {
        narrator.detail(&format!("{ADDED}+ {addition}{ADDED:#}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_requests_all_shown_features() {
        let pod = example().unwrap();
        let keys: Vec<_> = annotations(&pod).map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            [
                "inject-secret-greeting.json",
                "inject-dynamic-database.json",
                "refresh-on-event",
                "reload-signal",
                "reload-target"
            ]
        );
    }

    #[test]
    fn an_answer_with_another_status_is_an_error() {
        let reply = Reply { status: 503, body: b"busy".to_vec() };
        let error = read(reply, &example().unwrap()).unwrap_err().to_string();
        assert_eq!(error, "the webhook answered with status 503: busy");
    }
}
