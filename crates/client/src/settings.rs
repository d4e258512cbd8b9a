//! What a client is made of.

use std::time::Duration;

use thiserror::Error;

use crate::{
    Address, Login, Proxy, TenantId,
    tls::{Trust, TrustError},
};

/// What a client is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where `ScaiVault` is.
    pub address: Address,
    /// How to log in.
    pub login: Login,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// The proxy in between; none for a direct way.
    pub proxy: Option<Proxy>,
    /// The tenant to act in; none for that of the identity.
    pub tenant: Option<TenantId>,
    /// How long to wait.
    pub timeouts: Timeouts,
}

/// How long a client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection: name resolution, TCP, proxy and TLS together.
    pub connect: Duration,
    /// For an answer's head, and then for each piece of its body: a server that makes progress is waited for, up to eight
    /// times this in total. A poll has its own wait on top; a generation has the patience of its caller instead.
    pub idle: Duration,
    /// The age, about, at which a connection is replaced, so that changes of DNS and of a load balancer take effect.
    pub connection_age: Duration,
}

impl Default for Timeouts {
    /// 5 s for a connection, 15 s without progress: federated secrets are as slow as the backend behind them. Ten minutes
    /// for a connection.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(15),
            connection_age: Duration::from_mins(10),
        }
    }
}

/// Why there is no client.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The authorities cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A host that no certificate can name.
    #[error("{0} is not a host that a certificate can name; use a DNS name or an IP address")]
    Host(String),
    /// The TLS library refuses.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}
