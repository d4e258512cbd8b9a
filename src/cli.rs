//! The command line: subcommands and their entry points.

use std::process::ExitCode;

use clap::{
    Args, CommandFactory, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{
    args::{
        AnnotationsArgs, CheckArgs, CompletionsArgs, DemoArgs, DetachArgs, InjectArgs, PolicyArgs,
        SelfTestArgs,
    },
    audit::{self, AuditArgs},
    demo, manifest_cmd,
    migrate::{self, MigrateArgs, VerifyArgs},
    policy, reference_cmd,
    restarter::{self, RestartArgs, RestarterArgs},
    self_test,
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
  scaivault-injector annotations              reference of all annotations
  scaivault-injector demo                     run it on this machine, without a cluster

Exit codes:
  0  success
  1  a manifest has problems, or with `check --deny-warnings` warnings; all are listed
  2  wrong usage, an input that cannot be read, or a server that failed";

// Lines have at most 90 characters, because clap wraps at 100 on a wide terminal, and a wrapped
// example cannot be copied.
const INJECT_HELP: &str = "\
Examples:
  scaivault-injector inject -f app.yaml | kubectl apply -f -
  kustomize build . | scaivault-injector inject | kubectl apply -f -
  helm template app ./chart | scaivault-injector inject > injected.yaml
  scaivault-injector inject -f deploy/ --namespace-file namespace.yaml --diff > out.yaml

What changes:
  The pods of Pod, PodTemplate, Deployment, StatefulSet, DaemonSet, ReplicaSet,
  ReplicationController, Job, CronJob, Rollout and DeploymentConfig, and every pod
  template in an object of another kind, found by its shape: `spec.containers`, and no
  keys but `spec` and `metadata`. Objects may be in a List. All others are unchanged.

What is written:
  - The manifests go to standard output, the report to standard error.
  - Only the changed parts of the text are edited, in YAML and in JSON: comments, layout,
    line endings and the notation of numbers are kept. If an alias, a merge key or an
    unusual layout prevents that, the document is rewritten without the comments inside
    it, and a warning says why.
  - If a manifest has problems, nothing is written to standard output, so that manifests
    are never applied in part. Problems that the configuration allows (onProblem: warn)
    are reported, and the manifests are written.
  - With --output json: one object that is not in a List is written as it is; otherwise
    one v1 List of all objects is written.
  - Annotations of namespaces and service accounts in the same input are defaults for the
    workloads in these namespaces or with these service accounts. Policies in the input
    are not applied: pass them with --policy.";

const DETACH_HELP: &str = "\
Examples:
  scaivault-injector detach -f injected.yaml > app.yaml
  kubectl get deployment app -o yaml | scaivault-injector detach --diff --output report
  scaivault-injector detach --by-name -f old.yaml > app.yaml

The exact inverse of `inject`: removes everything that the annotation
scaivault.scailabs.ai/receipt records. A manifest with the injector's names but without a
receipt is unchanged and reported as a problem; --by-name removes everything with a name
of the injector, with or without a receipt. Output is as for `inject`. It is the input of
`inject`, byte for byte, except that `volumes: null` becomes `volumes:`.";

const CHECK_HELP: &str = "\
Examples:
  scaivault-injector check -f deploy/
  helm template app ./chart | scaivault-injector check
  scaivault-injector check -f app.yaml --explain      where each setting was written
  scaivault-injector check -f app.yaml --diff         what would be injected
  scaivault-injector check -f deploy/ --deny-warnings  exit with 1 on warnings, too
  scaivault-injector check -f deploy/ --policy policies/  with the cluster's policies
  scaivault-injector check -f deploy/ -o json | jq '.objects[] | select(.problems != [])'

Annotations of namespaces and service accounts in the same input are defaults for the
workloads in these namespaces or with these service accounts, and are checked themselves.
Policies in the input are checked as the cluster would check them, but not applied: pass
them with --policy.

With --output json: one object with
  objects   file, line, apiVersion, kind, namespace, name, outcome, reason, warnings,
            problems (each with code, key, layer, text, fix). Optional:
            pointer (the place in a List), template (the place of the pod template in an
            object of another kind), secrets (how many are injected), note, settings
            (with --explain: key, value, layer, rule), diff (with --diff)
  errors    what cannot be read: file, message, and if known line, column, hint
  summary   how many objects have each outcome";

const MIGRATE_HELP: &str = "\
Examples:
  scaivault-injector migrate -f deploy/ --map map.yaml --output-dir migration
  scaivault-injector migrate -f deploy/ --path 'environments/prod/${namespace}/${secret}' \\
    --output-dir migration
  helm template app ./chart | scaivault-injector migrate --map map.yaml > migrated.yaml

What is migrated:
  - native Secrets that are mounted (also projected, or with subPath) or read as variables
    (env, envFrom): the files keep their paths, the variables their names
  - annotations of vault-k8s, with their templates, and variables of Bank-Vaults

A workload is migrated completely or left unchanged, with the reason and the fix. It is
also left unchanged if `check` would refuse the result. If the map has no entry for a
secret, the missing entries are printed for you to fill in.

What is written with --output-dir:
  plan.md, plan.json  batches with their commands: compare, apply, wait, verify, go back
  batches/            the manifests of each batch, before and after, and its Jobs
  manifests/          the files with their changes; comments and layout are kept
  original/           the unchanged files

Exit codes:
  0  everything was migrated
  1  something was left unchanged or has problems
  2  an input cannot be read";

const VERIFY_HELP: &str = "\
Example:
  scaivault-injector verify -f deploy/ --map map.yaml | kubectl apply -f -
  kubectl wait --for=condition=Complete job/scaivault-verify-billing
  kubectl logs job/scaivault-verify-billing --container=verify

Pass the manifests from before the migration. In a Job's pod, the kubelet mounts the
native Secrets, and the injector delivers the files from ScaiVault, with the workload's
service account. The agent compares them by a keyed hash and prints equal, different or
missing for each file. Neither values nor hashes are printed, and this program reads
neither.";

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
    /// Restart workloads in a cluster after rotations of their secrets
    #[command(after_help = restarter::HELP)]
    Restarter(Box<RestarterCommand>),
    /// Release a pending restart, such as one of a workload whose restarts are manual
    #[command(after_help = restarter::RESTART_HELP)]
    Restart(RestartArgs),
    /// Write manifests with what the webhook would add
    #[command(after_help = INJECT_HELP)]
    Inject(InjectArgs),
    /// Write manifests without what was injected
    #[command(after_help = DETACH_HELP)]
    Detach(DetachArgs),
    /// Report what the webhook would do to manifests, and every problem
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// List the workloads of manifests or a cluster, the secrets that they use, and what the injector does for them
    #[command(after_help = audit::HELP)]
    Audit(AuditArgs),
    /// Write manifests that get their secrets from ScaiVault in place of native Secrets or Vault
    #[command(after_help = MIGRATE_HELP)]
    Migrate(Box<MigrateArgs>),
    /// Write Jobs that compare what workloads get today with what ScaiVault gives them
    #[command(after_help = VERIFY_HELP)]
    Verify(Box<VerifyArgs>),
    /// Print the reference of all annotations
    Annotations(AnnotationsArgs),
    /// Test policies, and print their definition
    Policy(PolicyArgs),
    /// Run a demonstration on this machine: injection, files, a rotation, shutdown
    Demo(DemoArgs),
    /// Create an annotated pod in a cluster as a dry run, and check that it is injected
    SelfTest(SelfTestArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

impl Cli {
    /// Parses the program's arguments; exits if they are invalid or ask for help.
    pub(crate) fn from_command_line() -> Self {
        Self::try_parse().unwrap_or_else(|error| with_tip(error).exit())
    }

    /// Runs the subcommand.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(command) => {
                let ServeCommand { log, serve } = *command;
                with_log(&log, || serve::run(&serve))
            }
            Command::Restarter(command) => {
                let RestarterCommand { log, restarter } = *command;
                with_log(&log, || restarter::run(&restarter))
            }
            Command::Restart(args) => restarter::release(&args),
            Command::Inject(args) => manifest_cmd::inject(&args),
            Command::Detach(args) => manifest_cmd::detach(&args),
            Command::Check(args) => manifest_cmd::check(&args),
            Command::Audit(args) => audit::run(&args),
            Command::Migrate(args) => migrate::run(&args),
            Command::Verify(args) => migrate::verify(&args),
            Command::Annotations(args) => reference_cmd::annotations(&args),
            Command::Policy(args) => policy::run(&args),
            Command::Demo(args) => demo::run(&args),
            Command::SelfTest(args) => self_test::run(&args),
            Command::Completions(args) => reference_cmd::completions(&args, &mut Self::command()),
        }
    }
}

/// Runs a server with its log, all of which is written at the end.
fn with_log(log: &LogArgs, run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    telemetry::init(log)?;
    let ran = run();
    telemetry::flush();
    ran.map(|()| ExitCode::SUCCESS)
}

/// Adds a tip if a file is given without `-f`.
fn with_tip(mut error: clap::Error) -> clap::Error {
    let takes_files = std::env::args()
        .nth(1)
        .is_some_and(|subcommand| ["inject", "detach", "check"].contains(&subcommand.as_str()));
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return error };
    if takes_files && error.kind() == ErrorKind::UnknownArgument && !argument.starts_with('-') {
        let tip = format!("write -f {argument}");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// `serve`.
#[derive(Debug, Args)]
struct ServeCommand {
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// `restarter`.
#[derive(Debug, Args)]
struct RestarterCommand {
    #[command(flatten)]
    restarter: RestarterArgs,
    #[command(flatten)]
    log: LogArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }
}
