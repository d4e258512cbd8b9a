//! `sync-secret` beside a real API server, with rights as its documentation gives them: `cargo xtask test --test sync_secret`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod cluster;
mod example;
mod refused;
mod rights;
#[path = "../support/mod.rs"]
mod support;
mod written;
