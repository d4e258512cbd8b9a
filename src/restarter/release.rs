//! `restart`: releases the pending restart of a workload, or those of a namespace.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueHint};
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use scaivault_cluster::reason;
use scaivault_contract::{ObjectName, names::ANNOTATION_PREFIX};
use scaivault_restarter::{
    Kind, RotationRollout, RotationRolloutStatus, Wait, WorkloadKey, keys, object_name,
};
use serde_json::json;
use tokio::time::timeout;

use super::writer::resource;
use crate::{cluster, output, runtime};

pub(crate) const HELP: &str = "\
Examples:
  scaivault-injector restart deployment/web -n billing
  scaivault-injector restart --all -n billing --secret shared/database
  kubectl get rotationrollouts -n billing      pending restarts and their reasons

Sets the annotation scaivault.scailabs.ai/restart-release of the workload to a new
text, which releases its pending restart, even if restarts are manual, the time is
outside of its windows, or the same version failed elsewhere. The controller
(`restarter`) then restarts the workload.

With --all, only the restarts with the reason NotReleased or Stopped are released: others begin by
themselves, or wait for their owner to change something; their messages say what.";

/// The field manager of the annotation.
const FIELD_MANAGER: &str = "scaivault-restart";
/// The timeout of a request to the API server.
const ANSWER: Duration = Duration::from_secs(30);
/// The number of `RotationRollouts` in a page.
const PAGE: u32 = 500;
/// Concurrent writes.
const WRITES: usize = 8;

/// `restart`.
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// The workload: KIND/NAME, where KIND is deployment, statefulset, daemonset or rollout
    #[arg(
        value_name = "KIND/NAME",
        value_parser = workload,
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    workload: Option<(Kind, String)>,

    /// All workloads of the namespace whose restart waits for a release, or was stopped by a failure on another one
    #[arg(long, requires = "namespace")]
    all: bool,

    /// With --all, only restarts for this secret: its path, or the name of the Secret or SecretProviderClass
    #[arg(long, value_name = "PATH", requires = "all")]
    secret: Option<String>,

    /// Its namespace; by default that of the kubeconfig's context, but not with --all
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,

    /// The kubeconfig's context; the current one by default
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// The kubeconfig; by default that of the variable KUBECONFIG, else ~/.kube/config, else the pod's service account
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    kubeconfig: Option<PathBuf>,
}

/// Releases pending restarts and prints the result.
pub(crate) fn run(args: &RestartArgs) -> anyhow::Result<ExitCode> {
    runtime::run(async {
        let named = cluster::named(args.kubeconfig.as_deref(), args.context.as_deref(), "");
        let client = answered(named).await?.client;
        let namespace = args.namespace.as_deref().unwrap_or_else(|| client.default_namespace());
        match &args.workload {
            Some((kind, name)) => {
                let key =
                    WorkloadKey { namespace: namespace.into(), kind: *kind, name: name.as_str().into() };
                let released = release(&client, &key).await?;
                output::write_stdout(released.as_bytes())?;
                Ok(ExitCode::SUCCESS)
            }
            None => release_all(&client, namespace, args.secret.as_deref()).await,
        }
    })
}

async fn answered<T>(call: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let answered = timeout(ANSWER, call).await;
    answered.with_context(|| format!("the API server did not answer within {} s", ANSWER.as_secs()))?
}

async fn release(client: &Client, key: &WorkloadKey) -> anyhow::Result<String> {
    let records = Api::<RotationRollout>::namespaced(client.clone(), &key.namespace);
    let record = answered(async {
        records.get_opt(&object_name(key)).await.map_err(|error| failed("read", key, &error))
    });
    let Some(status) = record.await?.and_then(|record| record.status) else {
        bail!(
            "{key} has no RotationRollout, so no restart is pending; check that the restarter runs, and that the workload delivers a secret and its \
             restart mode is not off"
        );
    };
    if status.pending.is_none() {
        bail!("{key} has no pending restart: {}; nothing was changed", status.message);
    }
    annotate(client, key).await?;
    Ok(released(key, &status))
}

/// Sets the annotation to a new text.
async fn annotate(client: &Client, key: &WorkloadKey) -> anyhow::Result<()> {
    let text = Timestamp::now().to_string();
    let patch = json!({"metadata": {"annotations": {format!("{ANNOTATION_PREFIX}{}", keys::RELEASE): text}}});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let workloads =
        Api::<DynamicObject>::namespaced_with(client.clone(), &key.namespace, &resource(key.kind));
    let patched = async {
        let patched = workloads.patch(&key.name, &params, &Patch::Merge(&patch)).await;
        patched.map_err(|error| failed("annotate", key, &error))
    };
    answered(patched).await.map(drop)
}

/// The printed result of a release.
fn released(key: &WorkloadKey, status: &RotationRolloutStatus) -> String {
    let message = &status.message;
    if outlasts_release(&status.reason) {
        return format!("released the pending restart of {key}, but it still waits: {message}\n");
    }
    // The message of a restart that only waits for its release would ask for it again.
    let waits_for =
        if status.reason == Wait::Release.reason() { String::new() } else { format!(": {message}") };
    format!("released the pending restart of {key}{waits_for}\n")
}

/// Whether a restart waits for something that a release does not skip.
fn outlasts_release(reason: &str) -> bool {
    let waits = [Wait::Paused, Wait::OnDelete, Wait::Partition, Wait::Refused("".into()), Wait::DryRun];
    waits.iter().any(|wait| wait.reason() == reason)
}

/// Releases the restarts of a namespace that wait for it.
async fn release_all(client: &Client, namespace: &str, secret: Option<&str>) -> anyhow::Result<ExitCode> {
    let PendingRestarts { to_release, others } = select(records(client, namespace).await?, secret);
    let mut said = Vec::new();
    said.extend(others.iter().map(|(key, status)| format!("left {key}: {}\n", status.message)));
    if to_release.is_empty() {
        let secret = secret.map(|secret| format!(" for {secret}")).unwrap_or_default();
        bail!(
            "{}no restart{secret} in the namespace {namespace} has the reason NotReleased or Stopped; nothing was changed",
            said.concat()
        );
    }
    let writes = stream::iter(&to_release)
        .map(|(key, status)| async move { annotate(client, key).await.map(|()| released(key, status)) });
    let written: Vec<_> = writes.buffered(WRITES).collect().await;
    let (released, failed): (Vec<_>, Vec<_>) = written.into_iter().partition(Result::is_ok);
    let summary = format!("released {} of {} restarts\n", released.len(), to_release.len());
    said.extend(released.into_iter().flatten());
    said.push(summary);
    output::write_stdout(said.concat().as_bytes())?;
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let failed: Vec<String> =
        failed.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    bail!("{}; the others were released, run the command again for these", failed.join("; "))
}

/// All `RotationRollouts` of a namespace.
async fn records(client: &Client, namespace: &str) -> anyhow::Result<Vec<RotationRollout>> {
    let api = Api::<RotationRollout>::namespaced(client.clone(), namespace);
    let mut params = ListParams::default().limit(PAGE);
    let mut records = Vec::new();
    loop {
        let page = answered(async {
            let page = api.list(&params).await;
            page.map_err(|error| {
                anyhow!("cannot list the RotationRollouts of {namespace}: {}", reason(&error))
            })
        });
        let page = page.await?;
        records.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(records),
        }
    }
}

/// Pending restarts, sorted by workload.
#[derive(Debug, Default)]
struct PendingRestarts {
    to_release: Vec<(WorkloadKey, RotationRolloutStatus)>,
    others: Vec<(WorkloadKey, RotationRolloutStatus)>,
}

fn select(records: Vec<RotationRollout>, secret: Option<&str>) -> PendingRestarts {
    let mut found: Vec<_> =
        records.into_iter().filter_map(|record| Some((record.workload()?, record.status?))).collect();
    found.retain(|(_, status)| {
        let versions = status.pending.as_ref().map(|pending| &pending.versions);
        versions.is_some_and(|versions| {
            secret.is_none_or(|secret| versions.iter().any(|version| version.name == secret))
        })
    });
    found.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
    let (to_release, others) =
        found.into_iter().partition(|(_, status)| matches!(&*status.reason, "NotReleased" | "Stopped"));
    PendingRestarts { to_release, others }
}

fn failed(action: &str, key: &WorkloadKey, error: &kube::Error) -> anyhow::Error {
    anyhow!("cannot {action} {key}: {}", reason(error))
}

fn workload(text: &str) -> Result<(Kind, String), String> {
    let allowed = "expected KIND/NAME, where KIND is deployment, statefulset, daemonset or rollout";
    let (kind, name) = text.split_once('/').ok_or(allowed)?;
    let is_kind = |known: &Kind| {
        let known = known.name().to_ascii_lowercase();
        let kind = kind.to_ascii_lowercase();
        kind == known || kind.strip_suffix('s') == Some(&known)
    };
    let kind = Kind::ALL.into_iter().find(is_kind).ok_or(allowed)?;
    if name.parse::<ObjectName>().is_err() {
        return Err("the name is not an object's name; allowed: a-z, 0-9, - and .".to_owned());
    }
    Ok((kind, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use scaivault_restarter::{PendingStatus, VersionStatus};

    use super::*;

    #[test]
    fn workloads_are_named_as_for_kubectl() {
        for (text, kind) in [
            ("deployment/web", Kind::Deployment),
            ("StatefulSets/web", Kind::StatefulSet),
            ("rollout/web", Kind::Rollout),
        ] {
            assert_eq!(workload(text), Ok((kind, "web".to_owned())));
        }
        for text in ["web", "job/web", "deployment/", "deployment/a/b", "deployment/../x"] {
            assert!(workload(text).is_err(), "{text}");
        }
    }

    fn record(name: &str, reason: &str, secret: Option<&str>) -> RotationRollout {
        let key = WorkloadKey { namespace: "team".into(), kind: Kind::Deployment, name: name.into() };
        let pending = secret.map(|secret| {
            let version = VersionStatus { name: secret.to_owned(), ..VersionStatus::default() };
            PendingStatus { versions: vec![version], ..PendingStatus::default() }
        });
        let mut record = super::super::writer::empty(&key);
        record.status = Some(RotationRolloutStatus {
            reason: reason.to_owned(),
            message: format!("because of {reason}"),
            pending,
            ..RotationRolloutStatus::default()
        });
        record
    }

    #[test]
    fn all_releases_restarts_that_would_not_begin() {
        let records = || {
            vec![
                record("stopped", "Stopped", Some("a/b")),
                record("current", "Current", None),
                record("paused", "Paused", Some("a/b")),
                record("manual", "NotReleased", Some("a/c")),
                record("queued", "Queued", Some("a/c")),
            ]
        };
        let names = |list: &[(WorkloadKey, RotationRolloutStatus)]| -> Vec<String> {
            list.iter().map(|(key, _)| key.name.to_string()).collect()
        };
        let PendingRestarts { to_release, others } = select(records(), None);
        assert_eq!(names(&to_release), ["manual", "stopped"]);
        assert_eq!(names(&others), ["paused", "queued"]);
        let PendingRestarts { to_release, others } = select(records(), Some("a/c"));
        assert_eq!((names(&to_release), names(&others)), (vec!["manual".into()], vec!["queued".into()]));
        // A `RotationRollout` that the controller did not write.
        let mut foreign = record("stopped", "Stopped", Some("a/b"));
        foreign.spec.name = "other".to_owned();
        assert_eq!(select(vec![foreign], None).to_release.len(), 0);
    }

    #[test]
    fn a_release_names_waits_that_it_does_not_skip() {
        for (reason, is_skipped) in [
            ("NotReleased", true),
            ("WindowClosed", true),
            ("Paused", false),
            ("OnDelete", false),
            ("Partition", false),
            ("PatchRefused", false),
            ("DryRun", false),
        ] {
            let record = record("web", reason, Some("a/b"));
            let said = released(&record.workload().unwrap(), record.status.as_ref().unwrap());
            assert_eq!(!said.contains("but it still waits"), is_skipped, "{said}");
            assert_eq!(said.contains(&format!("because of {reason}")), reason != "NotReleased", "{said}");
        }
    }
}
