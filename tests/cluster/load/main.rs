//! The installed chart under load: certificate rotation, replicas that start and stop, upgrades.
//!
//! A separate program whose tests run one at a time ([`fleet::turn`]), because their measurements
//! must not be disturbed by other tests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]
#![allow(clippy::print_stdout, reason = "figures are for people to read")]

mod agreement;
mod burst;
mod certificate;
mod endpoints;
mod fleet;
mod lifecycle;
mod policies;
mod rotation;
#[path = "../support/mod.rs"]
mod support;
mod traffic;
