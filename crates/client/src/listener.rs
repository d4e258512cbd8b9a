//! Listens to ScaiVault's events, so that a change is read immediately. It is an optimization:
//! without events, changes are found by the next refresh.

use std::{collections::BTreeSet, future::pending, sync::Arc, time::Duration};

use scaivault_contract::SecretPath;
use tokio::{
    sync::{mpsc::Sender, watch},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    Backoff, Class, Client, Error, ErrorCode, ErrorKind, EventKind, NewSubscription, Operation,
    POLL_WAIT_LIMIT, Poll, Refusal, Retry, SubscriptionId,
};

mod cursor;
mod pauses;

use cursor::Cursor;
pub use cursor::{AnnouncedChange, Changes};
use pauses::{Pauses, Step};

/// The size of the server's event buffer. An event only triggers a read of its secret.
const BUFFER_SIZE: u32 = 1000;
/// The minimum time between two polls if the first returned nothing new.
const IDLE_PAUSE: Duration = Duration::from_secs(5);
/// The minimum time between the starts of two polls. It limits the load if a server never waits,
/// and delays consecutive changes by at most this time.
const POLL_PAUSE: Duration = Duration::from_millis(100);
/// The first and the longest pause after a failed acknowledgement.
const ACKNOWLEDGE_PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));
/// After this many consecutive answers without a code that a subscription does not exist, it is
/// assumed to be deleted.
const CODELESS_BELIEVED: u32 = 3;
/// The maximum number of subscriptions deleted at start, because all pods of an identity share a
/// small number of operations.
const EXTRA_LIMIT: usize = 5;
/// The minimum time between two changes of a subscription's paths: the limit of 20 operations a
/// minute is shared by all subscriptions of an identity.
const CHANGE_PAUSE: Duration = Duration::from_secs(30);
/// The same if the server rejects changes of a subscription, so that a new one has to be created
/// and each secret is read again.
const REPLACE_PAUSE: Duration = Duration::from_mins(5);

/// A notification of the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerUpdate {
    /// A subscription was created, which should be stored for a later run. Earlier changes are not
    /// reported by events.
    Subscribed(SubscriptionId),
    /// From now on, changes of these secrets are reported. Only sent if the paths can change.
    Covers(Arc<BTreeSet<SecretPath>>),
    /// Events are being received.
    Connected,
    /// No events are being received. After [`Self::Connected`] the missed ones are delivered.
    Disconnected,
    /// Secrets have changed.
    Changed(Changes),
}

/// The secrets to subscribe to.
pub enum ListenerPaths {
    /// Constant.
    Fixed(BTreeSet<SecretPath>),
    /// Use the latest value. The subscription is updated when a path is added.
    Changing(watch::Receiver<Arc<BTreeSet<SecretPath>>>),
}

/// The settings of a listener.
pub struct ListenerSettings {
    /// Requests are sent with the latest value.
    pub client: watch::Receiver<Arc<Client>>,
    /// The name of the subscription, which shows the owner to users and to later runs.
    pub name: String,
    /// The secrets.
    pub paths: ListenerPaths,
    /// The subscription of the previous run.
    pub kept: Option<SubscriptionId>,
    /// Whether a previous run may have created a subscription with this name that was not stored.
    pub may_have_left: bool,
}

/// Listens until the receiver of `updates` is closed. Returns the subscription that exists at the
/// end.
///
/// The creation of a subscription is always awaited: one whose answer is dropped could not be
/// deleted.
pub async fn listen(settings: ListenerSettings, updates: Sender<ListenerUpdate>) -> Option<SubscriptionId> {
    let is_adopting = settings.kept.is_none() && settings.may_have_left;
    let mut listener = Listener::new(settings, updates.clone());
    if is_adopting {
        tokio::select! {
            () = listener.adopt() => {}
            () = updates.closed() => {}
        }
    }
    while !updates.is_closed() {
        let subscribed = listener.subscribe().await;
        tokio::select! {
            () = listener.round(subscribed) => {}
            () = updates.closed() => {}
        }
    }
    listener.subscription
}

struct Listener {
    client: watch::Receiver<Arc<Client>>,
    new: NewSubscription,
    /// `None` if they never change.
    paths: Option<watch::Receiver<Arc<BTreeSet<SecretPath>>>>,
    /// The paths that the subscription is known to cover, if they can change.
    covered: Arc<BTreeSet<SecretPath>>,
    /// When its paths may be changed next.
    change_at: Instant,
    /// The number of consecutive failed changes of its paths.
    failed_changes: u32,
    /// Whether the server rejects changes of subscriptions.
    is_change_refused: bool,
    updates: Sender<ListenerUpdate>,
    subscription: Option<SubscriptionId>,
    cursor: Cursor,
    /// Backoff of failed acknowledgements.
    acknowledging: Backoff,
    is_connected: bool,
    codeless: Codeless,
    pauses: Pauses,
}

/// The number of consecutive polls that were answered 404 or 410 without a code.
#[derive(Debug, Default)]
struct Codeless(u32);

impl Codeless {
    /// Whether this error of a poll means that the subscription no longer exists, so that a new one
    /// has to be created. An answer without a code does not come from ScaiVault itself and is only
    /// believed if it is repeated.
    fn is_gone(&mut self, error: &Error) -> bool {
        let is_codeless = error.operation == Operation::Poll
            && matches!(&error.kind, ErrorKind::Refused(Refusal { status: 404 | 410, code, .. }) if code.is_empty());
        self.0 = if is_codeless { self.0 + 1 } else { 0 };
        error.operation == Operation::Poll && error.is_gone() || self.0 >= CODELESS_BELIEVED
    }
}

impl Listener {
    fn new(settings: ListenerSettings, updates: Sender<ListenerUpdate>) -> Self {
        let ListenerSettings { client, name, paths, kept, may_have_left: _ } = settings;
        let (fixed, paths) = match paths {
            ListenerPaths::Fixed(paths) => (Arc::new(paths), None),
            ListenerPaths::Changing(paths) => (Arc::default(), Some(paths)),
        };
        Self {
            client,
            // Versions from rotation policies and from clients, and the events after which version
            // numbers start again.
            new: NewSubscription {
                name,
                paths: fixed,
                events: EventKind::ALL.to_vec(),
                buffer_size: BUFFER_SIZE,
            },
            paths,
            covered: Arc::default(),
            change_at: Instant::now(),
            failed_changes: 0,
            is_change_refused: false,
            updates,
            subscription: kept,
            cursor: Cursor::default(),
            acknowledging: Backoff::new(ACKNOWLEDGE_PAUSES),
            is_connected: false,
            codeless: Codeless::default(),
            pauses: Pauses::default(),
        }
    }

    fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client.borrow())
    }

    /// Reuses a subscription that a previous run of the same pod left, and deletes further ones. If
    /// they cannot be listed, a new one is created.
    async fn adopt(&mut self) {
        let listed = match self.client().subscriptions().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::debug!(%error, "subscriptions not listed");
                return;
            }
        };
        let mut left = listed.into_iter().filter(|(_, name)| *name == self.new.name).map(|(id, _)| id);
        let Some(subscription) = left.next() else { return };
        let extra: Vec<_> = left.take(EXTRA_LIMIT).collect();
        tracing::info!(%subscription, "resuming the subscription of an earlier start");
        self.subscription = Some(subscription.clone());
        self.send(ListenerUpdate::Subscribed(subscription)).await;
        for subscription in extra {
            if let Err(error) = self.client().unsubscribe(&subscription).await {
                tracing::debug!(%error, "subscription not deleted");
            }
        }
    }

    /// Creates a subscription if there is none. Not cancel safe.
    async fn subscribe(&mut self) -> Result<(), Error> {
        if self.subscription.is_none() {
            let changing = self.paths.as_mut().map(|paths| Arc::clone(&paths.borrow_and_update()));
            if let Some(paths) = &changing {
                self.new.paths = Arc::clone(paths);
            }
            let id = self.client().subscribe(&self.new).await?;
            tracing::info!(subscription = %id, "subscribed to events");
            self.pauses.worked(Step::Subscribe);
            self.subscription = Some(id.clone());
            self.send(ListenerUpdate::Subscribed(id)).await;
            if let Some(paths) = changing {
                self.covers(paths).await;
            }
        }
        Ok(())
    }

    /// One poll, and the pause after a failed step. Cancel safe.
    async fn round(&mut self, subscribed: Result<(), Error>) {
        let (step, error) = match (subscribed, self.subscription.clone()) {
            (Err(error), _) => (Step::Subscribe, error),
            (Ok(()), None) => return,
            (Ok(()), Some(subscription)) => match self.poll(&subscription).await {
                Ok(()) => return self.pauses.worked(Step::Poll),
                Err(error) => (Step::Poll, error),
            },
        };
        self.send(ListenerUpdate::Disconnected).await;
        let is_gone = step == Step::Poll && self.codeless.is_gone(&error);
        if is_gone {
            if error.code().is_some_and(ErrorCode::is_empty)
                && let Some(subscription) = &self.subscription
            {
                // If it exists nevertheless, it must not remain.
                drop(self.client().unsubscribe(subscription).await);
            }
            (self.subscription, self.cursor, self.codeless) = (None, Cursor::default(), Codeless::default());
        }
        let (class, retry) =
            if is_gone { (Class::Unavailable, Retry::Backoff) } else { (error.class(), error.retry()) };
        let pause = self.pauses.after(step, class, retry);
        let pause_seconds = pause.as_secs_f64();
        if error.retry() == Retry::Never {
            tracing::warn!(%error, pause_seconds, "event connection failed, retrying later; changes are found at the next refresh");
        } else {
            tracing::info!(%error, pause_seconds, "events unavailable, refreshing at intervals");
        }
        sleep(pause).await;
    }

    /// Waits for the next events and reports them.
    async fn poll(&mut self, subscription: &SubscriptionId) -> Result<(), Error> {
        let asked = Instant::now();
        let poll = Poll { wait: POLL_WAIT_LIMIT, since: self.cursor.since().cloned(), ..Poll::default() };
        let client = self.client();
        let events = tokio::select! {
            polled = client.poll(subscription, &poll) => polled?,
            () = self.path_added() => return self.change(subscription).await,
        };
        self.codeless = Codeless::default();
        let came = !events.is_empty();
        let changes = self.cursor.hear(events);
        let is_idle = changes.is_none();
        self.send(ListenerUpdate::Connected).await;
        if let Some(changes) = changes {
            self.send(ListenerUpdate::Changed(changes)).await;
        }
        if let Some(events) = self.cursor.to_acknowledge(came && is_idle)
            && !self.acknowledging.is_waiting(Instant::now())
        {
            if let Err(error) = self.client().acknowledge(subscription, events).await {
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

    /// Waits until a path is missing in the subscription and a change is allowed.
    fn path_added(&self) -> impl Future<Output = ()> + use<> {
        let (paths, covered, change_at) = (self.paths.clone(), Arc::clone(&self.covered), self.change_at);
        async move {
            let Some(mut paths) = paths else { return pending().await };
            if paths.wait_for(|paths| !paths.is_subset(&covered)).await.is_err() {
                // The sender was dropped, so no more paths will be added.
                return pending().await;
            }
            sleep_until(change_at).await;
        }
    }

    /// Updates the subscription's paths. If the server rejects that, a new subscription is created.
    async fn change(&mut self, subscription: &SubscriptionId) -> Result<(), Error> {
        let Some(paths) = self.paths.as_ref().map(|paths| Arc::clone(&paths.borrow())) else { return Ok(()) };
        if !self.is_change_refused {
            match self.client().change_subscription(subscription, &paths).await {
                Ok(()) => {
                    self.change_at = Instant::now() + CHANGE_PAUSE;
                    self.failed_changes = 0;
                    self.covers(paths).await;
                    return Ok(());
                }
                // An answer without a code does not come from ScaiVault itself and is only believed
                // if it is repeated.
                Err(error) if self.failed_changes < CODELESS_BELIEVED && is_passing(&error) => {
                    tracing::debug!(%error, "paths of the subscription not changed");
                    self.failed_changes += u32::from(error.class() != Class::Throttled);
                    self.change_at = Instant::now() + CHANGE_PAUSE;
                    return Ok(());
                }
                Err(error) => {
                    tracing::info!(%error, "paths of the subscription cannot be changed, creating a new one");
                    self.is_change_refused = !error.is_gone();
                }
            }
        }
        self.send(ListenerUpdate::Disconnected).await;
        self.change_at = Instant::now() + REPLACE_PAUSE;
        (self.subscription, self.cursor) = (None, Cursor::default());
        if let Err(error) = self.client().unsubscribe(subscription).await {
            tracing::debug!(%error, "subscription not deleted");
        }
        Ok(())
    }

    async fn covers(&mut self, paths: Arc<BTreeSet<SecretPath>>) {
        self.covered = Arc::clone(&paths);
        self.send(ListenerUpdate::Covers(paths)).await;
    }

    async fn send(&mut self, what: ListenerUpdate) {
        match what {
            ListenerUpdate::Connected if self.is_connected => return,
            ListenerUpdate::Disconnected if !self.is_connected => return,
            ListenerUpdate::Connected | ListenerUpdate::Subscribed(_) => self.is_connected = true,
            ListenerUpdate::Disconnected => self.is_connected = false,
            ListenerUpdate::Covers(_) | ListenerUpdate::Changed(_) => {}
        }
        // Fails only if the receiver is closed, which ends the listener.
        drop(self.updates.send(what).await);
    }
}

/// Whether a change of a subscription's paths may succeed later.
fn is_passing(error: &Error) -> bool {
    error.retry() != Retry::Never || error.class() == Class::Authentication
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
