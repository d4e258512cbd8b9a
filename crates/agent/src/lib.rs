//! `scaivault-agent`, the process in the pods. `init` fetches secrets once, `sidecar` keeps the
//! files up to date, `wait` and `healthz` hold back other containers, `verify` compares files, and
//! `sync-secret` writes secrets to a Kubernetes Secret.
//!
//! A library with one function, so that the injector's demo can run the agent without its image.

mod atomic_writer;
mod cli;
mod compose;
mod config;
mod delivery;
mod environment;
mod exit;
mod failure;
mod fetch;
mod init;
mod leases;
mod metrics;
mod reload;
mod retry;
mod schedule;
mod sidecar;
mod state;
mod sync_secret;
mod telemetry;
mod verify;

pub use cli::run;
