//! The two steps in which a server stops.

use tokio_util::sync::CancellationToken;

/// Tells a running server to stop. Clones are the same switch.
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

    /// Stop, and lose no request: the first signal.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Stop now, whatever is under way: the second signal.
    pub fn abort(&self) {
        self.drain.cancel();
        self.abort.cancel();
    }

    /// Until [`Self::drain`] is called.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Until [`Self::abort`] is called.
    pub async fn aborted(&self) {
        self.abort.cancelled().await;
    }
}
