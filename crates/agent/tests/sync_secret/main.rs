//! `sync-secret` with a real API server and the documented permissions:
//! `cargo xtask test --test sync_secret`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod cluster;
mod example;
mod refused;
mod rights;
#[path = "../support/mod.rs"]
mod support;
mod written;
