//! `scaivault-csi-provider`: a provider of the Secrets Store CSI driver. The driver calls it over a Unix socket, once for
//! each volume of a pod and again about every minute, and writes what it answers into the volume.
//!
//! One mount goes through the modules in this order: `attributes` reads the request, `turns` says when it is worked on, `objects`
//! reads what is asked for, `token` compares the pod's token with the pod, `logins` exchanges the token, `secrets` and `leases` read
//! the secrets and hold the leases, and `renderer` composes the files.

use std::sync::{Mutex, MutexGuard, PoisonError};

mod attributes;
mod check;
mod cli;
mod cluster;
mod config;
mod events;
mod failure;
mod generated;
mod leases;
mod logins;
mod metrics;
mod mount;
mod objects;
mod ops;
mod pods;
mod policies;
mod renderer;
mod secrets;
mod serve;
mod session;
mod shared_key;
mod socket;
mod state;
mod telemetry;
mod token;
mod turns;
mod variables;
mod versions;

pub use cli::run;

/// Locks what a panic elsewhere has left whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #[test]
    fn generated_code_belongs_to_the_contract() {
        // After a change of the contract: `cargo run` in crates/csi-provider/generate.
        assert_eq!(include_str!("../proto/service.proto"), include_str!("generated.proto"));
    }
}
