//! The two stages of stopping a server.

use tokio_util::sync::CancellationToken;

/// Stops a running server. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    abort: CancellationToken,
}

impl Shutdown {
    /// Nothing is stopped yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops without losing a request: the first signal.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Stops immediately, with requests in flight: the second signal.
    pub fn abort(&self) {
        self.drain.cancel();
        self.abort.cancel();
    }

    /// Completes when [`Self::drain`] was called.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Completes when [`Self::abort`] was called.
    pub async fn aborted(&self) {
        self.abort.cancelled().await;
    }
}
