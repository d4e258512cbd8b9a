//! A ScaiVault in one process, for development and tests. It protects nothing: no real secret belongs into it.
//!
//! Tokens of service accounts are really verified, policies, versions, leases and rate limits are kept as published,
//! and faults can be switched on while it runs. Where `ScaiVault`'s documentation says nothing, the routes follow its
//! conventions; [`Route`] says of each which part is guessed. Dynamic credentials are made up, or users of a real
//! PostgreSQL where an engine of the [`Seed`] names one.

mod admin;
mod clock;
mod error;
mod glob;
mod handle;
mod http;
mod issuer;
mod jwks_url;
mod keys;
mod postgres;
mod random;
mod refetch;
mod route;
mod seed;
mod serve;
mod shared;
mod users;
mod vault;

pub use handle::Handle;
pub use issuer::{Issuer, IssuerError};
pub use jwks_url::{FetchError, JwksUrl, JwksUrlError};
pub use keys::{Keys, KeysError};
pub use postgres::{ConnectError, DatabaseError};
pub use route::{Category, Route};
pub use seed::{
    ClientCredentials, ConnectionUrl, Engine, Identity, Permission, Postgres, Role, Rule, Seed, SeedError,
    SeedSecret, Statement,
};
pub use serve::{DevServer, Settings, StartError, Tls};
pub use vault::{
    faults::{Effect, Fault},
    leases::LeaseState,
};
