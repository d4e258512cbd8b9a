//! Listens to ScaiVault's events, so that a change arrives at once. Nothing depends on it: what is not heard is found by
//! the next refresh.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use scaivault_client::{
    Class, Client, Error, ErrorCode, ErrorKind, EventKind, NewSubscription, Operation, POLL_WAIT_LIMIT, Poll,
    Refusal, Retry, SubscriptionId,
};
use scaivault_contract::SecretPath;
use tokio::{
    sync::mpsc::Sender,
    time::{Instant, sleep_until},
};

mod cursor;
mod quiet;

use cursor::Cursor;
pub(crate) use cursor::{Announced, Changes};
use quiet::{Quiet, Step};

/// The most events that are kept for the agent: each only says that a secret is to be read again.
const BUFFER_SIZE: u32 = 1000;
/// The shortest time between two polls of which the first brought nothing new.
const IDLE_PAUSE: Duration = Duration::from_secs(5);
/// After so many answers in a row without a code that a subscription is not there, it is taken for gone.
const CODELESS_BELIEVED: u32 = 3;
/// The most subscriptions that are deleted at a start, of the few operations that all pods of an identity share.
const EXTRA_LIMIT: usize = 5;

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

/// Listens until nobody hears any more. Goes on with the subscription of an earlier start; returns the one that there is at
/// the end.
///
/// A subscription that is being made is always awaited: one whose answer is dropped could not be deleted.
///
/// `name` says to people and to a next start whose the subscription is. `may_have_left` if an earlier start of this pod may have
/// made one that was not kept.
pub(crate) async fn listen(
    client: Arc<Client>,
    name: String,
    paths: BTreeSet<SecretPath>,
    kept: Option<SubscriptionId>,
    may_have_left: bool,
    heard: Sender<Heard>,
) -> Option<SubscriptionId> {
    let new = NewSubscription {
        name,
        paths: paths.into_iter().collect(),
        // A rotation policy's versions and those that people write; and what ends the count of a secret's versions.
        events: EventKind::ALL.to_vec(),
        buffer_size: BUFFER_SIZE,
    };
    let is_adopting = kept.is_none() && may_have_left;
    let (subscription, cursor) = (kept, Cursor::default());
    let mut listener = Listener { client, new, heard, subscription, cursor, is_hearing: false, codeless: 0 };
    let mut quiet = Quiet::default();
    if !is_adopting || listener.adopt().await.is_ok() {
        while let Ok(()) = listener.round(&mut quiet).await {}
    }
    listener.subscription
}

/// Nobody hears any more.
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
    /// How many polls in a row were answered that nothing is there, without a code.
    codeless: u32,
}

impl Listener {
    /// Takes up a subscription that an earlier start of the same pod left, and deletes others that it left. Without a list of
    /// them a new one is made.
    async fn adopt(&mut self) -> Result<(), Ended> {
        let listed = match self.unless_unheard(self.client.subscriptions()).await? {
            Ok(listed) => listed,
            Err(error) => {
                tracing::debug!(%error, "subscriptions not listed");
                return Ok(());
            }
        };
        let name = self.new.name.clone();
        let mut left = listed.into_iter().filter(|(_, listed)| *listed == name).map(|(id, _)| id);
        let Some(subscription) = left.next() else { return Ok(()) };
        tracing::info!(%subscription, "subscription of an earlier start taken up");
        self.subscription = Some(subscription.clone());
        self.tell(Heard::Subscribed(subscription)).await?;
        for extra in left.take(EXTRA_LIMIT) {
            if let Err(error) = self.unless_unheard(self.client.unsubscribe(&extra)).await? {
                tracing::debug!(%error, "subscription not deleted");
            }
        }
        Ok(())
    }

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
        let mut pause = quiet.after(step, error.class(), error.retry());
        if step == Step::Poll && self.is_gone(&error) {
            if error.code().is_some_and(ErrorCode::is_empty)
                && let Some(subscription) = &self.subscription
            {
                // If it is there after all, it must not stay.
                drop(self.client.unsubscribe(subscription).await);
            }
            (self.subscription, self.cursor, self.codeless) = (None, Cursor::default(), 0);
            pause = quiet.after(step, Class::Unavailable, Retry::Backoff);
        }
        let pause_seconds = pause.as_secs_f64();
        if error.retry() == Retry::Never {
            tracing::warn!(%error, pause_seconds, "no events, trying again later; changes are found at the next refresh");
        } else {
            tracing::info!(%error, pause_seconds, "no events for a while; refreshing at intervals");
        }
        self.sleep_until(Instant::now() + pause).await
    }

    /// Whether the subscription is not there any more, so that a new one has to be made. Of an answer without a code, which is
    /// not ScaiVault's own, that is believed when it stays.
    fn is_gone(&mut self, error: &Error) -> bool {
        let ErrorKind::Refused(Refusal { status: 404 | 410, code, .. }) = &error.kind else {
            return error.operation == Operation::Poll && error.is_gone();
        };
        self.codeless += u32::from(code.is_empty());
        error.operation == Operation::Poll && (error.is_gone() || self.codeless >= CODELESS_BELIEVED)
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
        self.codeless = 0;
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
