//! A ScaiVault in one process, for development and tests. It protects nothing: no real secret belongs into it.
//!
//! Tokens of service accounts are really verified, policies, versions, leases and rate limits are kept as published,
//! and faults can be switched on while it runs. Where `ScaiVault`'s documentation says nothing, the routes follow its
//! conventions; [`Route`] says of each which part is guessed. Dynamic credentials are made up: there is no database.

mod admin;
mod clock;
mod error;
mod glob;
mod handle;
mod http;
mod issuer;
mod jwks_url;
mod keys;
mod random;
mod refetch;
mod route;
mod seed;
mod serve;
mod shared;
mod vault;

pub use handle::Handle;
pub use issuer::{Issuer, IssuerError};
pub use jwks_url::{FetchError, JwksUrl, JwksUrlError};
pub use keys::{Keys, KeysError};
pub use route::{Category, Route};
pub use seed::{ClientCredentials, Engine, Identity, Permission, Role, Rule, Seed, SeedError, SeedSecret};
pub use serve::{DevServer, Settings, StartError, Tls};
pub use vault::{
    faults::{Effect, Fault},
    leases::LeaseState,
};
