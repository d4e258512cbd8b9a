//! A ScaiVault in one process, for development and tests. It has no protection: never put a real
//! secret into it.
//!
//! Service account tokens are really verified, policies, versions, leases and rate limits behave as
//! published, and faults can be switched on at run time. If `ScaiVault`'s documentation does not
//! specify something, the routes follow its conventions; [`Route`] documents which parts are
//! guessed. Dynamic credentials are random, or users of a real PostgreSQL if an engine of the
//! [`Seed`] refers to one.

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
