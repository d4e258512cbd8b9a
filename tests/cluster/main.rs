//! The injector with a real control plane, whose programs `cargo xtask test` finds or builds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]
#![allow(clippy::print_stdout, reason = "a test that runs as another process prints its state")]

mod apply;
mod audit;
mod control_plane;
mod injection;
mod mistakes;
mod modes;
mod outage;
mod policies;
mod policy_definition;
mod policy_upgrade;
mod restarter;
mod restarter_rights;
mod support;
mod webhook;
