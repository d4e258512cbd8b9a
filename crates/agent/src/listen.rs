//! Listens to ScaiVault's events, so that a change arrives at once. Nothing depends on it: what is not heard is found by
//! the next refresh.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use scaivault_client::{
    Class, Client, Error, EventKind, NewSubscription, POLL_WAIT_LIMIT, Poll, Retry, SubscriptionId,
};
use scaivault_contract::{SecretPath, names::SIDECAR_CONTAINER};
use tokio::{
    sync::mpsc::Sender,
    time::{Instant, sleep_until},
};

mod cursor;
mod quiet;

pub(crate) use cursor::{Announced, Changes};
use cursor::Cursor;
use quiet::{Quiet, Step};

/// The most events that are kept for the agent: each only says that a secret is to be read again.
const BUFFER_SIZE: u32 = 1000;
/// The shortest time between two polls of which the first brought nothing new.
const IDLE_PAUSE: Duration = Duration::from_secs(5);

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// There is a new subscription: it is to be kept. What changed before it was made is not heard.
    Subscribed(SubscriptionId),
    /// From now on changes are heard.
    Hearing,
    /// From now on none are.
    Deaf,
    /// Secrets have changed.
    Changed(Changes),
}

/// Listens until ScaiVault refuses for good or nobody hears any more. Goes on with a subscription of the start before;
/// returns the one that there is at the end.
///
/// A subscription that is being made is waited for: what was told of it to nobody could not be deleted.
pub(crate) async fn listen(
    client: Arc<Client>,
    paths: BTreeSet<SecretPath>,
    kept: Option<SubscriptionId>,
    seed: u64,
    heard: Sender<Heard>,
) -> Option<SubscriptionId> {
    let new = NewSubscription {
        name: SIDECAR_CONTAINER.to_owned(),
        paths: paths.into_iter().collect(),
        // A rotation policy's versions and those that people write.
        events: EventKind::ALL.to_vec(),
        buffer_size: BUFFER_SIZE,
    };
    let mut listener =
        Listener { client, new, heard, subscription: kept, cursor: Cursor::default(), is_hearing: false };
    let mut quiet = Quiet::new(seed);
    while let Ok(()) = listener.round(&mut quiet).await {}
    listener.subscription
}

/// There is nothing to listen for any more: nobody hears, or ScaiVault has refused for good.
struct Ended;

/// Why a step was not done.
enum Undone {
    Ended,
    Failed(Error),
}

impl From<Ended> for Undone {
    fn from(Ended: Ended) -> Self {
        Self::Ended
    }
}

impl From<Error> for Undone {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

struct Listener {
    client: Arc<Client>,
    new: NewSubscription,
    heard: Sender<Heard>,
    subscription: Option<SubscriptionId>,
    cursor: Cursor,
    is_hearing: bool,
}

impl Listener {
    /// One step, and the pause after it where it failed.
    async fn round(&mut self, quiet: &mut Quiet) -> Result<(), Ended> {
        let (step, stepped) = match self.subscription.clone() {
            None => (Step::Subscribe, self.subscribe().await),
            Some(subscription) => (Step::Poll, self.poll(&subscription).await),
        };
        let error = match stepped {
            Ok(()) => {
                quiet.worked(step);
                return Ok(());
            }
            Err(Undone::Ended) => return Err(Ended),
            Err(Undone::Failed(error)) => error,
        };
        self.tell(Heard::Deaf).await?;
        // The subscription has been taken away: a new one is to be made, but not in a circle without a pause.
        let pause = if step == Step::Poll && error.is_gone() {
            (self.subscription, self.cursor) = (None, Cursor::default());
            quiet.after(step, Class::Unavailable, Retry::Backoff)
        } else {
            quiet.after(step, error.class(), error.retry())
        };
        let Some(pause) = pause else {
            tracing::warn!(%error, "not listening to events any more; changes are found at the next refresh");
            return Err(Ended);
        };
        tracing::info!(%error, pause_seconds = pause.as_secs_f64(), "no events for a while; refreshing at intervals");
        self.sleep_until(Instant::now() + pause).await
    }

    async fn subscribe(&mut self) -> Result<(), Undone> {
        let id = self.client.subscribe(&self.new).await?;
        tracing::info!(subscription = %id, "subscribed to events");
        self.subscription = Some(id.clone());
        Ok(self.tell(Heard::Subscribed(id)).await?)
    }

    /// Waits for the next events and tells them.
    async fn poll(&mut self, subscription: &SubscriptionId) -> Result<(), Undone> {
        let asked = Instant::now();
        let poll = Poll { wait: POLL_WAIT_LIMIT, since: self.cursor.since().cloned(), ..Poll::default() };
        let events = self.unless_unheard(self.client.poll(subscription, &poll)).await??;
        let came = !events.is_empty();
        let changes = self.cursor.hear(events);
        let is_idle = changes.is_none();
        for heard in [Some(Heard::Hearing), changes.map(Heard::Changed)].into_iter().flatten() {
            self.tell(heard).await?;
        }
        if let Some(events) = self.cursor.to_acknowledge(came && is_idle) {
            let acknowledged = self.unless_unheard(self.client.acknowledge(subscription, events)).await?;
            if let Err(error) = acknowledged {
                tracing::debug!(%error, "events not acknowledged");
            }
            self.cursor.acknowledged();
        }
        // A server, or what stands before it, that does not wait with its answer is not asked in a circle.
        if is_idle {
            self.sleep_until(asked + IDLE_PAUSE).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, what: Heard) -> Result<(), Ended> {
        match what {
            Heard::Hearing if self.is_hearing => return Ok(()),
            Heard::Deaf if !self.is_hearing => return Ok(()),
            Heard::Hearing | Heard::Subscribed(_) => self.is_hearing = true,
            Heard::Deaf => self.is_hearing = false,
            Heard::Changed(_) => {}
        }
        self.heard.send(what).await.map_err(|_| Ended)
    }

    async fn sleep_until(&self, until: Instant) -> Result<(), Ended> {
        self.unless_unheard(sleep_until(until)).await
    }

    async fn unless_unheard<T>(&self, future: impl Future<Output = T>) -> Result<T, Ended> {
        tokio::select! {
            done = future => Ok(done),
            () = self.heard.closed() => Err(Ended),
        }
    }
}
