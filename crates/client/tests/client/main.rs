//! The client with a ScaiVault in the same process, and with hostile servers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod answers;
mod certificates;
mod connections;
mod events;
mod fixture;
mod hostile;
mod leases;
mod login;
mod proxy;
mod secrets;
mod tls;
mod versions;
