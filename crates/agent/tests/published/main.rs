//! The manifests of ScaiVault's Kubernetes page, written by hand and run unchanged: their
//! containers as processes with exactly their environment, users and paths, and a ScaiVault in this
//! process.
//!
//! The paths are absolute (`/run/secrets/db.json`), so each pod has a private mount namespace and a
//! private process namespace, created by `unshare` of util-linux: the machine's own `/run` is
//! neither read nor written, and no process of the machine is signalled.
//!
//! The only differences from the page are these: `SCAIVAULT_URL` contains the port of the server in
//! this process, which differs in each run, and `SCAIVAULT_CA_FILE` its CA, because no public CA
//! issues certificates for a loopback address. A test that shortens a time says so.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod dynamic;
mod init;
mod page;
mod pod;
mod sandbox;
mod sidecar;
#[path = "../support/mod.rs"]
mod support;
