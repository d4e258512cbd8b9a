//! The installed chart under load: certificates that rotate, replicas that come and go, upgrades.
//!
//! A program of its own: its tests take turns ([`fleet::turn`]), because what they count must not be slowed down by another.

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
