//! The command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tracing_subscriber::filter::LevelFilter;

use crate::{
    config::Given,
    serve::{ServeError, Settings, serve},
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
    Serve(ServeArgs),
}

#[derive(Args)]
struct ServeArgs {
    /// Socket to listen at, NAME.sock in a directory of the driver's providers; may be given several times
    #[arg(long = "socket", value_name = "PATH", required = true)]
    sockets: Vec<PathBuf>,
    /// Where probes and metrics are served
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    ops_listen: SocketAddr,
    /// Address of ScaiVault, for classes that name none
    #[arg(long, value_name = "URL")]
    url: String,
    /// Another address that classes may name as `base_url`; may be given several times
    #[arg(long = "allow-url", value_name = "URL")]
    allow_urls: Vec<String>,
    /// PEM file of the authorities of these addresses; without it the public ones are trusted
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// YAML file with what classes may name: audiences, roles, addresses with their own authorities
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory for the key of object versions, and for leases with their credentials; kept over restarts, in memory
    #[arg(long, value_name = "DIR", default_value = "/run/scaivault-csi-provider")]
    state_dir: PathBuf,
    /// Name of this node, whose pods are watched to revoke leases; without it, dynamic credentials are refused
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// What is logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LevelFilter,
}

/// Does what the arguments say, in a process that is the provider's alone. `arguments` begin with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // First of all: another process of the same user could read tokens and secrets through /proc. Where the kernel
    // refuses, nothing is lost that was there before.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let Cli { command: Command::Serve(args) } = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    telemetry::init(args.log_level);
    let ended = run_serve(args);
    if let Err(error) = &ended {
        tracing::error!(%error, "failed");
    }
    telemetry::flush();
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
        log_level: _,
    } = args;
    // A template is rendered on a thread of its own, for which one of these waits; the other goes on.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let given = Given { url, allow_urls, ca_file, file: config };
    runtime.map_err(ServeError::Runtime)?.block_on(serve(Settings {
        sockets,
        ops_listen,
        state_dir,
        node_name,
        given,
    }))
}
