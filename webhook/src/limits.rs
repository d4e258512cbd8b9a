//! The resource limits of one server.

use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// The part of each body that does not count against the budget for large bodies. It is bounded by
/// the number of connections (32 MiB with the default) and is enough for nearly every review (a
/// pod's is 4 to 10 KB), so large bodies cannot block them.
pub(crate) const FREE_BODY_BYTES: usize = 32 * 1024;

/// Limits in size, number and time. The defaults fit one replica that serves the API servers of one
/// cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The maximum size of a body in bytes. The API server limits one object to 3 MiB, and a review
    /// contains up to two objects.
    pub body_bytes: usize,
    /// The maximum time from the first byte of a body to its last.
    pub body_timeout: Duration,
    /// Requests decided at once; more are answered 503 with `Retry-After`. A request whose body is
    /// still being read does not count, so a client that sends slowly does not use a slot.
    pub requests: usize,
    /// Bytes of all bodies being read or answered, together, not counting the first 32 KiB of each;
    /// more are answered 503 with `Retry-After`. One source gets a quarter of them at most, but
    /// always enough for one body.
    pub buffered_bytes: usize,
    /// Maximum number of connections. Beyond it, a connection of an address that has many is
    /// closed, first one that has never sent a request.
    pub connections: usize,
    /// Maximum number of connections from one address, so that one client cannot use all.
    pub connections_per_source: usize,
    /// The maximum duration of a TLS handshake.
    pub handshake_timeout: Duration,
    /// The maximum time until a new connection has sent the complete head of its first request.
    pub first_request_timeout: Duration,
    /// The maximum time from the end of a request to the complete head of the next. The API server
    /// reuses connections and closes them after 90 s (Go's `IdleConnTimeout`): with a longer time
    /// here it is always the client that closes, so no request arrives on a connection that the
    /// server is closing.
    pub keep_alive: Duration,
    /// How long a client may leave an answer unread. The time restarts when it reads a part.
    pub write_timeout: Duration,
    /// How long requests are still accepted after the stop signal, until the change of the
    /// endpoints has propagated.
    pub drain_delay: Duration,
    /// How long requests in flight may take after that. Both together must be below the pod's grace
    /// period (30 s).
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 7 * MIB,
            body_timeout: Duration::from_secs(10),
            requests: 1024,
            buffered_bytes: 64 * MIB,
            connections: 1024,
            connections_per_source: 512,
            handshake_timeout: Duration::from_secs(10),
            first_request_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_mins(2),
            write_timeout: Duration::from_secs(10),
            drain_delay: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// The share of [`Self::buffered_bytes`] that the bodies of one source may use.
    pub(crate) fn buffered_bytes_per_source(&self) -> usize {
        (self.buffered_bytes / 4).max(self.body_bytes)
    }

    /// For the port of probes and metrics, which gets a few small requests from the kubelet and
    /// Prometheus.
    pub(crate) fn ops(&self) -> Self {
        Self { connections: 64, connections_per_source: 32, ..*self }
    }
}
