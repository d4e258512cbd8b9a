//! `restart`: releases the pending restart of a workload.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueHint};
use jiff::Timestamp;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use scaivault_cluster::reason;
use scaivault_contract::{ObjectName, names::ANNOTATION_PREFIX};
use scaivault_restarter::{Kind, RotationRollout, Wait, WorkloadKey, keys, object_name};
use serde_json::json;
use tokio::time::timeout;

use super::writer::resource;
use crate::{cluster, output};

pub(crate) const HELP: &str = "\
Examples:
  scaivault-injector restart deployment/web -n billing
  kubectl get rotationrollouts -n billing      pending restarts and their reasons

Sets the annotation scaivault.scailabs.ai/restart-release of the workload to a new text, which
releases its pending restart, even if restarts are manual, the time is outside of its windows, or the
same version failed elsewhere. The controller (`restarter`) then restarts the workload.";

/// The field manager of the annotation.
const FIELD_MANAGER: &str = "scaivault-restart";
/// The timeout of a request to the API server.
const ANSWER: Duration = Duration::from_secs(30);

/// `restart`.
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// The workload: KIND/NAME, where KIND is deployment, statefulset, daemonset or rollout
    #[arg(value_name = "KIND/NAME", value_parser = workload)]
    workload: (Kind, String),

    /// Its namespace; by default that of the kubeconfig's context
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,

    /// The kubeconfig's context; the current one by default
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// The kubeconfig; by default that of the variable KUBECONFIG, else ~/.kube/config, else the pod's service account
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    kubeconfig: Option<PathBuf>,
}

/// Releases the pending restart and prints the result.
pub(crate) fn run(args: &RestartArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let said = runtime.block_on(async {
        let released = release(args);
        timeout(ANSWER, released)
            .await
            .with_context(|| format!("the API server did not answer within {} s", ANSWER.as_secs()))?
    })?;
    output::write_stdout(said.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn release(args: &RestartArgs) -> anyhow::Result<String> {
    let named = cluster::named(args.kubeconfig.as_deref(), args.context.as_deref(), "").await?;
    let namespace = args.namespace.as_deref().unwrap_or_else(|| named.client.default_namespace());
    let (kind, name) = &args.workload;
    let key = WorkloadKey { namespace: namespace.into(), kind: *kind, name: name.as_str().into() };
    let records = Api::<RotationRollout>::namespaced(named.client.clone(), namespace);
    let record = records.get_opt(&object_name(&key)).await.map_err(|error| failed("read", &key, &error))?;
    let Some(status) = record.and_then(|record| record.status) else {
        bail!(
            "{key} has no RotationRollout, so no restart is pending; check that the restarter runs, and that the workload delivers a secret and its \
             restart mode is not off"
        );
    };
    if status.pending.is_none() {
        bail!("{key} has no pending restart: {}; nothing was changed", status.message);
    }
    let text = Timestamp::now().to_string();
    let patch = json!({"metadata": {"annotations": {format!("{ANNOTATION_PREFIX}{}", keys::RELEASE): text}}});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let workloads = Api::<DynamicObject>::namespaced_with(named.client.clone(), namespace, &resource(*kind));
    let patched = workloads.patch(name, &params, &Patch::Merge(&patch)).await;
    patched.map_err(|error| failed("annotate", &key, &error))?;
    // The message of a restart that waits for nothing but its release would ask for the release again.
    let waits_for =
        if status.reason == Wait::Release.reason() { String::new() } else { format!(": {}", status.message) };
    Ok(format!("released the pending restart of {key}{waits_for}\n"))
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
}
