//! The arguments of `audit`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};
use scaivault_inject::KubeVersion;

use crate::args::{ConfigArgs, DateArgs};

// Lines have at most 90 characters, because clap wraps at 100 on a wide terminal, and a wrapped
// example cannot be copied.
pub(crate) const HELP: &str = "\
Examples:
  scaivault-injector audit -f deploy/                       manifests, without a cluster
  scaivault-injector audit                                  the cluster of the current context
  scaivault-injector audit --context prod -o html > audit.html
  scaivault-injector audit -n shop -o json | jq '.workloads[] | select(.stage == \"native\")'

Without -f, a cluster is audited: all of its namespaces, or that of --namespace. The command
changes nothing and reads no value of a Secret: names come from pod specs. The required rights
are in examples/audit-rbac.yaml.

Stages:
  moved           gets all of its secrets from the injector
  mixed           also gets secrets from native Secrets or another product
  refused         requests secrets and has problems; all are listed
  native Secrets  reads native Secrets, and nothing from the injector
  other product   gets its secrets from another product
  no secrets      uses none; in the table only with --all

Exit codes are those of `check`: 1 if a workload has problems, 2 if something cannot be read.";

/// `audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Manifests instead of a cluster: a file, a directory (its .yaml, .yml and .json files, recursively), or `-` for standard input
    ///
    /// May be given more than once.
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE|DIR|-",
        value_hint = ValueHint::AnyPath,
        conflicts_with_all = ["context", "kubeconfig", "namespace", "secret_metadata"]
    )]
    pub(super) filenames: Vec<PathBuf>,

    /// The kubeconfig's context; the current one by default
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,

    /// The kubeconfig; by default that of the variable KUBECONFIG, else ~/.kube/config, else the pod's service account
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) kubeconfig: Option<PathBuf>,

    /// Only this namespace
    #[arg(short, long, value_name = "NAME", value_parser = namespace_name)]
    pub(super) namespace: Option<String>,

    /// Also list the metadata of all Secrets, which finds every long-lived token
    ///
    /// Only metadata is requested. However, the required right, `list` on Secrets, also allows reading their values:
    /// RBAC cannot limit it to metadata. Without this flag, no right on Secrets is needed.
    #[arg(long)]
    pub(super) secret_metadata: bool,

    /// The form of the report
    #[arg(short, long, value_enum, default_value_t = AuditOutput::Table)]
    pub(super) output: AuditOutput,

    /// Also show workloads without secrets in the table; the other forms always have them
    #[arg(long)]
    pub(super) all: bool,

    #[command(flatten)]
    pub(super) config: ConfigArgs,

    /// The older of the cluster's API server and its oldest kubelet; default: detected in the cluster, and the oldest supported version for manifests
    #[arg(long, value_name = "VERSION", env = "SCAIVAULT_INJECTOR_KUBE_VERSION")]
    pub(super) kube_version: Option<KubeVersion>,

    /// Policies (`InjectionPolicy`) to use in addition to those of the cluster: a file, or a directory with such files
    ///
    /// May be given more than once. A policy replaces one of the cluster with the same name, so that you see the effect of a
    /// change before you apply it. Policies among the manifests are checked but not used.
    #[arg(long = "policy", value_name = "FILE|DIR", value_hint = ValueHint::AnyPath)]
    pub(super) policies: Vec<PathBuf>,

    #[command(flatten)]
    pub(super) date: DateArgs,

    /// For manifests: namespaces whose annotations and labels apply to the workloads in them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "filenames")]
    pub(super) namespace_file: Option<PathBuf>,
}

/// Validates a namespace's name, because it becomes part of URLs of the API.
fn namespace_name(text: &str) -> Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !text.is_empty() && text.len() <= 63 && text.chars().all(is_allowed) {
        return Ok(text.to_owned());
    }
    Err("not a namespace's name; allowed: a-z, 0-9 and -, at most 63 characters".to_owned())
}

/// The forms of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AuditOutput {
    /// A table for a terminal, with problems, drifted pods and long-lived tokens below it
    Table,
    /// One JSON object
    Json,
    /// Markdown, for an issue or a wiki
    Markdown,
    /// One HTML page that loads nothing, with filters
    Html,
}
