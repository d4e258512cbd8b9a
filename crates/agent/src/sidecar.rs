//! `sidecar`: fetches, then keeps the files up to date until the pod ends.
//!
//! One loop sends due requests and processes responses as they arrive, so no request waits for
//! another.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use scaivault_client::{
    Backoff, Changes, ListenerPaths, ListenerSettings, ListenerUpdate, SubscriptionId, listen,
};
use scaivault_contract::DynamicRef;
use tokio::{
    signal::unix::Signal,
    sync::{
        mpsc::{self, Receiver},
        watch,
    },
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    config::Config,
    delivery::{Delivery, GIVE_BACK_TIMEOUT, Requests, STOP_TIMEOUT, Wait},
    exit::{Fatal, refresh_signal, sigterm},
    fetch::{CommitReport, Fetcher},
    init::{StartKind, initial_fetch},
    metrics::{self, Counter, Metrics},
    state::StateError,
};

mod leases;
mod reload;

use leases::Renewed;
use reload::Notifier;

/// The first and the longest pause after a failed notification: the application may be starting.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));

/// Fetches, then keeps the files up to date until SIGTERM.
pub(crate) async fn run(config: Config) -> Result<(), Fatal> {
    let (mut end, refresh) = (sigterm()?, refresh_signal()?);
    let metrics = Arc::new(Metrics::default());
    if let Some(address) = config.sidecar.metrics_listen {
        tokio::spawn(metrics::serve(metrics::bind(address).await?, Arc::clone(&metrics)));
    }
    let mut delivery = Delivery::new(config)?;
    let start = delivery.start_kind();
    let mut fetcher = Fetcher::new(&delivery, start, Instant::now());
    if start == StartKind::Cold {
        initial_fetch(&mut delivery, &mut fetcher, &mut end).await?;
    } else {
        tracing::info!("found the files of an earlier start, refreshing them");
    }
    let (mut sidecar, mut updates) = Sidecar::new(delivery, fetcher, start, metrics, refresh);
    tokio::select! {
        () = sidecar.run_loop(&mut updates) => {}
        _ = end.recv() => {}
    }
    sidecar.stop(updates).await;
    Ok(())
}

struct Sidecar {
    delivery: Delivery,
    fetcher: Fetcher,
    /// Lease renewals in flight.
    renewing: Requests<DynamicRef, Renewed>,
    /// Backoff of failed renewals.
    not_renewed: BTreeMap<DynamicRef, Backoff>,
    notifier: Notifier,
    /// The task that listens to events.
    listener: Option<JoinHandle<Option<SubscriptionId>>>,
    metrics: Arc<Metrics>,
    /// SIGHUP.
    refresh: Signal,
}

impl Sidecar {
    fn new(
        delivery: Delivery,
        fetcher: Fetcher,
        start: StartKind,
        metrics: Arc<Metrics>,
        refresh: Signal,
    ) -> (Self, Receiver<ListenerUpdate>) {
        let (sender, updates) = mpsc::channel(1);
        let config = &delivery.config.sidecar;
        let is_restart = start == StartKind::Restart;
        let listener = config.on_event.then(|| {
            let settings = ListenerSettings {
                client: watch::channel(Arc::clone(&delivery.client)).1,
                name: delivery.config.subscription_name(),
                paths: ListenerPaths::Fixed(fetcher.reads.keys().map(|key| key.path.clone()).collect()),
                kept: delivery.subscription.clone(),
                may_have_left: delivery.writer.was_notified_by_this_sidecar(),
            };
            tokio::spawn(listen(settings, sender))
        });
        let mut sidecar = Self {
            renewing: Requests::new(),
            not_renewed: BTreeMap::new(),
            notifier: Notifier::new(config.reload.clone()),
            fetcher,
            listener,
            metrics,
            refresh,
            delivery,
        };
        if is_restart {
            // The previous run may have been killed before it wrote the files of a new lease.
            sidecar.fetcher.put_leases(&sidecar.delivery.leases, Instant::now());
        } else {
            sidecar.update_freshness(Instant::now());
        }
        sidecar.begin_notifying(is_restart);
        (sidecar, updates)
    }

    /// Never returns.
    async fn run_loop(&mut self, updates: &mut Receiver<ListenerUpdate>) {
        loop {
            self.update_gauges();
            let wake = self.wake(Instant::now(), SystemTime::now());
            tokio::select! {
                Some(update) = updates.recv() => self.apply(update),
                Some((dynamic, answered)) = self.renewing.next() => self.renewed(&dynamic, answered),
                Some((dynamic, answered)) = self.delivery.generating.next() => {
                    self.generated(&dynamic, answered);
                }
                Some((lease, answered)) = self.delivery.revoking.next() => self.revoked(&lease, answered),
                Some(answer) = self.fetcher.answer() => self.fetcher.take(answer, Instant::now()),
                done = self.notifier.finished() => self.notified(done),
                Some(()) = self.refresh.recv() => {
                    tracing::info!("refreshing on SIGHUP");
                    self.fetcher.reads.refresh_now(Instant::now());
                }
                () = sleep_until(wake) => self.start_due_work(),
            }
        }
    }

    /// When the loop next has work.
    fn wake(&self, now: Instant, time: SystemTime) -> Instant {
        let due = self.notifier.due().into_iter().chain(self.leases_due(now, time));
        due.fold(self.fetcher.due(now), Instant::min)
    }

    /// Starts all work that is due without waiting for responses. Leases come first, because they
    /// expire.
    fn start_due_work(&mut self) {
        self.maintain_leases();
        let now = Instant::now();
        self.fetcher.send_due(now);
        if self.fetcher.is_commit_due(now) {
            self.commit(now);
            self.save_state();
        }
        self.notifier.start();
    }

    /// Writes the files of the answers so far and of all leases that changed.
    fn commit(&mut self, now: Instant) {
        self.fetcher.put_leases(&self.delivery.leases, now);
        let CommitReport { changed, failures, done, has_answers } = self.fetcher.commit(false, now);
        let time = SystemTime::now();
        if let Err(error) = &done {
            tracing::error!(%error, "not refreshed, trying again");
            self.metrics.failed("volume", time);
        }
        for failure in &failures {
            self.metrics.failed(failure.class, time);
        }
        let is_refreshed = done.is_ok() && failures.is_empty();
        if has_answers {
            self.metrics.count(if is_refreshed { Counter::Refreshed } else { Counter::NotRefreshed });
        }
        if is_refreshed {
            self.update_freshness(now);
        }
        self.note_changes(&changed);
    }

    /// Updates the metric since when all files are known to match ScaiVault.
    fn update_freshness(&self, now: Instant) {
        let has_leases =
            self.delivery.dynamics().iter().all(|dynamic| self.delivery.leases.get(dynamic).is_some());
        if let Some(confirmed) = self.fetcher.reads.confirmed(now).filter(|_| has_leases) {
            self.metrics.fresh(SystemTime::now() - (now - confirmed));
        }
    }

    /// Updates the gauges.
    fn update_gauges(&self) {
        self.metrics.set_leases(self.delivery.leases.iter().map(|(dynamic, lease)| (dynamic, lease.ends)));
        self.metrics.set_reload_owed(self.notifier.is_owed());
    }

    fn apply(&mut self, update: ListenerUpdate) {
        let now = Instant::now();
        let reads = &mut self.fetcher.reads;
        match update {
            ListenerUpdate::Subscribed(subscription) => {
                reads.schedule.set_connected(true, now);
                // No event announces changes between the last read and the subscription.
                reads.announce(&Changes::Any, now);
                self.delivery.subscription = Some(subscription);
                self.save_state();
            }
            ListenerUpdate::Connected => reads.schedule.set_connected(true, now),
            ListenerUpdate::Disconnected => reads.schedule.set_connected(false, now),
            // The paths of a pod never change.
            ListenerUpdate::Covers(_) => {}
            ListenerUpdate::Changed(changes) => reads.announce(&changes, now),
        }
    }

    fn save_state(&self) {
        log_unsaved(self.delivery.save());
    }
}

/// Logs that the state was not stored: the next write may succeed, and until then the application
/// still has its secrets.
fn log_unsaved(saved: Result<(), StateError>) {
    if let Err(error) = saved {
        tracing::error!(%error, "state not saved");
    }
}

impl Sidecar {
    /// Releases what ScaiVault holds for this pod: the subscription at once, leases after
    /// `SCAIVAULT_REVOKE_DELAY`. Until then the application drains, and its leases are maintained
    /// as before.
    async fn stop(mut self, mut updates: Receiver<ListenerUpdate>) {
        // Closing the channel ends the listener, so that it does not subscribe again.
        updates.close();
        let has_leases = !self.delivery.leases.is_empty();
        let delay = if has_leases { self.delivery.config.sidecar.revoke_delay } else { Duration::ZERO };
        let deadline = Instant::now() + STOP_TIMEOUT.max(delay + GIVE_BACK_TIMEOUT);
        let unsubscribe = self.delivery.unsubscribe(self.listener.take(), deadline);
        let revoke = async {
            if !delay.is_zero() {
                tracing::info!(delay_seconds = delay.as_secs(), "waiting before revoking leases");
                drop(timeout(delay, self.run_loop(&mut updates)).await);
            }
            self.delivery.revoke_all(Wait::Until(deadline)).await;
        };
        // Concurrently: a remaining subscription costs little, so deleting it must not delay the
        // leases.
        tokio::join!(revoke, unsubscribe);
        tracing::info!("stopped");
    }
}
