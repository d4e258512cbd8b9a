//! For tests only: pods, random input, and rules of Kubernetes that apply to the injector's output.
//!
//! This crate does not depend on the injector. Names, defaults and inverses are written down a
//! second time, so that a test compares the product with Kubernetes and with the published
//! contract, and not with itself.

mod apply;
mod pod;
#[cfg(feature = "poll")]
mod poll;
mod program;
mod shuffle;
mod split_mix;
mod users;

#[cfg(feature = "api-server")]
pub mod api_server;
#[cfg(feature = "control-plane")]
pub mod balancer;
#[cfg(feature = "control-plane")]
pub mod control_plane;
pub mod hostile;
pub mod inspect;
pub mod pod_security;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod qos;
pub mod random;
#[cfg(feature = "world")]
pub mod world;

pub use apply::{ApplyError, apply};
pub use pod::{PodBuilder, container, pod};
#[cfg(feature = "poll")]
pub use poll::{eventually, poll};
pub use program::copy_program;
pub use shuffle::shuffle_keys;
pub use split_mix::SplitMix;
pub use users::{path_not_allowed, strip_ours, users_content};

/// The prefix of all annotations of the injector.
pub const PREFIX: &str = "scaivault.scailabs.ai/";

/// The key `name` under [`PREFIX`].
pub fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}
