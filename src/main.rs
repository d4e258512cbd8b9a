//! `scaivault-injector`: the admission webhook (`serve`), and the same core on manifests and clusters.

mod apply;
mod args;
mod audit;
mod cli;
mod cluster;
mod config;
mod csi;
mod demo;
mod diff;
mod document;
mod edit;
mod evaluate;
mod input;
mod manifest_cmd;
mod migrate;
mod object;
mod offline_cluster;
mod output;
mod policy;
mod reference_cmd;
mod report;
mod restarter;
mod runtime;
mod self_test;
mod serve;
mod strict_json;
mod telemetry;
mod yaml_stream;

/// musl's allocator, the default of a static binary, is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let run = || cli::Cli::from_command_line().run().unwrap_or_else(|error| output::failure(&error));
    demo::instead().unwrap_or_else(run)
}
