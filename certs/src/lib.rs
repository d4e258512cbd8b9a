//! Certificates of the webhook: issued on the fly, loaded from files, or managed together with the other replicas by a
//! Secret; served through a resolver that can be swapped while connections are open.
//!
//! Wall-clock time is a parameter everywhere. Private keys have no `Debug`.

mod authority;
mod ca_bundle;
mod call;
mod client_authorities;
#[cfg(test)]
mod fake_api;
mod files;
mod leaf;
mod publish;
mod reload;
mod resolver;
mod rotation;
mod rotator;
mod secret_store;
mod state;
mod tls;

pub use authority::{Authority, AuthorityError, IssueError, Leaf};
pub use ca_bundle::BundleError;
pub use call::CallError;
pub use client_authorities::{
    CheckedClients, ClientAuthorities, ClientAuthoritiesError, ClientAuthoritiesReloader, Skipped,
};
pub use files::{LoadError, Loaded, Validity, load};
pub use leaf::MintError;
pub use publish::PublishError;
pub use reload::{Checked, DEFAULT_RELOAD_INTERVAL, Reloader};
pub use resolver::CertResolver;
pub use rotation::{Policy, PolicyError};
pub use rotator::{Done, LookError, Looked, Managed, Rotator};
pub use secret_store::StoreError;
pub use state::StateError;
pub use tls::{client_config, mutual_server_config, provider, server_config};

/// The field manager of everything that is written to the cluster.
const FIELD_MANAGER: &str = "scaivault-injector";
