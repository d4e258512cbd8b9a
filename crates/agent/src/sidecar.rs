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
    task::AbortHandle,
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
    sink::Outcome,
};

/// How long the sidecar sleeps at most while it holds leases: their times are wall-clock times, and a clock may be set.
const LEASE_LOOK: Duration = Duration::from_mins(1);
/// The pause after a lease was generated, or could be neither renewed nor generated: each generation makes a user in a
/// database, whatever the answers say about its life.
const LEASE_PAUSE: Duration = Duration::from_secs(30);
/// The first and the longest pause after a try that failed: of reading (never longer than the interval), of writing, or
/// of a signal, whose process may be starting.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));
/// How long one try of a request may take: the client's own limit, with a login before it.
const TRY_TIMEOUT: Duration = Duration::from_secs(30);
/// An event is heard by all replicas of a workload at once; each reads at a moment of its own within this time.
const EVENT_SPREAD: Duration = Duration::from_secs(2);
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
        first = first(&mut delivery, earlier) => Some(first),
        _ = end.recv() => None,
    };
    let first = match first {
        Some(Ok(first)) => first,
        Some(Err(ending)) => {
            delivery.abandon().await;
            return Err(ending);
        }
        // The pod ends: there is no next start that would take up what is kept.
        None => {
            // An application that does not run yet needs no time.
            let delay = match earlier {
                Earlier::Everything => delivery.config.upkeep.revoke_delay,
                Earlier::Nothing => Duration::ZERO,
            };
            stop(delivery, Vec::new(), delay).await;
            return Err(stopped());
        }
    };
    let (mut sidecar, mut heard) = Sidecar::new(delivery, first, earlier, metrics);
    tokio::select! {
        () = sidecar.keep_fresh(&mut heard) => {}
        _ = end.recv() => {}
    }
    sidecar.stop(heard).await;
    Ok(())
}

struct Sidecar {
    delivery: Delivery,
    /// Answers of pinned versions, which never change.
    pinned: Answers,
    refresh: Schedule,
    /// What is to be read: since an event spoke of it, or since it could not be read and written.
    asked: BTreeSet<Key>,
    /// Reading what is asked for, before the next refresh.
    reading: Attempts,
    /// Writing the credentials of leases, which are not read again.
    writing: Attempts,
    /// Before which time nothing is done about a lease.
    lease_tries: BTreeMap<DynamicRef, Instant>,
    /// Leases whose credentials were replaced: the application may still use them until they end.
    replaced: Vec<HeldLease>,
    reload: Attempts,
    /// What listens to events.
    listener: Option<AbortHandle>,
    metrics: Arc<Metrics>,
}

impl Sidecar {
    fn new(
        delivery: Delivery,
        first: First,
        earlier: Earlier,
        metrics: Arc<Metrics>,
    ) -> (Self, Receiver<Heard>) {
        let First { answers, changed, is_complete } = first;
        let now = Instant::now();
        let (sender, heard) = mpsc::channel(1);
        let listener = delivery.config.upkeep.on_event.then(|| {
            let paths: BTreeSet<_> = delivery.keys().into_iter().map(|key| key.path).collect();
            let listening = tokio::spawn(listen::listen(
                Arc::clone(&delivery.client),
                paths.into_iter().collect(),
                delivery.subscription.clone(),
                chance::seed(SystemTime::now()),
                sender,
            ));
            listening.abort_handle()
        });
        let interval = delivery.config.upkeep.refresh_interval;
        let mut sidecar = Self {
            asked: answers.iter().filter(|(_, answer)| answer.is_err()).map(|(key, _)| key.clone()).collect(),
            pinned: pinned(answers),
            refresh: Schedule::new(interval, now, chance::any()),
            reading: Attempts::new(PAUSES.0.min(interval), interval),
            writing: Attempts::new(PAUSES.0, PAUSES.1),
            lease_tries: BTreeMap::new(),
            replaced: Vec::new(),
            reload: Attempts::new(PAUSES.0, PAUSES.1),
            listener,
            metrics,
            delivery,
        };
        if !sidecar.asked.is_empty() {
            sidecar.reading.failed(now, chance::any());
        }
        if is_complete {
            sidecar.metrics.fresh(SystemTime::now());
        }
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
                    Heard::Changed(paths) => self.ask(&paths),
                },
                () = sleep_until(wake) => self.do_what_is_due().await,
            }
        }
    }

    /// When something is due.
    fn wake(&self, now: Instant, time: SystemTime) -> Instant {
        let attempts = [&self.reading, &self.writing, &self.reload].into_iter().filter_map(Attempts::due);
        let mut wake = attempts.fold(self.refresh.due(), Instant::min);
        for dynamic in self.delivery.dynamics() {
            let due = match self.step(&dynamic, time) {
                Some(LeaseStep::Wait(until)) => {
                    now + until.duration_since(time).unwrap_or_default().min(LEASE_LOOK)
                }
                _ => now,
            };
            let earliest = self.lease_tries.get(&dynamic).copied().unwrap_or(now);
            wake = wake.min(due.max(earliest));
        }
        wake
    }

    /// Makes one try of each thing that is due. Leases come first: they end, and the rest only grows older.
    async fn do_what_is_due(&mut self) {
        self.keep_leases().await;
        if self.writing.is_due(Instant::now()) {
            self.write(&Answers::new());
        }
        if self.refresh.due() <= Instant::now() {
            self.asked = self.delivery.keys();
            self.refresh.done(Instant::now(), chance::any());
            self.refresh().await;
        } else if self.reading.is_due(Instant::now()) {
            self.refresh().await;
        }
        if self.reload.is_due(Instant::now()) {
            self.signal();
        }
    }

    /// Asks for the secrets of these paths, of no path for all.
    fn ask(&mut self, paths: &BTreeSet<SecretPath>) {
        let mut keys = self.delivery.keys();
        keys.retain(|key| !self.pinned.contains_key(key) && (paths.is_empty() || paths.contains(&key.path)));
        if !keys.is_empty() {
            self.asked.extend(keys);
            self.reading.start(Instant::now() + EVENT_SPREAD.mul_f64(chance::any()));
        }
    }

    /// Reads once what is asked for, and writes what has changed. What fails stays asked for.
    async fn refresh(&mut self) {
        let mut keys = self.delivery.with_other_variables(&self.asked);
        keys.retain(|key| !self.pinned.contains_key(key));
        if keys.is_empty() {
            self.asked.clear();
            self.reading.succeeded();
            return;
        }
        let is_all =
            self.delivery.keys().iter().all(|key| keys.contains(key) || self.pinned.contains_key(key));
        let patience = Patience::once(Instant::now() + TRY_TIMEOUT);
        let mut answers = fetch::read_all(&self.delivery.client, keys, patience).await;
        for (key, answer) in answers.iter().filter(|(key, answer)| key.version.is_some() && answer.is_ok()) {
            self.pinned.insert(key.clone(), answer.clone());
        }
        self.asked =
            answers.iter().filter(|(_, answer)| answer.is_err()).map(|(key, _)| key.clone()).collect();
        let read: Vec<_> = answers.keys().cloned().collect();
        answers.extend(self.pinned.clone());
        let written = self.write(&answers);
        if written == Written::NotEverywhere {
            self.asked.extend(read);
        }
        if self.asked.is_empty() {
            self.reading.succeeded();
        } else {
            self.reading.failed(Instant::now(), chance::any());
        }
        let is_fresh = written == Written::All;
        self.metrics.count(if is_fresh { Counter::Refreshed } else { Counter::NotRefreshed });
        if is_fresh && is_all {
            self.metrics.fresh(SystemTime::now());
        }
        self.keep_state().await;
    }

    /// Writes what differs of these answers and of all leases.
    fn write(&mut self, answers: &Answers) -> Written {
        let composition = self.delivery.compose(answers, Variables::AllOrNone);
        for failure in &composition.failures {
            tracing::warn!(%failure, "not refreshed, keeping the file as it is");
        }
        let Outcome { changed, done } = self.delivery.write(&composition, false);
        let changed: Vec<_> = changed.into_iter().cloned().collect();
        let is_all = composition.failures.is_empty();
        drop(composition);
        self.note_changes(&changed);
        match done {
            Ok(()) => {
                self.writing.succeeded();
                if is_all { Written::All } else { Written::Some }
            }
            Err(error) => {
                tracing::error!(%error, "not refreshed, trying again");
                self.writing.failed(Instant::now(), chance::any());
                Written::NotEverywhere
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
                if self.reload.failed(Instant::now(), chance::any()) {
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
            if !is_kept {
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
        let patience = Patience::once(Instant::now() + TRY_TIMEOUT);
        let generated = self.delivery.generate(dynamic, patience).await;
        self.lease_tries.insert(dynamic.clone(), Instant::now() + LEASE_PAUSE);
        match generated {
            Ok(Ok(replaced)) => {
                self.metrics.count(Counter::LeaseGenerated);
                self.replaced.extend(replaced);
                let now = SystemTime::now();
                self.replaced.retain(|lease| !lease.has_ended(now));
            }
            Ok(Err(failure)) => {
                tracing::warn!(%failure, "no new lease, trying again");
                return false;
            }
            // The credentials are valid all the same; after a restart others take their place.
            Err(error) => tracing::error!(%error, "the new lease is not kept"),
        }
        // Of a pod that has nothing to read all is fresh with its leases.
        if self.write(&Answers::new()) == Written::All && self.delivery.keys().is_empty() {
            self.metrics.fresh(SystemTime::now());
        }
        true
    }

    async fn remember(&mut self, subscription: SubscriptionId) {
        self.delivery.subscription = Some(subscription);
        self.keep_state().await;
    }

    /// Ends what listens, so that nothing subscribes again, and gives back what is held.
    async fn stop(mut self, mut heard: Receiver<Heard>) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
        while let Ok(heard) = heard.try_recv() {
            if let Heard::Subscribed(id) = heard {
                self.delivery.subscription = Some(id);
            }
        }
        let delay = self.delivery.config.upkeep.revoke_delay;
        stop(self.delivery, self.replaced, delay).await;
    }

    async fn keep_state(&self) {
        if let Err(error) = self.delivery.save().await {
            tracing::error!(%error, "state not kept");
        }
    }
}

/// Gives back what ScaiVault holds for this pod, inside the pod's grace period: leases after `delay`.
async fn stop(mut delivery: Delivery, replaced: Vec<HeldLease>, delay: Duration) {
    let has_leases = !delivery.leases.0.is_empty() || !replaced.is_empty();
    if has_leases && !delay.is_zero() {
        tracing::info!(delay_seconds = delay.as_secs(), "leaving the application its leases for a while");
        tokio::time::sleep(delay).await;
    }
    let (client, subscription) = (Arc::clone(&delivery.client), delivery.subscription.take());
    let unsubscribe = async {
        if let Some(subscription) = subscription
            && let Err(error) = client.unsubscribe(&subscription).await
        {
            tracing::warn!(%error, %subscription, "subscription not deleted");
        }
    };
    // At once: a subscription costs little, and must not take the time of the leases.
    let both = async { tokio::join!(delivery.revoke_all(replaced), unsubscribe) };
    if tokio::time::timeout(REVOKE_TIMEOUT, both).await.is_err() {
        tracing::warn!("not all leases were revoked in time, they end by themselves");
    }
    tracing::info!("stopped");
}

/// What came of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// Every file is as it should be.
    All,
    /// Some files were left out: they could not be read or composed.
    Some,
    /// A volume could not be written.
    NotEverywhere,
}

/// The answers that never change: good ones of pinned versions.
fn pinned(answers: Answers) -> Answers {
    answers.into_iter().filter(|(key, answer)| key.version.is_some() && answer.is_ok()).collect()
}
