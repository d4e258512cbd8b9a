//! Learns of changes of cached secrets from ScaiVault's events. There is one subscription for each identity
//! of this node's pods, for the secrets of its volumes. While events arrive, republishing an unchanged
//! volume costs no request.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use scaivault_client::{
    Backoff, Client, ListenerPaths, ListenerSettings, ListenerUpdate, SubscriptionId, listen,
};
use scaivault_contract::SecretPath;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    lock,
    secrets::{Identity, Secrets},
};

/// The maximum number of subscriptions of this node, slightly more than a kubelet's pods. Secrets of further
/// identities are read at the refresh interval.
const SUBSCRIPTIONS_MAX: usize = 128;
/// The maximum number of subscriptions of one namespace, so that it cannot use up those of others.
const NAMESPACE_MAX_SUBSCRIPTIONS: usize = SUBSCRIPTIONS_MAX / 2;
/// The maximum number of secrets of one subscription. Others are read at the refresh interval.
const PATHS_MAX: usize = 1000;
/// How long the deletion of a subscription may take.
const DELETE_TIMEOUT: Duration = Duration::from_secs(5);
/// The backoff after a failed deletion, from and to.
const DELETE_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));

/// The subscriptions of this node.
pub(crate) struct Events {
    /// The listener's name, a part of the subscriptions' names; `None` if events are off.
    listener: Option<String>,
    secrets: Arc<Secrets>,
    /// Notified if a subscription was added that must be saved for a restart.
    changed: Arc<Notify>,
    identities: Mutex<BTreeMap<Identity, IdentitySubscription>>,
    is_stopping: AtomicBool,
}

/// The subscription of one identity.
struct IdentitySubscription {
    client: watch::Sender<Arc<Client>>,
    paths: watch::Sender<Arc<BTreeSet<SecretPath>>>,
    coverage: Arc<Mutex<Coverage>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// The secrets of a subscription.
#[derive(Debug, Default)]
struct Coverage {
    subscription: Option<SubscriptionId>,
    is_connected: bool,
    since: BTreeMap<SecretPath, Instant>,
}

impl Coverage {
    fn update(&mut self, update: &ListenerUpdate, now: Instant) {
        match update {
            ListenerUpdate::Subscribed(subscription) => {
                *self = Self {
                    subscription: Some(subscription.clone()),
                    is_connected: true,
                    since: BTreeMap::new(),
                };
            }
            ListenerUpdate::Covers(paths) => {
                self.since.retain(|path, _| paths.contains(path));
                for path in &**paths {
                    self.since.entry(path.clone()).or_insert(now);
                }
            }
            // After a disconnect, the server sends the missed events first.
            ListenerUpdate::Connected => self.is_connected = true,
            ListenerUpdate::Disconnected => self.is_connected = false,
            ListenerUpdate::Changed(_) => {}
        }
    }

    fn since(&self, path: &SecretPath) -> Option<Instant> {
        self.since.get(path).copied().filter(|_| self.is_connected)
    }
}

impl Events {
    pub(crate) fn new(listener: Option<String>, secrets: Arc<Secrets>, changed: Arc<Notify>) -> Self {
        Self { listener, secrets, changed, identities: Mutex::default(), is_stopping: AtomicBool::new(false) }
    }

    /// The time since when changes of a secret are reported; `None` if they are not.
    pub(crate) fn since(&self, identity: &Identity, path: &SecretPath) -> Option<Instant> {
        lock(&self.identities).get(identity).and_then(|subscribed| lock(&subscribed.coverage).since(path))
    }

    /// Subscribes to changes of these secrets of a volume. `client` is the identity's last login.
    pub(crate) fn cover(&self, identity: &Identity, client: &Arc<Client>, paths: BTreeSet<SecretPath>) {
        let mut identities = lock(&self.identities);
        if let Some(subscribed) = identities.get(identity) {
            let until = |client: &Client| client.token().map(|token| token.use_until());
            subscribed.client.send_if_modified(|last| {
                let is_newer = until(client) > until(last);
                if is_newer {
                    last.clone_from(client);
                }
                is_newer
            });
            subscribed.paths.send_if_modified(|covered| {
                let room = PATHS_MAX.saturating_sub(covered.len());
                let new: Vec<_> =
                    paths.into_iter().filter(|path| !covered.contains(path)).take(room).collect();
                if new.is_empty() {
                    return false;
                }
                Arc::make_mut(covered).extend(new);
                true
            });
        } else if !paths.is_empty() && has_room(identities.keys(), identity) {
            let paths = paths.into_iter().take(PATHS_MAX).collect();
            if let Some(subscribed) = self.subscribe(identity, client, paths, None) {
                identities.insert(identity.clone(), subscribed);
            }
        }
    }

    /// Continues the subscription of an earlier process. The first mounts add its secrets.
    pub(crate) fn restore(&self, identity: Identity, client: &Arc<Client>, kept: SubscriptionId) {
        if let Some(subscribed) = self.subscribe(&identity, client, BTreeSet::new(), Some(kept)) {
            lock(&self.identities).insert(identity, subscribed);
        }
    }

    fn subscribe(
        &self,
        identity: &Identity,
        client: &Arc<Client>,
        paths: BTreeSet<SecretPath>,
        kept: Option<SubscriptionId>,
    ) -> Option<IdentitySubscription> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return None;
        }
        let Identity { namespace, service_account, .. } = identity;
        let name = format!("{}/{namespace}/{service_account}", self.listener.as_ref()?);
        let (client, clients) = watch::channel(Arc::clone(client));
        let (paths, wanted) = watch::channel(Arc::new(paths));
        let (stop, stopped) = oneshot::channel();
        let coverage = Arc::new(Mutex::new(Coverage { subscription: kept.clone(), ..Coverage::default() }));
        let following = EventTask {
            identity: identity.clone(),
            client: clients.clone(),
            secrets: Arc::clone(&self.secrets),
            coverage: Arc::clone(&coverage),
            changed: Arc::clone(&self.changed),
        };
        let paths_changing = ListenerPaths::Changing(wanted);
        let settings =
            ListenerSettings { client: clients, name, paths: paths_changing, kept, may_have_left: false };
        let task = tokio::spawn(following.run(settings, stopped));
        Some(IdentitySubscription { client, paths, coverage, stop, task })
    }

    /// Ends the subscriptions of all other identities, and removes secrets without a volume from the
    /// remaining ones.
    pub(crate) fn keep_only(&self, identities: &BTreeSet<Identity>) {
        let mut subscribed = lock(&self.identities);
        let ended: Vec<_> = subscribed.extract_if(.., |identity, _| !identities.contains(identity)).collect();
        for (_, ended) in ended {
            // This makes its task delete the subscription and end.
            drop(ended.stop);
        }
        for (identity, subscribed) in &*subscribed {
            let used = self.secrets.paths(identity);
            subscribed.paths.send_if_modified(|paths| {
                if !paths.is_subset(&used) {
                    Arc::make_mut(paths).retain(|path| used.contains(path));
                }
                false
            });
        }
    }

    /// Deletes all subscriptions and waits for it.
    pub(crate) async fn stop(&self) {
        let all = {
            let mut identities = lock(&self.identities);
            self.is_stopping.store(true, Ordering::Relaxed);
            mem::take(&mut *identities)
        };
        let tasks = all.into_values().map(|IdentitySubscription { stop, task, .. }| {
            drop(stop);
            task
        });
        join_all(tasks).await;
    }

    /// The subscriptions to save for a restart.
    pub(crate) fn subscriptions(&self) -> Vec<(Identity, SubscriptionId)> {
        let identities = lock(&self.identities);
        let kept = identities.iter().filter_map(|(identity, subscribed)| {
            Some((identity.clone(), lock(&subscribed.coverage).subscription.clone()?))
        });
        kept.collect()
    }

    /// The number of identities whose events arrive.
    pub(crate) fn connected(&self) -> usize {
        lock(&self.identities).values().filter(|subscribed| lock(&subscribed.coverage).is_connected).count()
    }
}

/// Whether the limits allow a subscription for this identity.
fn has_room<'a>(subscribed: impl Iterator<Item = &'a Identity> + Clone, other: &Identity) -> bool {
    let of_namespace = subscribed.clone().filter(|identity| identity.namespace == other.namespace).count();
    subscribed.count() < SUBSCRIPTIONS_MAX && of_namespace < NAMESPACE_MAX_SUBSCRIPTIONS
}

/// The task that receives the events of one identity.
struct EventTask {
    identity: Identity,
    client: watch::Receiver<Arc<Client>>,
    secrets: Arc<Secrets>,
    coverage: Arc<Mutex<Coverage>>,
    changed: Arc<Notify>,
}

impl EventTask {
    /// Runs until the sender of `stopped` is dropped, then deletes the subscription.
    async fn run(self, settings: ListenerSettings, mut stopped: oneshot::Receiver<()>) {
        let (sender, mut updates) = mpsc::channel(1);
        let listening = tokio::spawn(listen(settings, sender));
        loop {
            tokio::select! {
                update = updates.recv() => match update {
                    Some(update) => self.take(&update),
                    // The listener has panicked, so secrets are read at the refresh interval.
                    None => break,
                },
                _ = &mut stopped => break,
            }
        }
        updates.close();
        let subscription = listening.await.ok().flatten();
        *lock(&self.coverage) = Coverage::default();
        if let Some(subscription) = subscription {
            self.delete(&subscription).await;
        }
        self.changed.notify_one();
    }

    fn take(&self, update: &ListenerUpdate) {
        if let ListenerUpdate::Changed(changes) = update {
            self.secrets.announce(&self.identity, changes);
        }
        lock(&self.coverage).update(update, Instant::now());
        if matches!(update, ListenerUpdate::Subscribed(_)) {
            self.changed.notify_one();
        }
    }

    async fn delete(&self, subscription: &SubscriptionId) {
        let client = Arc::clone(&self.client.borrow());
        let deleting = async {
            let mut backoff = Backoff::new(DELETE_PAUSES);
            while let Err(error) = client.unsubscribe(subscription).await {
                let Some(again) = backoff.failed(Instant::now(), error.retry().at_most(DELETE_PAUSES.1))
                else {
                    return Err(error.to_string());
                };
                sleep_until(again).await;
            }
            Ok(())
        };
        let late = || Err("ScaiVault has not answered in time".to_owned());
        if let Err(error) = timeout(DELETE_TIMEOUT, deleting).await.unwrap_or_else(|_| late()) {
            tracing::warn!(%subscription, error, "subscription not deleted");
        }
    }
}

#[cfg(test)]
impl Events {
    /// The number of identities that are subscribed or being subscribed.
    pub(crate) fn count(&self) -> usize {
        lock(&self.identities).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attributes::{Pod, tests::pod},
        config::LoginTarget,
    };

    #[test]
    fn a_namespace_leaves_subscriptions_to_others() {
        let target = LoginTarget { server: 0, audience: "scaivault".to_owned(), role: None };
        let identity = |namespace: &str, index: usize| {
            let (namespace, service_account) =
                (namespace.parse().unwrap(), format!("sa-{index}").parse().unwrap());
            Identity::new(&Pod { namespace, service_account, ..pod() }, &target)
        };
        let mut subscribed: Vec<_> =
            (0..NAMESPACE_MAX_SUBSCRIPTIONS).map(|index| identity("a", index)).collect();
        assert!(has_room(subscribed.iter().skip(1), &identity("a", 999)));
        assert!(!has_room(subscribed.iter(), &identity("a", 999)));
        assert!(has_room(subscribed.iter(), &identity("b", 0)));
        subscribed.extend((0..NAMESPACE_MAX_SUBSCRIPTIONS).map(|index| identity("b", index)));
        assert!(!has_room(subscribed.iter(), &identity("c", 0)), "the limit of the node");
    }
}
