//! How much of everything one server gives.

use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// The part of each body that needs no room among the large ones: bounded by the number of connections (32 MiB with
/// the default), and enough for nearly every review (a pod's is 4 to 10 KB). So nobody's large bodies keep it out.
pub(crate) const FREE_BODY_BYTES: usize = 32 * 1024;

/// Bounds in size, number and time. The defaults fit one replica beside one cluster's API servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest body, bytes. The API server limits one object to 3 MiB and a review holds up to two of them.
    pub body_bytes: usize,
    /// How long a body may take from its first byte to its last.
    pub body_timeout: Duration,
    /// Requests decided at once; more are answered 503 with `Retry-After`. One whose body is still being read is none
    /// of them: a client that does not send on takes nobody's place.
    pub requests: usize,
    /// Bytes of all bodies being read or answered, together, not counting the first 32 KiB of each; more
    /// are answered 503 with `Retry-After`. One source gets a quarter of them at most, but always one body's worth.
    pub buffered_bytes: usize,
    /// Connections at once. Beyond, one of an address that has many is closed: first one that has never sent a request.
    pub connections: usize,
    /// Connections at once from one address: one caller cannot take all.
    pub connections_per_source: usize,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a connection may stay without ever sending the complete head of a request.
    pub first_request_timeout: Duration,
    /// How long it may take from the end of a request to the complete head of the next. The API server re-uses
    /// connections and gives them up after 90 s (Go's `IdleConnTimeout`): with a longer time here it is always the client
    /// that closes, and no request meets a connection that is just being closed.
    pub keep_alive: Duration,
    /// How long a client may leave an answer unread, counted anew whenever it reads some of it.
    pub write_timeout: Duration,
    /// How long, after the signal to stop, requests are still taken, while the endpoints' change spreads.
    pub drain_delay: Duration,
    /// How long, after that, requests under way may take. Together below the pod's grace period (30 s).
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
    /// Bytes of the bodies of one source, of [`Self::buffered_bytes`].
    pub(crate) fn buffered_bytes_per_source(&self) -> usize {
        (self.buffered_bytes / 4).max(self.body_bytes)
    }

    /// For the port of probes and metrics: a few small requests by the kubelet and Prometheus.
    pub(crate) fn ops(&self) -> Self {
        Self { connections: 64, connections_per_source: 32, ..*self }
    }
}
