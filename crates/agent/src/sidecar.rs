//! `sidecar`: fetches, then keeps fresh until the pod ends.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use scaivault_client::{Backoff, SubscriptionId};
use scaivault_contract::DynamicRef;
use tokio::{
    sync::mpsc::{self, Receiver},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::{
    chance,
    config::Config,
    delivery::{Delivery, Requests, Wait},
    ending::{Ending, end_signal},
    fetch::Answers,
    first::{Earlier, First, first},
    listen::{self, Beginning, Changes, Heard},
    metrics::{self, Metrics},
    schedule::Attempts,
};

mod leases;
mod pace;
mod reads;
mod refresh;
mod reload;
mod stop;

use leases::Renewed;
use pace::Pace;
use reads::Reads;
use stop::stop_start;

/// The first and the longest pause after a try that failed: of writing, or of a signal, whose process may be starting.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));
/// How long one try of a request may take: the client's own limit, with a login before it.
const TRY_TIMEOUT: Duration = Duration::from_secs(30);

/// Fetches, then keeps fresh until SIGTERM.
pub(crate) async fn run(config: Config) -> Result<(), Ending> {
    let mut end = end_signal()?;
    let metrics = Arc::new(Metrics::default());
    if let Some(address) = config.upkeep.metrics_listen {
        tokio::spawn(metrics::serve(metrics::bind(address).await?, Arc::clone(&metrics)));
    }
    let mut delivery = Delivery::new(config).await?;
    let earlier = if delivery.was_started() { Earlier::Everything } else { Earlier::Nothing };
    let first = tokio::select! {
        first = first(&mut delivery, earlier) => Some(first),
        _ = end.recv() => None,
    };
    let first = match first {
        Some(Ok(first)) => first,
        Some(Err(ending)) => {
            // What an application uses that runs already stays for the next start.
            let wait = Wait::UnlessStopped(&mut end);
            match earlier {
                Earlier::Everything => delivery.revoke_due(wait).await,
                Earlier::Nothing => delivery.revoke_all(wait).await,
            }
            return Err(ending);
        }
        // The pod ends: there is no next start that would take up what is kept.
        None => {
            stop_start(delivery).await;
            return Err(Ending::stopped());
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
    reads: Reads,
    /// Writing the credentials of leases, which are not read again.
    writing: Attempts,
    /// Leases that are being renewed.
    renewing: Requests<DynamicRef, Renewed>,
    /// Renewals and generations that failed.
    lease_failures: BTreeMap<DynamicRef, Backoff>,
    reload: Attempts,
    /// What listens to events.
    listener: Option<JoinHandle<Option<SubscriptionId>>>,
    metrics: Arc<Metrics>,
}

impl Sidecar {
    fn new(
        delivery: Delivery,
        first: First,
        earlier: Earlier,
        metrics: Arc<Metrics>,
    ) -> (Self, Receiver<Heard>) {
        let First { answers, changed, is_complete, is_written } = first;
        let (sender, heard) = mpsc::channel(1);
        let upkeep = &delivery.config.upkeep;
        let listener = upkeep.on_event.then(|| {
            tokio::spawn(listen::listen(
                Arc::clone(&delivery.client),
                Beginning {
                    name: upkeep.subscription_name(),
                    paths: answers.keys().map(|key| key.path.clone()).collect(),
                    kept: delivery.subscription.clone(),
                    may_have_left: upkeep.pod.is_some() && earlier == Earlier::Everything,
                },
                sender,
            ))
        });
        let pace = Pace::new(upkeep.refresh_interval, upkeep.on_event);
        let chances = [chance::any(), chance::any()];
        let variables = delivery.variables();
        let mut sidecar = Self {
            reads: Reads::new(variables, &answers, pace, Instant::now(), chances),
            writing: Attempts::new(TRY_AGAIN.0, TRY_AGAIN.1),
            renewing: Requests::new(),
            lease_failures: BTreeMap::new(),
            reload: Attempts::new(TRY_AGAIN.0, TRY_AGAIN.1),
            listener,
            metrics,
            delivery,
        };
        if is_complete {
            sidecar.metrics.fresh(SystemTime::now());
        }
        if !is_written {
            sidecar.reads.ask(&Changes::Any, Instant::now());
            sidecar.writing.failed(Instant::now(), chance::any());
        }
        // At the pod's start the application does not run yet, and reads the new files anyhow. One that runs may lack the files
        // of revoked leases, and is to hear of the new ones.
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
                Some(heard) = heard.recv() => self.hear(heard).await,
                Some((dynamic, answered)) = self.renewing.next() => self.renewed(&dynamic, answered).await,
                Some((dynamic, answered)) = self.delivery.generating.next() => {
                    self.generated(dynamic, answered).await;
                }
                Some((lease, answered)) = self.delivery.revoking.next() => self.revoked(&lease, answered).await,
                () = sleep_until(wake) => self.do_what_is_due().await,
            }
        }
    }

    /// When something is due.
    fn wake(&self, now: Instant, time: SystemTime) -> Instant {
        let attempts = [&self.writing, &self.reload].into_iter().filter_map(Attempts::due);
        attempts.chain(self.leases_due(now, time)).fold(self.reads.due(), Instant::min)
    }

    /// Makes one try of each thing that is due. Leases come first: they end, and the rest only grows older.
    async fn do_what_is_due(&mut self) {
        self.keep_leases().await;
        if self.writing.is_due(Instant::now()) {
            self.write(&Answers::new());
        }
        if let Some(round) = self.reads.start(Instant::now(), chance::any()) {
            self.refresh(round).await;
        }
        if self.reload.is_due(Instant::now()) {
            self.signal();
        }
    }

    async fn hear(&mut self, heard: Heard) {
        let now = Instant::now();
        match heard {
            Heard::Subscribed(subscription) => {
                self.reads.set_hearing(true, now);
                // What has changed since the last read and before the subscription is told by no event.
                self.reads.ask(&Changes::Any, now);
                self.delivery.subscription = Some(subscription);
                self.keep_state().await;
            }
            Heard::Hearing => self.reads.set_hearing(true, now),
            Heard::Deaf => self.reads.set_hearing(false, now),
            Heard::Changed(changes) => self.reads.ask(&changes, now),
        }
    }

    async fn keep_state(&self) {
        if let Err(error) = self.delivery.save().await {
            tracing::error!(%error, "state not kept");
        }
    }
}
