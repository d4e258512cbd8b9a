//! The end: what ScaiVault holds for the pod is given back, inside the pod's grace period.

use std::time::Duration;

use scaivault_client::SubscriptionId;
use tokio::{
    sync::mpsc::Receiver,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::Sidecar;
use crate::{
    delivery::{Delivery, GIVE_BACK_TIMEOUT},
    fetch::{self, Patience},
    listen::Heard,
};

impl Sidecar {
    /// Ends what listens, so that nothing subscribes again, and gives back what is held.
    pub(super) async fn stop(mut self, mut heard: Receiver<Heard>) {
        // What listens ends when nobody hears.
        heard.close();
        let delay = self.delivery.config.upkeep.revoke_delay;
        let listener = self.listener.take();
        stop(self.delivery, listener, delay).await;
    }
}

/// Gives back what ScaiVault holds for this pod: leases after `delay`, the subscription at once.
pub(super) async fn stop(
    mut delivery: Delivery,
    listener: Option<JoinHandle<Option<SubscriptionId>>>,
    delay: Duration,
) {
    let (client, kept) = (delivery.client.clone(), delivery.subscription.take());
    let unsubscribe = async {
        let deadline = Instant::now() + GIVE_BACK_TIMEOUT;
        let last = match listener {
            Some(listener) => timeout_at(deadline, listener).await.ok().and_then(Result::ok),
            None => None,
        };
        // A listener that does not end has told of its subscription, unless it is still making it.
        let Some(subscription) = last.unwrap_or(kept) else { return };
        let patience = Patience::to_give_back(deadline);
        let subject = format!("the subscription {subscription}");
        let deleted = fetch::with_patience(subject, patience, || client.unsubscribe(&subscription));
        if let Err(failure) = deleted.await {
            tracing::warn!(%failure, "subscription not deleted");
        }
    };
    let revoke = async {
        if !delivery.leases.is_empty() && !delay.is_zero() {
            tracing::info!(delay_seconds = delay.as_secs(), "leaving the application its leases for a while");
            tokio::time::sleep(delay).await;
        }
        delivery.revoke_all().await;
    };
    // Beside each other: a subscription costs little, and must not take the time of the leases.
    tokio::join!(revoke, unsubscribe);
    tracing::info!("stopped");
}
