//! Tests of the core through its public interface: properties of random pods, and scenarios of a
//! cluster.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod changed_plan;
mod configuration;
mod hostile;
mod known_sidecars;
mod laws;
mod mount_points;
mod not_text;
mod opt_out;
mod permissions;
mod pod_settings;
mod policies;
mod problems;
mod reinvocation;
mod security;
mod support;
mod templates;
mod tenant;
mod workload;
