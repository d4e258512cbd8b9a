//! The settings of a client.

use std::time::Duration;

use thiserror::Error;

use crate::{
    Address, Login, Proxy, TenantId,
    tls::{Trust, TrustError},
};

/// The settings of a client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address of `ScaiVault`.
    pub address: Address,
    /// The way to log in.
    pub login: Login,
    /// The trusted CAs.
    pub trust: Trust,
    /// The proxy; `None` for direct connections.
    pub proxy: Option<Proxy>,
    /// The tenant; `None` for that of the identity.
    pub tenant: Option<TenantId>,
    /// The timeouts.
    pub timeouts: Timeouts,
}

/// The timeouts of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection: name resolution, TCP, proxy and TLS together.
    pub connect: Duration,
    /// For an answer's head, and then for each piece of its body: a server that makes progress is
    /// waited for, up to eight times this in total. A poll adds its own wait; a generation uses its
    /// caller's timeout instead.
    pub idle: Duration,
    /// The approximate age at which a connection is replaced, so that changes of DNS and of a load
    /// balancer take effect.
    pub connection_age: Duration,
}

impl Default for Timeouts {
    /// 5 s for a connection; 15 s without progress, because federated secrets are as slow as their
    /// backend; ten minutes for the age of a connection.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(15),
            connection_age: Duration::from_mins(10),
        }
    }
}

/// Why a client could not be created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The CAs cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A host that cannot be in a certificate.
    #[error("{0} is not a host that a certificate can name; use a DNS name or an IP address")]
    Host(String),
    /// The error of the TLS library.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}
