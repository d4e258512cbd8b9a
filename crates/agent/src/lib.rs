//! `scaivault-agent`: what runs in the pods. `init` fetches secrets once, `sidecar` keeps them fresh, `wait` and
//! `healthz` hold back what needs them, `verify` compares them, `sync-secret` writes them to a Secret of Kubernetes.
//!
//! A library of one function, so that the injector's demonstration can run the agent without its image.

mod cli;
mod compose;
mod config;
mod delivery;
mod environment;
mod exit;
mod failure;
mod fetch;
mod gate;
mod init;
mod initial_fetch;
mod leases;
mod metrics;
mod reload;
mod retry;
mod schedule;
mod sidecar;
mod sink;
mod state;
mod sync_secret;
mod telemetry;
mod verify;

pub use cli::run;
