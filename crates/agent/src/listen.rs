//! Listens to ScaiVault's events, so that a change arrives at once. Nothing depends on it: what is not heard is found by
//! the next refresh.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use scaivault_client::{
    Backoff, Class, Client, Error, ErrorCode, ErrorKind, EventKind, NewSubscription, Operation,
    POLL_WAIT_LIMIT, Poll, Refusal, Retry, SubscriptionId,
};
use scaivault_contract::SecretPath;
use tokio::{
    sync::mpsc::Sender,
    time::{Instant, sleep, sleep_until},
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
/// The shortest time between the starts of any two polls. It bounds what a server that never waits can cause, and delays changes
/// that follow one another by no more than this.
const POLL_PAUSE: Duration = Duration::from_millis(100);
/// The first and the longest pause after an acknowledgement that failed.
const ACKNOWLEDGE_PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));
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
    let mut listener = Listener {
        client,
        new,
        heard: heard.clone(),
        subscription: kept,
        cursor: Cursor::default(),
        acknowledging: Backoff::new(ACKNOWLEDGE_PAUSES),
        is_hearing: false,
        codeless: Codeless::default(),
        quiet: Quiet::default(),
    };
    if is_adopting {
        tokio::select! {
            () = listener.adopt() => {}
            () = heard.closed() => {}
        }
    }
    while !heard.is_closed() {
        let subscribed = listener.subscribe().await;
        tokio::select! {
            () = listener.round(subscribed) => {}
            () = heard.closed() => {}
        }
    }
    listener.subscription
}

struct Listener {
    client: Arc<Client>,
    new: NewSubscription,
    heard: Sender<Heard>,
    subscription: Option<SubscriptionId>,
    cursor: Cursor,
    /// Acknowledgements that failed.
    acknowledging: Backoff,
    is_hearing: bool,
    codeless: Codeless,
    quiet: Quiet,
}

/// How many polls in a row were answered 404 or 410 without a code.
#[derive(Debug, Default)]
struct Codeless(u32);

impl Codeless {
    /// Whether after this error of a poll the subscription is gone, so that a new one has to be made. An answer without a code is not
    /// ScaiVault's own and is believed only when it is repeated.
    fn is_gone(&mut self, error: &Error) -> bool {
        let is_codeless = error.operation == Operation::Poll
            && matches!(&error.kind, ErrorKind::Refused(Refusal { status: 404 | 410, code, .. }) if code.is_empty());
        self.0 = if is_codeless { self.0 + 1 } else { 0 };
        error.operation == Operation::Poll && error.is_gone() || self.0 >= CODELESS_BELIEVED
    }
}

impl Listener {
    /// Takes up a subscription that an earlier start of the same pod left, and deletes others that it left. Without a list of
    /// them a new one is made.
    async fn adopt(&mut self) {
        let listed = match self.client.subscriptions().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::debug!(%error, "subscriptions not listed");
                return;
            }
        };
        let mut left = listed.into_iter().filter(|(_, name)| *name == self.new.name).map(|(id, _)| id);
        let Some(subscription) = left.next() else { return };
        let extra: Vec<_> = left.take(EXTRA_LIMIT).collect();
        tracing::info!(%subscription, "subscription of an earlier start taken up");
        self.subscription = Some(subscription.clone());
        self.tell(Heard::Subscribed(subscription)).await;
        for subscription in extra {
            if let Err(error) = self.client.unsubscribe(&subscription).await {
                tracing::debug!(%error, "subscription not deleted");
            }
        }
    }

    /// Makes a subscription if there is none. Must be awaited to its end.
    async fn subscribe(&mut self) -> Result<(), Error> {
        if self.subscription.is_none() {
            let id = self.client.subscribe(&self.new).await?;
            tracing::info!(subscription = %id, "subscribed to events");
            self.quiet.worked(Step::Subscribe);
            self.subscription = Some(id.clone());
            self.tell(Heard::Subscribed(id)).await;
        }
        Ok(())
    }

    /// One poll, and the pause after a step that failed. May be dropped at any time.
    async fn round(&mut self, subscribed: Result<(), Error>) {
        let (step, error) = match (subscribed, self.subscription.clone()) {
            (Err(error), _) => (Step::Subscribe, error),
            (Ok(()), None) => return,
            (Ok(()), Some(subscription)) => match self.poll(&subscription).await {
                Ok(()) => return self.quiet.worked(Step::Poll),
                Err(error) => (Step::Poll, error),
            },
        };
        self.tell(Heard::Deaf).await;
        let is_gone = step == Step::Poll && self.codeless.is_gone(&error);
        if is_gone {
            if error.code().is_some_and(ErrorCode::is_empty)
                && let Some(subscription) = &self.subscription
            {
                // If it is there after all, it must not stay.
                drop(self.client.unsubscribe(subscription).await);
            }
            (self.subscription, self.cursor, self.codeless) = (None, Cursor::default(), Codeless::default());
        }
        let (class, retry) =
            if is_gone { (Class::Unavailable, Retry::Backoff) } else { (error.class(), error.retry()) };
        let pause = self.quiet.after(step, class, retry);
        let pause_seconds = pause.as_secs_f64();
        if error.retry() == Retry::Never {
            tracing::warn!(%error, pause_seconds, "no events, trying again later; changes are found at the next refresh");
        } else {
            tracing::info!(%error, pause_seconds, "no events for a while; refreshing at intervals");
        }
        sleep(pause).await;
    }

    /// Waits for the next events and tells them.
    async fn poll(&mut self, subscription: &SubscriptionId) -> Result<(), Error> {
        let asked = Instant::now();
        let poll = Poll { wait: POLL_WAIT_LIMIT, since: self.cursor.since().cloned(), ..Poll::default() };
        let events = self.client.poll(subscription, &poll).await?;
        self.codeless = Codeless::default();
        let came = !events.is_empty();
        let changes = self.cursor.hear(events);
        let is_idle = changes.is_none();
        self.tell(Heard::Hearing).await;
        if let Some(changes) = changes {
            self.tell(Heard::Changed(changes)).await;
        }
        if let Some(events) = self.cursor.to_acknowledge(came && is_idle)
            && !self.acknowledging.is_waiting(Instant::now())
        {
            if let Err(error) = self.client.acknowledge(subscription, events).await {
                tracing::debug!(%error, "events not acknowledged");
                self.acknowledging.failed(Instant::now(), Retry::Backoff);
            } else {
                self.acknowledging.succeeded();
                self.cursor.acknowledged();
            }
        }
        // Avoids a busy loop when the server or a proxy ignores the long-poll wait or `since`.
        sleep_until(asked + if is_idle { IDLE_PAUSE } else { POLL_PAUSE }).await;
        Ok(())
    }

    async fn tell(&mut self, what: Heard) {
        match what {
            Heard::Hearing if self.is_hearing => return,
            Heard::Deaf if !self.is_hearing => return,
            Heard::Hearing | Heard::Subscribed(_) => self.is_hearing = true,
            Heard::Deaf => self.is_hearing = false,
            Heard::Changed(_) => {}
        }
        // Fails only if nobody hears any more, which ends the listening.
        drop(self.heard.send(what).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codeless_answers_in_a_row_end_a_subscription() {
        let error = |operation, status, code| {
            let code = ErrorCode::new(code);
            let refusal =
                Refusal { status, code, message: String::new(), request_id: None, retry_after: None };
            Error { operation, kind: refusal.into() }
        };
        let codeless = || error(Operation::Poll, 404, "");
        let check = |errors: &[Error], expected: &[bool]| {
            let mut count = Codeless::default();
            let gone: Vec<_> = errors.iter().map(|error| count.is_gone(error)).collect();
            assert_eq!(gone, expected);
        };
        check(&[codeless(), codeless(), codeless()], &[false, false, true]);
        check(&[error(Operation::Poll, 404, "subscription_not_found")], &[true]);
        for other in [
            error(Operation::Poll, 503, "service_unavailable"),
            error(Operation::Poll, 502, ""),
            error(Operation::Exchange, 404, ""),
        ] {
            check(&[codeless(), codeless(), other, codeless()], &[false; 4]);
        }
    }
}
