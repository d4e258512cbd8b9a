//! The end: what ScaiVault holds for the pod is given back, inside the pod's grace period.

use std::time::Duration;

use scaivault_client::SubscriptionId;
use tokio::{
    sync::mpsc::Receiver,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use super::Sidecar;
use crate::{
    delivery::{Delivery, GIVE_BACK_TIMEOUT, STOP_TIMEOUT, Wait},
    give_back::give_back,
    listen::Heard,
};

impl Sidecar {
    /// Gives back what ScaiVault holds for this pod: the subscription at once, leases after `SCAIVAULT_REVOKE_DELAY`. Until
    /// then the application drains, and its leases are kept as before.
    pub(super) async fn stop(mut self, mut heard: Receiver<Heard>) {
        // What listens ends when nobody hears, so that nothing subscribes again.
        heard.close();
        let delay = match self.delivery.leases.is_empty() {
            true => Duration::ZERO,
            false => self.delivery.config.upkeep.revoke_delay,
        };
        let deadline = Instant::now() + STOP_TIMEOUT.max(delay + GIVE_BACK_TIMEOUT);
        let unsubscribe = unsubscribe(&mut self.delivery, self.listener.take(), deadline);
        let revoke = async {
            if !delay.is_zero() {
                tracing::info!(delay_seconds = delay.as_secs(), "waiting before revoking leases");
                drop(timeout(delay, self.keep_fresh(&mut heard)).await);
            }
            self.delivery.revoke_all(Wait::Until(deadline)).await;
        };
        // A subscription costs little, and must not take the time of the leases.
        tokio::join!(revoke, unsubscribe);
        tracing::info!("stopped");
    }
}

/// Gives back what a start holds that was stopped in its first fetch: there is no application that needs it.
pub(super) async fn stop_start(mut delivery: Delivery) {
    let deadline = Instant::now() + STOP_TIMEOUT;
    let unsubscribe = unsubscribe(&mut delivery, None, deadline);
    tokio::join!(delivery.revoke_all(Wait::Until(deadline)), unsubscribe);
    tracing::info!("stopped");
}

/// Deletes the subscription, also one that is being made.
fn unsubscribe(
    delivery: &mut Delivery,
    listener: Option<JoinHandle<Option<SubscriptionId>>>,
    deadline: Instant,
) -> impl Future<Output = ()> + use<> {
    let (client, kept) = (delivery.client.clone(), delivery.subscription.take());
    async move {
        let last = match listener {
            Some(listener) => timeout_at(deadline, listener).await.ok().and_then(Result::ok),
            None => None,
        };
        // A listener that does not end has told of its subscription, unless it is still making it.
        let Some(subscription) = last.unwrap_or(kept) else { return };
        let subject = format!("the subscription {subscription}");
        if let Err(failure) = give_back(subject, deadline, || client.unsubscribe(&subscription)).await {
            tracing::warn!(%failure, "subscription not deleted");
        }
    }
}
