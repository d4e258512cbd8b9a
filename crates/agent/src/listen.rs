//! Listens to ScaiVault's events, so that a change arrives at once. Nothing depends on it: what is not heard is found by
//! the next refresh.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use scaivault_client::{
    Backoff, Client, Error, ErrorCode, Event, EventId, EventKind, NewSubscription, POLL_WAIT_LIMIT, Poll,
    Retry, SubscriptionId,
};
use scaivault_contract::SecretPath;
use tokio::{
    sync::mpsc::Sender,
    time::{Instant, sleep_until},
};

/// The first pause after a failure, about; of subscriptions ScaiVault grants 20 operations a minute to all pods of one
/// identity together.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// The most events that are kept for the agent: each only says that a secret is to be read again.
const BUFFER_SIZE: u32 = 1000;

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// There is a subscription now: it is to be kept, and deleted at the end.
    Subscribed(SubscriptionId),
    /// These secrets may have changed; without a path any of them.
    Changed(BTreeSet<SecretPath>),
}

/// Listens until ScaiVault refuses for good or nobody hears any more. Goes on with a subscription of the start before.
pub(crate) async fn listen(
    client: Arc<Client>,
    paths: Vec<SecretPath>,
    kept: Option<SubscriptionId>,
    seed: u64,
    heard: Sender<Heard>,
) {
    let new = NewSubscription {
        name: "scaivault-sidecar".to_owned(),
        paths,
        // A rotation policy's versions and those that people write.
        events: vec![EventKind::Rotated, EventKind::Updated, EventKind::Created],
        buffer_size: BUFFER_SIZE,
    };
    let backoff = || Backoff::new(FIRST_PAUSE, LONGEST_PAUSE, seed);
    let (mut subscription, mut since, mut pauses) = (kept, None, backoff());
    loop {
        let listened = match &subscription {
            Some(id) => next(&client, id, &mut since, &heard).await,
            None => match client.subscribe(&new).await {
                Ok(id) => {
                    tracing::info!(subscription = %id, "subscribed to events");
                    subscription = Some(id.clone());
                    tell(&heard, Heard::Subscribed(id)).await
                }
                Err(error) => Err(Stop::Failed(error)),
            },
        };
        let error = match listened {
            Ok(()) => {
                pauses = backoff();
                continue;
            }
            Err(Stop::Unheard) => return,
            Err(Stop::Failed(error)) => error,
        };
        // The subscription has been taken away: a new one is to be made, but not in a circle without a pause.
        let is_gone = error.code() == Some(&ErrorCode::SubscriptionNotFound);
        if is_gone {
            (subscription, since) = (None, None);
        }
        let retry = if is_gone { Retry::Backoff } else { error.retry() };
        let Some(pause) = pauses.pause(retry) else {
            tracing::warn!(%error, "not listening to events any more; changes are found at the next refresh");
            return;
        };
        tracing::info!(%error, pause_seconds = pause.as_secs_f64(), "no events for a while; refreshing at intervals");
        tokio::time::sleep(pause).await;
    }
}

enum Stop {
    /// The other end has gone.
    Unheard,
    Failed(Error),
}

/// Waits for the next events, tells them and acknowledges them.
async fn next(
    client: &Client,
    subscription: &SubscriptionId,
    since: &mut Option<EventId>,
    heard: &Sender<Heard>,
) -> Result<(), Stop> {
    let asked = Instant::now();
    let poll = Poll { wait: POLL_WAIT_LIMIT, since: since.clone(), ..Poll::default() };
    let events = client.poll(subscription, &poll).await.map_err(Stop::Failed)?.events;
    let Some(last) = events.last() else {
        // A server, or what stands before it, that does not wait with its answer is not asked in a circle.
        sleep_until(asked + FIRST_PAUSE).await;
        return Ok(());
    };
    *since = Some(last.id.clone());
    tell(heard, Heard::Changed(changed(&events))).await?;
    let ids: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
    // One that is not acknowledged comes again, and then nothing has changed.
    if let Err(error) = client.acknowledge(subscription, &ids).await {
        tracing::debug!(%error, "events not acknowledged");
    }
    Ok(())
}

async fn tell(heard: &Sender<Heard>, what: Heard) -> Result<(), Stop> {
    heard.send(what).await.map_err(|_| Stop::Unheard)
}

/// The secrets of all events; none where one of the events does not say which.
fn changed(events: &[Event]) -> BTreeSet<SecretPath> {
    let paths: Option<BTreeSet<_>> = events.iter().map(|event| event.path.clone()).collect();
    paths.unwrap_or_default()
}
