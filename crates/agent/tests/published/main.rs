//! The manifests of ScaiVault's Kubernetes page, written by hand and run as they are: their containers as processes, with
//! exactly their environment, users and paths, against a ScaiVault in this process.
//!
//! The paths are absolute (`/run/secrets/db.json`), so each pod has a private mount namespace and a private process
//! namespace, made by `unshare` of util-linux: nothing of the machine's own `/run` is seen or written, and no process of
//! the machine is signalled.
//!
//! What differs from the page is this, and no more: `SCAIVAULT_URL` names the port of the server in this process, which is
//! another one in each run, and `SCAIVAULT_CA_FILE` its authority, because no public authority signs for a loopback
//! address. A test that shortens a time says so.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod dynamic;
mod init;
mod page;
mod pod;
mod sandbox;
mod sidecar;
#[path = "../support/mod.rs"]
mod support;
