//! Detects writes to a webhook configuration by watching its metadata. A new webhook has no
//! `caBundle`, and until it has one, API servers reject the injector's certificate.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::StreamExt as _;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::{
    Api, Client, Resource,
    api::{WatchEvent, WatchParams},
};
use tokio::{sync::Notify, time::sleep};

use super::certificate::REMINDER;
use crate::telemetry::LogThrottle;
use scaivault_cluster::{RETRIED, is_forbidden, reason};

/// How long to wait before a watch is restarted.
#[derive(Clone, Copy, Debug)]
struct Pauses {
    /// After the API server has ended it, as it does after some minutes.
    ended: Duration,
    /// After a failure. Meanwhile the configurations are polled at the reload interval.
    failed: Duration,
}

const PAUSES: Pauses = Pauses { ended: Duration::from_secs(1), failed: Duration::from_secs(10) };

/// Watches the configurations called `name` for ever and notifies `written` of each change, and
/// whenever a watch starts.
pub(super) async fn watch(client: Client, name: String, written: Arc<Notify>) {
    let mutating = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let validating = Api::<ValidatingWebhookConfiguration>::all(client);
    tokio::join!(follow(&mutating, &name, &written, PAUSES), follow(&validating, &name, &written, PAUSES));
}

async fn follow<K>(api: &Api<K>, name: &str, written: &Notify, pauses: Pauses)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let mut throttle = LogThrottle::new(REMINDER);
    loop {
        let pause = match take_all(api, name, written).await {
            Ok(()) => {
                throttle.reset();
                pauses.ended
            }
            Err(error) => {
                complain(&mut throttle, &K::kind(&()), &error);
                pauses.failed
            }
        };
        sleep(pause).await;
    }
}

/// Watches until the watch ends. Starting at version 0, the API server first sends the current
/// object, so no change is missed between two watches.
async fn take_all<K>(api: &Api<K>, name: &str, written: &Notify) -> kube::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    // The role only allows this name, which the API server takes from the field selector.
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = pin!(api.watch_metadata(&params, "0").await?);
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(_) | WatchEvent::Modified(_) => written.notify_one(),
            WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        }
    }
    Ok(())
}

fn complain(throttle: &mut LogThrottle<SystemTime>, kind: &str, error: &kube::Error) {
    let text = reason(error);
    if throttle.is_text_due(&text, SystemTime::now()) {
        let fix = if is_forbidden(error) {
            "grant the injector's service account watch on the webhook configurations of this name"
        } else {
            RETRIED
        };
        tracing::warn!(
            kind,
            error = text,
            fix,
            "watch of a webhook configuration failed, polling at the reload interval"
        );
    }
}

#[cfg(test)]
mod tests;
