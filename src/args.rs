//! The arguments of the subcommands, but for those of `serve`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use scaivault_inject::KubeVersion;
use scaivault_policy::Date;

/// The cluster that is decided for: the same flags, variables and words in every subcommand that decides offline.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    #[command(flatten)]
    pub(crate) kube_version: KubeVersionArgs,
}

/// The settings.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct ConfigArgs {
    /// The injector's configuration file (YAML or JSON); without one, the built-in defaults
    #[arg(long, value_name = "FILE", env = "SCAIVAULT_INJECTOR_CONFIG", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
}

/// The version of the cluster.
#[derive(Args, Clone, Copy, Debug)]
#[group(skip)]
pub(crate) struct KubeVersionArgs {
    /// Kubernetes version that decides what may be injected: the older of the cluster's API server
    /// and its oldest kubelet
    #[arg(long, value_name = "VERSION", env = "SCAIVAULT_INJECTOR_KUBE_VERSION", default_value_t = KubeVersion::OLDEST)]
    pub(crate) kube_version: KubeVersion,
}

/// Which manifests.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// A file, a directory (its .yaml, .yml and .json files, recursively), or `-` for standard input
    ///
    /// Hidden files of a directory, whose names begin with a dot, are left out.
    ///
    /// May be given more than once. Without it, standard input is read.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", value_hint = ValueHint::AnyPath)]
    pub(crate) filenames: Vec<PathBuf>,
}

/// What a cluster would add to what the manifest says.
#[derive(Debug, Args)]
pub(crate) struct LayerArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,

    /// Namespace manifests whose annotations are the defaults of the workloads in them
    ///
    /// They take precedence over namespaces among the manifests. If the file has exactly one, it
    /// also applies to manifests without a namespace.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) namespace_file: Option<PathBuf>,

    /// Policies (`InjectionPolicy`) that are in force in the cluster: a file, or a directory with
    /// such files
    ///
    /// May be given more than once. Objects of other kinds in it are left out. Policies select namespaces by their
    /// labels, which are those of --namespace-file and of namespaces among the manifests.
    #[arg(long = "policy", value_name = "FILE|DIR", value_hint = ValueHint::AnyPath)]
    pub(crate) policies: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) date: DateArgs,
}

/// The day.
#[derive(Args, Clone, Copy, Debug)]
#[group(skip)]
pub(crate) struct DateArgs {
    /// Day for which exceptions of policies are evaluated, such as 2027-01-31 (UTC); default: today
    #[arg(long, value_name = "DATE")]
    pub(crate) date: Option<Date>,
}

/// `inject`.
#[derive(Debug, Args)]
pub(crate) struct InjectArgs {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) layers: LayerArgs,

    /// What goes to standard output: the manifests, the same as JSON, or only the report
    #[arg(short, long, value_enum, default_value_t = ManifestOutput::Yaml)]
    pub(crate) output: ManifestOutput,

    /// Show in the report what changes
    #[arg(long)]
    pub(crate) diff: bool,

    /// Show in the report each setting and where it was written
    #[arg(long)]
    pub(crate) explain: bool,
}

/// `detach`.
#[derive(Debug, Args)]
pub(crate) struct DetachArgs {
    #[command(flatten)]
    pub(crate) files: FileArgs,

    /// Remove everything that has a name of the injector, with or without a receipt
    #[arg(long)]
    pub(crate) by_name: bool,

    /// What goes to standard output: the manifests, the same as JSON, or only the report
    #[arg(short, long, value_enum, default_value_t = ManifestOutput::Yaml)]
    pub(crate) output: ManifestOutput,

    /// Show in the report what changes
    #[arg(long)]
    pub(crate) diff: bool,
}

/// `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) layers: LayerArgs,

    /// The report for a person or for a program
    #[arg(short, long, value_enum, default_value_t = ReportOutput::Report)]
    pub(crate) output: ReportOutput,

    /// Show what would change
    #[arg(long)]
    pub(crate) diff: bool,

    /// Show each setting and where it was written
    #[arg(long)]
    pub(crate) explain: bool,

    /// Exit with 1 on warnings, as on problems
    #[arg(long)]
    pub(crate) deny_warnings: bool,
}

/// Where `inject` and `detach` leave their result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManifestOutput {
    /// The manifests as they were written, YAML or JSON
    Yaml,
    /// JSON: a single object as it is, several as one List
    Json,
    /// No manifests, only the report
    Report,
}

/// The forms of the report of `check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportOutput {
    /// Lines of text
    Report,
    /// One JSON object
    Json,
}

/// `annotations`.
#[derive(Debug, Args)]
pub(crate) struct AnnotationsArgs {
    /// How it is written
    #[arg(long, value_enum, default_value_t = AnnotationsFormat::Table)]
    pub(crate) format: AnnotationsFormat,
}

/// The forms of the annotations' reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnnotationsFormat {
    /// A table for a terminal
    Table,
    /// Markdown
    Md,
    /// JSON, one object for each annotation
    Json,
    /// A JSON schema of a map of annotations, with their full keys
    Schema,
}

/// `policy`.
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

/// What `policy` does.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Run the test cases of policies
    #[command(after_help = POLICY_TEST_HELP)]
    Test(PolicyTestArgs),
    /// Print the definition (`CustomResourceDefinition`) of `InjectionPolicy` or `RotationRollout`
    Crd(PolicyCrdArgs),
}

// Lines have at most 90 characters, because clap wraps at 100 on a wide terminal, and a wrapped
// example cannot be copied.
const POLICY_TEST_HELP: &str = "\
Examples:
  scaivault-injector policy test policies/
  scaivault-injector policy test billing.test.yaml --output json

A file has objects of the kind InjectionPolicyTest, and may also have the policies:

    apiVersion: scaivault.scailabs.ai/v1alpha1
    kind: InjectionPolicyTest
    policies: [billing.yaml]                    # files or directories, relative to this file
    namespaces:
    - {name: billing, labels: {team: billing}}
    cases:
    - name: an invoice pod gets the database
      namespace: billing
      pod: {metadata: {labels: {app: invoices}}}
      expect:
        outcome: injected
        secrets: {db.json: environments/production/billing/database}

docs/policies.md describes all fields.

Exit codes:
  0  all cases passed
  1  a case failed, or a policy or test has problems
  2  wrong usage, or an input that cannot be read";

/// `policy test`.
#[derive(Debug, Args)]
pub(crate) struct PolicyTestArgs {
    /// Files with test cases, or directories with such files
    #[arg(value_name = "FILE|DIR", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,

    #[command(flatten)]
    pub(crate) date: DateArgs,

    /// The result for a person or for a program
    #[arg(short, long, value_enum, default_value_t = ReportOutput::Report)]
    pub(crate) output: ReportOutput,
}

/// `policy crd`.
#[derive(Debug, Args)]
pub(crate) struct PolicyCrdArgs {
    /// Kind that is defined
    #[arg(long, value_enum, default_value_t = DefinedKind::InjectionPolicy)]
    pub(crate) kind: DefinedKind,

    /// How it is written
    #[arg(long, value_enum, default_value_t = PolicyCrdFormat::Yaml)]
    pub(crate) format: PolicyCrdFormat,
}

/// The kinds that this product defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum DefinedKind {
    /// What the platform team writes to inject secrets and to limit annotations
    InjectionPolicy,
    /// The state of a workload, which the restart controller writes
    RotationRollout,
}

/// The forms of the definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyCrdFormat {
    /// YAML for `kubectl apply`
    Yaml,
    /// The fields as a table, Markdown
    Md,
}

/// `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) kube_version: KubeVersionArgs,

    /// Show all that the patch changes
    #[arg(long)]
    pub(crate) diff: bool,
}

/// `completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  scaivault-injector completions bash > /etc/bash_completion.d/scaivault-injector"
)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: Shell,
}

/// `self-test`.
#[derive(Debug, Args)]
#[command(
    after_help = "The cluster is the one of KUBECONFIG or ~/.kube/config; if neither is found, the one this pod runs in.\nThe user needs only the right to create pods in the namespace. No pod is created."
)]
pub(crate) struct SelfTestArgs {
    /// Namespace of the dry-run pod; the API server must call the webhook for it
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) namespace: String,
}
