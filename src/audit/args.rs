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

Without -f, a cluster is audited: all its namespaces, or that of --namespace. Nothing is
changed there, and no value of a Secret is read: names come from pod specs. The rights that
are needed are in examples/audit-rbac.yaml.

Stages:
  moved           gets its secrets from the injector alone
  mixed           gets others from native Secrets or another product, too
  refused         asks for secrets and has problems; all are listed
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
    /// Only metadata is requested. But the right that is needed, `list` on Secrets, lets its holder read their values, too:
    /// RBAC cannot tell the two apart. Without this flag, no right on Secrets is needed.
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

    /// The older of the cluster's API server and its oldest kubelet; asked of the cluster by default, for manifests the oldest supported one
    #[arg(long, value_name = "VERSION", env = "SCAIVAULT_INJECTOR_KUBE_VERSION")]
    pub(super) kube_version: Option<KubeVersion>,

    /// Policies (`InjectionPolicy`) that hold, besides those of the cluster: a file, or a directory with such files
    ///
    /// May be given more than once. One of the same name as a policy of the cluster takes its place, so that the effect of a
    /// change can be seen before it is applied. Policies among the manifests are checked and not used.
    #[arg(long = "policy", value_name = "FILE|DIR", value_hint = ValueHint::AnyPath)]
    pub(super) policies: Vec<PathBuf>,

    #[command(flatten)]
    pub(super) date: DateArgs,

    /// For manifests: namespaces whose annotations and labels hold for the workloads in them
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
