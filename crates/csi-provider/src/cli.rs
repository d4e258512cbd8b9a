//! The command line.

use std::{
    error::Error,
    ffi::OsString,
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use scaivault_cluster::reason;
use scaivault_contract::{ObjectName, defaults};
use thiserror::Error;
use tracing_subscriber::filter::LevelFilter;

use crate::{
    check::{self, Finding},
    cluster,
    config::ConfigFlags,
    serve::{ServeError, Settings, VersionKey, serve},
    shared_key::SecretName,
    telemetry,
};

/// Provider of the Secrets Store CSI driver: mounts ScaiVault secrets as volumes.
#[derive(Parser)]
#[command(name = "scaivault-csi-provider", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the driver of this node
    Serve(Box<ServeArgs>),
    /// Check what mounts need in the cluster, and report what is missing
    Check(CheckArgs),
}

#[derive(Args)]
struct CheckArgs {
    /// Audience of the tokens that the driver must request
    #[arg(long, value_name = "AUDIENCE", default_value = defaults::AUDIENCE)]
    audience: String,
}

#[derive(Args)]
struct ServeArgs {
    /// Socket to listen on: NAME.sock in a directory of the driver's providers; may be repeated
    #[arg(long = "socket", value_name = "PATH", required = true)]
    sockets: Vec<PathBuf>,
    /// Address of the HTTP port of probes and metrics
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    ops_listen: SocketAddr,
    /// Address of ScaiVault for classes without `base_url`
    #[arg(long, value_name = "URL")]
    url: String,
    /// Another address that is allowed as `base_url` of a class; may be repeated
    #[arg(long = "allow-url", value_name = "URL")]
    allow_urls: Vec<String>,
    /// PEM file with the certificate authorities of these addresses; default: the public ones
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// YAML file with the values that classes may use: audiences, roles, addresses with their certificate authorities
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory for leases with their credentials, for logins, and for keys of object versions. It should
    /// be in memory (tmpfs) and must survive restarts of the process
    #[arg(long, value_name = "DIR", default_value = "/run/scaivault-csi-provider")]
    state_dir: PathBuf,
    /// Name of this node. Its pods are watched to revoke leases, fill in variables and apply policies.
    /// Without it, dynamic credentials are refused
    #[arg(long, value_name = "NAME")]
    node_name: Option<ObjectName>,
    /// Refuse dynamic credentials
    #[arg(long)]
    no_dynamic_credentials: bool,
    /// Apply the cluster's policies (`InjectionPolicy`) to the requests of classes
    #[arg(long, requires = "node_name")]
    policies: bool,
    /// File with the key of object versions, at least 32 bytes, the same on all nodes; default: each node generates one
    #[arg(long, value_name = "FILE", conflicts_with = "version_key_secret")]
    version_key_file: Option<PathBuf>,
    /// Secret for this key; the first node generates the key
    #[arg(long, value_name = "NAMESPACE/NAME")]
    version_key_secret: Option<SecretName>,
    /// Log level: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LevelFilter,
}

/// Runs the command of the arguments, which begin with the program's name. The process must not be shared
/// with other code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // First of all, because otherwise another process of the same user could read tokens and secrets through
    // /proc. If the kernel refuses, the provider runs without this protection.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let command = match Cli::try_parse_from(arguments) {
        Ok(Cli { command }) => command,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match command {
        Command::Serve(args) => {
            telemetry::init(args.log_level);
            let ended = run_serve(*args);
            if let Err(error) = &ended {
                tracing::error!(%error, "failed");
            }
            telemetry::flush();
            if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        // A person runs it in a terminal, so its errors are text and not log lines.
        Command::Check(args) => match run_check(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = writeln!(io::stderr(), "error: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

/// Why `check` failed.
#[derive(Debug, Error)]
enum CheckError {
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
    #[error(
        "no Kubernetes API found: {0}; set KUBECONFIG to the path of a kubeconfig, or run in a pod with a service \
         account's token"
    )]
    NoCluster(Box<dyn Error + Send + Sync>),
    #[error(
        "the API server cannot be queried: {}; check the cluster of KUBECONFIG, and your right to get CSIDrivers and \
         CustomResourceDefinitions", reason(.0)
    )]
    Query(kube::Error),
    #[error("cannot write the report: {0}")]
    Output(io::Error),
    #[error("{0} requirements are not met; the lines `missing` have the fixes")]
    Missing(usize),
}

fn run_check(args: &CheckArgs) -> Result<(), CheckError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let findings = runtime.map_err(CheckError::Runtime)?.block_on(async {
        let client = cluster::client().await.map_err(CheckError::NoCluster)?;
        check::check(&client, &args.audience).await.map_err(CheckError::Query)
    })?;
    let mut stdout = io::stdout().lock();
    for finding in &findings {
        writeln!(stdout, "{finding}").map_err(CheckError::Output)?;
    }
    match findings.iter().filter(|finding| matches!(finding, Finding::Missing(_))).count() {
        0 => Ok(()),
        missing => Err(CheckError::Missing(missing)),
    }
}

fn run_serve(args: ServeArgs) -> Result<(), ServeError> {
    let ServeArgs {
        sockets,
        ops_listen,
        url,
        allow_urls,
        ca_file,
        config,
        state_dir,
        node_name,
        no_dynamic_credentials,
        policies,
        version_key_file,
        version_key_secret,
        log_level: _,
    } = args;
    let version_key = match (version_key_file, version_key_secret) {
        (Some(file), _) => VersionKey::File(file),
        (None, Some(secret)) => VersionKey::Secret(secret),
        (None, None) => VersionKey::OfNode,
    };
    // Rendering templates and answering probes run on separate threads.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let given = ConfigFlags { url, allow_urls, ca_file, file: config };
    runtime.map_err(ServeError::Runtime)?.block_on(serve(Settings {
        sockets,
        ops_listen,
        state_dir,
        node_name,
        has_dynamic_credentials: !no_dynamic_credentials,
        has_policies: policies,
        version_key,
        given,
    }))
}
