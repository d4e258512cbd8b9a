//! The end: everything that ScaiVault holds for the pod is released within the pod's grace period.

use std::time::Duration;

use scaivault_client::ListenerUpdate;
use tokio::{
    sync::mpsc::Receiver,
    time::{Instant, timeout},
};

use super::Sidecar;
use crate::delivery::{GIVE_BACK_TIMEOUT, STOP_TIMEOUT, Wait};

impl Sidecar {
    /// Releases what ScaiVault holds for this pod: the subscription at once, leases after
    /// `SCAIVAULT_REVOKE_DELAY`. Until then the application drains, and its leases are maintained
    /// as before.
    pub(super) async fn stop(mut self, mut heard: Receiver<ListenerUpdate>) {
        // Closing the channel ends the listener, so that it does not subscribe again.
        heard.close();
        let has_leases = !self.delivery.leases.is_empty();
        let delay = if has_leases { self.delivery.config.sidecar.revoke_delay } else { Duration::ZERO };
        let deadline = Instant::now() + STOP_TIMEOUT.max(delay + GIVE_BACK_TIMEOUT);
        let unsubscribe = self.delivery.unsubscribe(self.listener.take(), deadline);
        let revoke = async {
            if !delay.is_zero() {
                tracing::info!(delay_seconds = delay.as_secs(), "waiting before revoking leases");
                drop(timeout(delay, self.keep_fresh(&mut heard)).await);
            }
            self.delivery.revoke_all(Wait::Until(deadline)).await;
        };
        // Concurrently: a remaining subscription costs little, so deleting it must not delay the
        // leases.
        tokio::join!(revoke, unsubscribe);
        tracing::info!("stopped");
    }
}
