//! The command line.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use scaivault_inject::KubeVersion;

use crate::{
    demo, manifest_cmd, reference_cmd,
    serve::{self, ServeArgs},
    telemetry::{self, LogArgs},
};

const ABOUT: &str = "Puts ScaiVault secrets into annotated pods";

const LONG_ABOUT: &str = "\
Puts ScaiVault secrets into annotated pods.

A pod template that names secrets in annotations gets a container that fetches them into
memory-backed files before the application starts:

    scaivault.scailabs.ai/inject-secret-db.json: environments/production/billing/database

In a cluster, `serve` does this when a pod is created. On a laptop or in CI, `check`, `inject`
and `detach` do the same to manifests, without a cluster.";

const AFTER_HELP: &str = "\
Examples:
  scaivault-injector check -f deploy/         what would happen to each manifest
  scaivault-injector inject -f app.yaml | kubectl apply -f -
  scaivault-injector annotations              all that can be written
  scaivault-injector demo                     see an injection, nothing needed

Exit codes:
  0  fine
  1  a manifest has problems; all of them are listed
  2  wrong usage, an input that cannot be read, or a server that cannot go on";

// Lines of at most 90 characters: on a wide terminal clap wraps at 100, and a wrapped example cannot be copied.
const INJECT_HELP: &str = "\
Examples:
  scaivault-injector inject -f app.yaml | kubectl apply -f -
  kustomize build . | scaivault-injector inject | kubectl apply -f -
  helm template app ./chart | scaivault-injector inject > injected.yaml
  scaivault-injector inject -f deploy/ --namespace-file namespace.yaml --diff > out.yaml

What changes:
  The pods of Pod, PodTemplate, Deployment, StatefulSet, DaemonSet, ReplicaSet,
  ReplicationController, Job and CronJob, alone or in a List. The rest passes through.

What is written:
  - The manifests go to standard output, the report to standard error.
  - A document that does not change is written back byte for byte. A changed one keeps
    the comments before and after its content; those inside are lost. JSON stays JSON.
  - If a manifest has problems, nothing goes to standard output, so that no half of it is
    applied. Problems that the configuration lets through (onProblem: warn) are reported,
    and the manifests are written.
  - With --output json: one v1 List of all objects, also for a single one.
  - Service accounts in the same input give their annotation scaikey.scailabs.ai/role to
    the workloads that use them.";

const DETACH_HELP: &str = "\
Examples:
  scaivault-injector detach -f injected.yaml > app.yaml
  kubectl get deployment app -o yaml | scaivault-injector detach --diff --output report
  scaivault-injector detach --by-name -f old.yaml > app.yaml

The exact inverse of `inject`: what the annotation scaivault.scailabs.ai/receipt marks is
taken out. A manifest with the injector's names but without a receipt is left alone and
reported as a problem; --by-name takes out everything that carries a name of the injector,
receipt or not. Output is as for `inject`.";

const CHECK_HELP: &str = "\
Examples:
  scaivault-injector check -f deploy/
  helm template app ./chart | scaivault-injector check
  scaivault-injector check -f app.yaml --explain      where each setting was written
  scaivault-injector check -f app.yaml --diff         what would be injected
  scaivault-injector check -f deploy/ -o json | jq '.objects[] | select(.problems != [])'

With --output json: one object with `objects` (file, line, kind, name, outcome, reason,
problems, warnings), `errors` (what cannot be read) and `summary` (how many of each
outcome).";

/// The program.
#[derive(Debug, Parser)]
#[command(name = "scaivault-injector", version, about = ABOUT, long_about = LONG_ABOUT, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the admission webhook in a cluster
    Serve(Box<ServeCommand>),
    /// Write manifests with what the webhook would add
    #[command(after_help = INJECT_HELP)]
    Inject(InjectArgs),
    /// Write manifests without what was injected
    #[command(after_help = DETACH_HELP)]
    Detach(DetachArgs),
    /// Report what the webhook would do to manifests, and every problem
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Print the reference of all annotations
    Annotations(AnnotationsArgs),
    /// Show an injection on this machine: a webhook over TLS, an example, the change
    Demo(DemoArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

impl Cli {
    /// Does what the arguments say.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(command) => {
                let ServeCommand { log, serve } = *command;
                telemetry::init(&log)?;
                serve::run(&serve)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Inject(args) => manifest_cmd::inject(&args),
            Command::Detach(args) => manifest_cmd::detach(&args),
            Command::Check(args) => manifest_cmd::check(&args),
            Command::Annotations(args) => reference_cmd::annotations(&args),
            Command::Demo(args) => demo::run(&args),
            Command::Completions(args) => reference_cmd::completions(&args),
        }
    }
}

/// `serve`.
#[derive(Debug, Args)]
struct ServeCommand {
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Which manifests.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// A file, a directory (its .yaml, .yml and .json files, recursively), or `-` for standard input
    ///
    /// May be given more than once. Without it, standard input is read.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", value_hint = ValueHint::AnyPath)]
    pub(crate) filenames: Vec<PathBuf>,
}

/// What a cluster would add to what the manifest says.
#[derive(Debug, Args)]
pub(crate) struct LayerArgs {
    /// The injector's configuration file, for its defaults and limits
    #[arg(long, value_name = "FILE", env = "SCAIVAULT_INJECTOR_CONFIG", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,

    /// Namespace manifests whose annotations are the defaults of the workloads in them
    ///
    /// If the file holds exactly one namespace, it is also that of manifests without one.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) namespace_file: Option<PathBuf>,

    /// The older of the cluster's API server and oldest kubelet
    #[arg(long, value_name = "VERSION", env = "SCAIVAULT_INJECTOR_KUBE_VERSION", default_value_t = KubeVersion::OLDEST)]
    pub(crate) kube_version: KubeVersion,
}

/// `inject`.
#[derive(Debug, Args)]
pub(crate) struct InjectArgs {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) layers: LayerArgs,

    /// What goes to standard output: the manifests, one JSON List of them, or only the report
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

    /// Take out all that carries a name of the injector, with or without a receipt
    #[arg(long)]
    pub(crate) by_name: bool,

    /// What goes to standard output: the manifests, one JSON List of them, or only the report
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
}

/// Where `inject` and `detach` leave their result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManifestOutput {
    /// The manifests as they were written, YAML or JSON
    Yaml,
    /// One JSON List of all objects
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
    /// A JSON schema of the defaults in the injector's configuration
    Schema,
}

/// `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The Kubernetes version that the webhook assumes
    #[arg(long, value_name = "VERSION", env = "SCAIVAULT_INJECTOR_KUBE_VERSION", default_value_t = KubeVersion::OLDEST)]
    pub(crate) kube_version: KubeVersion,
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }
}
