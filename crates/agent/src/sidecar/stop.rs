//! The end: what ScaiVault holds for the pod is given back.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc::Receiver;

use super::Sidecar;
use crate::{delivery::Delivery, lease::HeldLease, listen::Heard};

/// How long revoking may take at the end. The kubelet's default grace period is 30 s for all of the pod.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(10);

impl Sidecar {
    /// Ends what listens, so that nothing subscribes again, and gives back what is held.
    pub(super) async fn stop(mut self, mut heard: Receiver<Heard>) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
        while let Ok(heard) = heard.try_recv() {
            if let Heard::Subscribed(id) = heard {
                self.delivery.subscription = Some(id);
            }
        }
        let delay = self.delivery.config.upkeep.revoke_delay;
        stop(self.delivery, self.replaced, delay).await;
    }
}

/// Gives back what ScaiVault holds for this pod, inside the pod's grace period: leases after `delay`.
pub(super) async fn stop(mut delivery: Delivery, replaced: Vec<HeldLease>, delay: Duration) {
    let has_leases = !delivery.leases.0.is_empty() || !replaced.is_empty();
    if has_leases && !delay.is_zero() {
        tracing::info!(delay_seconds = delay.as_secs(), "leaving the application its leases for a while");
        tokio::time::sleep(delay).await;
    }
    let (client, subscription) = (Arc::clone(&delivery.client), delivery.subscription.take());
    let unsubscribe = async {
        if let Some(subscription) = subscription
            && let Err(error) = client.unsubscribe(&subscription).await
        {
            tracing::warn!(%error, %subscription, "subscription not deleted");
        }
    };
    // At once: a subscription costs little, and must not take the time of the leases.
    let both = async { tokio::join!(delivery.revoke_all(replaced), unsubscribe) };
    if tokio::time::timeout(REVOKE_TIMEOUT, both).await.is_err() {
        tracing::warn!("not all leases were revoked in time, they end by themselves");
    }
    tracing::info!("stopped");
}
