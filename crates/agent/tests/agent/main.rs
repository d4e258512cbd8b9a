//! The built agent with a ScaiVault in this process: files, exit codes, restarts, signals.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod answers;
mod codes;
mod events;
mod hostile;
mod init;
mod leases;
mod logs;
mod memory;
mod process;
mod reads;
mod reload;
mod sidecar;
mod stop;
#[path = "../support/mod.rs"]
mod support;
mod sync_secret;
mod trouble;
mod variables;
mod verify;
mod volume;
