//! Certificates of the webhook: issued in memory, loaded from files, or managed together with the
//! other replicas through a Secret. They are served through a resolver whose certificate can be
//! replaced while connections are open.
//!
//! Wall-clock time is always a parameter. Private keys do not implement `Debug`.

mod authority;
mod ca_bundle;
mod call;
mod client_authorities;
mod content;
#[cfg(test)]
mod fake_api;
mod files;
mod leaf;
mod publish;
mod reload;
mod rotation;
mod rotator;
mod secret_store;
mod state;
mod tls;

pub use authority::{Authority, AuthorityError, IssueError, Leaf};
pub use ca_bundle::BundleError;
pub use call::CallError;
pub use client_authorities::{
    ClientAuthorities, ClientAuthoritiesError, ClientAuthoritiesReloader, SkippedCertificates,
};
pub use content::{CheckResult, ContentInUse};
pub use files::{LoadError, ServableCertificate, Validity, load};
pub use leaf::MintError;
pub use publish::PublishError;
pub use reload::{DEFAULT_RELOAD_INTERVAL, Reloader};
pub use rotation::{Policy, PolicyError};
pub use rotator::{Change, ManagedCertificate, Rotator, SyncError, SyncReport};
pub use secret_store::StoreError;
pub use state::StateError;
pub use tls::{CertResolver, client_config, mutual_server_config, provider, server_config};

/// The field manager of all writes to the cluster.
const FIELD_MANAGER: &str = "scaivault-injector";
