//! `sidecar`: fetches, then keeps fresh until the pod ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use scaivault_client::{Retry, SubscriptionId};
use scaivault_contract::{DynamicRef, SecretPath, TargetFile};
use tokio::{
    sync::mpsc::{self, Receiver},
    time::{Instant, sleep_until},
};

use crate::{
    chance,
    cli::Ending,
    compose::Variables,
    config::Config,
    delivery::Delivery,
    fetch::{self, Answers, Key, Patience},
    first::{Earlier, First, first},
    init::{end_signal, stopped},
    lease::{HeldLease, LeaseStep},
    listen::{self, Heard},
    metrics::{self, Counter, Metrics},
    reload,
    schedule::{Attempts, Schedule},
};

/// How long the sidecar sleeps at most while it holds leases: their times are wall-clock times, and a clock may be set.
const LEASE_LOOK: Duration = Duration::from_mins(1);
/// The pause after a lease could not be renewed or generated.
const LEASE_PAUSE: Duration = Duration::from_secs(30);
/// The pauses after a signal did not reach its process: it may be starting.
const RELOAD_PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));
/// How long revoking may take at the end. The kubelet's default grace period is 30 s for all of the pod.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches, then keeps fresh until SIGTERM.
pub(crate) async fn run(config: Config) -> Result<(), Ending> {
    let mut end = end_signal()?;
    let metrics = Arc::new(Metrics::default());
    if let Some(address) = config.upkeep.metrics_listen {
        tokio::spawn(metrics::serve(metrics::bind(address).await?, Arc::clone(&metrics)));
    }
    let mut delivery = Delivery::new(config).await?;
    let earlier = if delivery.is_complete() { Earlier::Everything } else { Earlier::Nothing };
    let first = tokio::select! {
        first = first(&mut delivery, earlier) => first,
        _ = end.recv() => Err(stopped()),
    };
    let first = match first {
        Ok(first) => first,
        Err(ending) => {
            delivery.abandon().await;
            return Err(ending);
        }
    };
    let (mut sidecar, mut heard) = Sidecar::new(delivery, first, earlier, metrics);
    tokio::select! {
        () = sidecar.keep_fresh(&mut heard) => {}
        _ = end.recv() => {}
    }
    sidecar.stop().await;
    Ok(())
}

struct Sidecar {
    delivery: Delivery,
    /// Answers of pinned versions, which never change.
    pinned: Answers,
    refresh: Schedule,
    /// When leases that could not be had are tried again.
    lease_tries: BTreeMap<DynamicRef, Instant>,
    /// Leases whose credentials were replaced: the application may still use them until they end.
    replaced: Vec<HeldLease>,
    reload: Attempts,
    metrics: Arc<Metrics>,
}

impl Sidecar {
    fn new(
        delivery: Delivery,
        first: First,
        earlier: Earlier,
        metrics: Arc<Metrics>,
    ) -> (Self, Receiver<Heard>) {
        let First { answers, changed } = first;
        let now = Instant::now();
        let (sender, heard) = mpsc::channel(1);
        if delivery.config.upkeep.on_event {
            let paths: BTreeSet<_> = delivery.keys().into_iter().map(|key| key.path).collect();
            tokio::spawn(listen::listen(
                Arc::clone(&delivery.client),
                paths.into_iter().collect(),
                delivery.subscription.clone(),
                chance::seed(SystemTime::now()),
                sender,
            ));
        }
        let mut sidecar = Self {
            pinned: pinned(answers),
            refresh: Schedule::new(delivery.config.upkeep.refresh_interval, now, chance::any()),
            lease_tries: BTreeMap::new(),
            replaced: Vec::new(),
            reload: Attempts::new(RELOAD_PAUSES.0, RELOAD_PAUSES.1),
            metrics,
            delivery,
        };
        // At the pod's start the application does not run yet, and reads the new files anyhow.
        if earlier == Earlier::Everything {
            sidecar.note_changes(&changed);
        }
        (sidecar, heard)
    }

    /// Never returns.
    async fn keep_fresh(&mut self, heard: &mut Receiver<Heard>) {
        loop {
            let wake = self.wake(Instant::now(), SystemTime::now());
            tokio::select! {
                Some(heard) = heard.recv() => match heard {
                    Heard::Subscribed(id) => self.remember(id).await,
                    Heard::Changed(paths) => self.refresh(&paths).await,
                },
                () = sleep_until(wake) => self.do_what_is_due().await,
            }
        }
    }

    /// When something is due.
    fn wake(&self, now: Instant, time: SystemTime) -> Instant {
        let mut wake = self.refresh.due();
        wake = self.reload.due().map_or(wake, |due| wake.min(due));
        for dynamic in self.delivery.dynamics() {
            let due = match self.step(&dynamic, time) {
                Some(LeaseStep::Wait(until)) => {
                    now + until.duration_since(time).unwrap_or_default().min(LEASE_LOOK)
                }
                _ => self.lease_tries.get(&dynamic).copied().unwrap_or(now),
            };
            wake = wake.min(due);
        }
        wake
    }

    async fn do_what_is_due(&mut self) {
        if self.refresh.due() <= Instant::now() {
            self.refresh(&BTreeSet::new()).await;
            self.refresh.done(Instant::now(), chance::any());
        }
        self.keep_leases().await;
        if self.reload.due().is_some_and(|due| due <= Instant::now()) {
            self.signal();
        }
    }

    /// Reads the secrets of these paths again, of no path all, and writes what has changed.
    async fn refresh(&mut self, paths: &BTreeSet<SecretPath>) {
        let mut keys = self.delivery.keys();
        keys.retain(|key| !self.pinned.contains_key(key));
        // A file of variables needs all of its secrets.
        let is_asked = |key: &Key| paths.is_empty() || paths.contains(&key.path);
        if !keys.iter().any(is_asked) {
            return;
        }
        let mut answers = fetch::read_all(&self.delivery.client, keys, self.patience()).await;
        for (key, answer) in answers.iter().filter(|(key, answer)| key.version.is_some() && answer.is_ok()) {
            self.pinned.insert(key.clone(), answer.clone());
        }
        answers.extend(self.pinned.clone());
        let is_fresh = self.write(&answers);
        self.metrics.count(if is_fresh { Counter::Refreshed } else { Counter::NotRefreshed });
        if is_fresh {
            self.metrics.fresh(SystemTime::now());
        }
        self.keep_state().await;
    }

    /// Writes what differs; whether nothing was left out.
    fn write(&mut self, answers: &Answers) -> bool {
        let composition = self.delivery.compose(answers, Variables::AllOrNone);
        for failure in &composition.failures {
            tracing::warn!(%failure, "not refreshed, keeping the file as it is");
        }
        match self.delivery.write(&composition, false) {
            Ok(changed) => {
                let changed: Vec<_> = changed.into_iter().cloned().collect();
                let is_all = composition.failures.is_empty();
                drop(composition);
                self.note_changes(&changed);
                is_all
            }
            Err(error) => {
                tracing::error!(%error, "not refreshed");
                false
            }
        }
    }

    /// Tells the application of files that have changed. Of variables it cannot be told: they are read at its start.
    fn note_changes(&mut self, changed: &[TargetFile]) {
        for file in changed {
            self.metrics.count(Counter::FileChanged);
            tracing::info!(%file, "file changed");
        }
        let variables = self.delivery.config.wanted.variables_file.as_ref();
        if self.delivery.config.upkeep.reload.is_some() && changed.iter().any(|file| Some(file) != variables)
        {
            self.reload.start(Instant::now());
            self.signal();
        }
    }

    fn signal(&mut self) {
        let Some(reload) = &self.delivery.config.upkeep.reload else { return };
        match reload::send(reload) {
            Ok(pid) => {
                self.reload.succeeded();
                self.metrics.count(Counter::Signalled);
                tracing::info!(signal = %reload.signal, target_process = reload.target, pid, "application signalled");
            }
            Err(error) => {
                self.metrics.count(Counter::NotSignalled);
                if self.reload.failed(Instant::now()) {
                    tracing::warn!(%error, "application not signalled, trying again");
                } else {
                    tracing::debug!(%error, "application not signalled, trying again");
                }
            }
        }
    }

    /// Renews, replaces and generates the leases that it is time for.
    async fn keep_leases(&mut self) {
        for dynamic in self.delivery.dynamics() {
            if self.lease_tries.get(&dynamic).is_some_and(|due| *due > Instant::now()) {
                continue;
            }
            let is_kept = match self.step(&dynamic, SystemTime::now()) {
                Some(LeaseStep::Wait(_)) => continue,
                Some(LeaseStep::Renew) => self.renew(&dynamic).await,
                Some(LeaseStep::Replace) | None => self.replace(&dynamic).await,
            };
            if is_kept {
                self.lease_tries.remove(&dynamic);
            } else {
                self.metrics.count(Counter::LeaseFailed);
                self.lease_tries.insert(dynamic, Instant::now() + LEASE_PAUSE);
            }
        }
    }

    fn step(&self, dynamic: &DynamicRef, time: SystemTime) -> Option<LeaseStep> {
        let lease = self.delivery.leases.0.get(dynamic)?;
        Some(lease.step(time, chance::of(&lease.id)))
    }

    async fn renew(&mut self, dynamic: &DynamicRef) -> bool {
        let Some(lease) = self.delivery.leases.0.get_mut(dynamic) else { return false };
        match self.delivery.client.renew(&lease.id, dynamic.ttl).await {
            Ok(term) => {
                lease.renew(term, SystemTime::now());
                self.metrics.count(Counter::LeaseRenewed);
                tracing::info!(%dynamic, lease = %lease.id, ttl_seconds = term.ttl.as_secs(), "lease renewed");
                self.keep_state().await;
                true
            }
            Err(error) if error.retry() == Retry::Never => {
                tracing::warn!(%dynamic, %error, "lease not renewed, generating a new one");
                self.replace(dynamic).await
            }
            Err(error) => {
                tracing::warn!(%dynamic, %error, "lease not renewed, trying again");
                false
            }
        }
    }

    async fn replace(&mut self, dynamic: &DynamicRef) -> bool {
        match self.delivery.generate(dynamic, self.patience()).await {
            Ok(Ok(replaced)) => {
                self.metrics.count(Counter::LeaseGenerated);
                self.replaced.extend(replaced);
            }
            Ok(Err(failure)) => {
                tracing::warn!(%failure, "no new lease, trying again");
                return false;
            }
            // The credentials are valid all the same; after a restart others take their place.
            Err(error) => tracing::error!(%error, "the new lease is not kept"),
        }
        self.write(&Answers::new());
        true
    }

    async fn remember(&mut self, subscription: SubscriptionId) {
        self.delivery.subscription = Some(subscription);
        self.keep_state().await;
    }

    async fn keep_state(&self) {
        if let Err(error) = self.delivery.save().await {
            tracing::error!(%error, "state not kept");
        }
    }

    /// A refresh takes no longer than the first fetch may, nor than its own interval.
    fn patience(&self) -> Patience {
        let config = &self.delivery.config;
        let time = config.fetch_timeout.min(config.upkeep.refresh_interval);
        Patience { deadline: Instant::now() + time, seed: chance::seed(SystemTime::now()) }
    }

    /// Gives back what ScaiVault holds for this pod, inside the pod's grace period.
    async fn stop(mut self) {
        let now = SystemTime::now();
        self.replaced.retain(|lease| lease.is_usable(now));
        let delay = self.delivery.config.upkeep.revoke_delay;
        let has_leases = !self.delivery.leases.0.is_empty() || !self.replaced.is_empty();
        if has_leases && !delay.is_zero() {
            tracing::info!(delay_seconds = delay.as_secs(), "leaving the application its leases for a while");
            tokio::time::sleep(delay).await;
        }
        let stopped = tokio::time::timeout(REVOKE_TIMEOUT, async {
            if let Some(subscription) = self.delivery.subscription.take()
                && let Err(error) = self.delivery.client.unsubscribe(&subscription).await
            {
                tracing::warn!(%error, %subscription, "subscription not deleted");
            }
            self.delivery.revoke_all(self.replaced).await;
        });
        if stopped.await.is_err() {
            tracing::warn!("not all leases were revoked in time, they end by themselves");
        }
        tracing::info!("stopped");
    }
}

/// The answers that never change: good ones of pinned versions.
fn pinned(answers: Answers) -> Answers {
    answers.into_iter().filter(|(key, answer)| key.version.is_some() && answer.is_ok()).collect()
}
