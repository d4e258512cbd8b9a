//! `sidecar`: fetches, then keeps fresh until the pod ends.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use scaivault_client::SubscriptionId;
use tokio::{
    signal::unix::Signal,
    sync::mpsc::{self, Receiver},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::{
    chance,
    config::Config,
    delivery::{Delivery, Requests},
    exit::{Ending, end_signal, refresh_signal},
    fetch::Answers,
    first::{Earlier, First, first},
    listen::{self, Changes, Heard},
    metrics::{self, Metrics},
    schedule::Attempts,
};

mod lease_pauses;
mod leases;
mod pace;
mod reads;
mod refresh;
mod reload;
mod stop;

use lease_pauses::LeasePauses;
use leases::Renewed;
use pace::Pace;
use reads::Reads;
use reload::Notifier;
use stop::stop;

/// The first and the longest pause after a try that failed: of writing, or of a signal, whose process may be starting.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));
/// How long one try of a request may take: the client's own limit, with a login before it.
const TRY_TIMEOUT: Duration = Duration::from_secs(30);

/// Fetches, then keeps fresh until SIGTERM.
pub(crate) async fn run(config: Config) -> Result<(), Ending> {
    let (mut end, mut refresh) = (end_signal()?, refresh_signal()?);
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
            ending.leave();
            // What an application uses that runs already stays for the next start.
            match earlier {
                Earlier::Everything => delivery.revoke_late().await,
                Earlier::Nothing => delivery.revoke_all().await,
            }
            return Err(ending);
        }
        // The pod ends: there is no next start that would take up what is kept.
        None => {
            let ending = Ending::stopped();
            ending.leave();
            // An application that does not run yet needs no time.
            let delay = match earlier {
                Earlier::Everything => delivery.config.upkeep.revoke_delay,
                Earlier::Nothing => Duration::ZERO,
            };
            stop(delivery, None, delay).await;
            return Err(ending);
        }
    };
    let (mut sidecar, mut heard) = Sidecar::new(delivery, first, earlier, metrics);
    tokio::select! {
        () = sidecar.keep_fresh(&mut heard, &mut refresh) => {}
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
    renewing: Requests<Renewed>,
    lease_pauses: LeasePauses,
    notifier: Notifier,
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
                answers.keys().map(|key| key.path.clone()).collect(),
                delivery.subscription.clone(),
                chance::seed(SystemTime::now()),
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
            lease_pauses: LeasePauses::default(),
            notifier: Notifier::new(delivery.config.upkeep.reload.clone()),
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
        let is_running = earlier == Earlier::Everything;
        if is_running {
            sidecar.note_changes(&changed);
        }
        sidecar.begin_notifying(is_running);
        (sidecar, heard)
    }

    /// Never returns.
    async fn keep_fresh(&mut self, heard: &mut Receiver<Heard>, refresh: &mut Signal) {
        loop {
            self.show();
            let wake = self.wake(Instant::now(), SystemTime::now());
            tokio::select! {
                Some(heard) = heard.recv() => self.hear(heard).await,
                Some((dynamic, answered)) = self.renewing.next() => self.renewed(&dynamic, answered).await,
                Some((dynamic, answered)) = self.delivery.generating.next() => {
                    self.generated(dynamic, answered).await;
                }
                done = self.notifier.finished() => self.notified(done),
                Some(()) = refresh.recv() => {
                    tracing::info!("refreshing at SIGHUP");
                    self.reads.ask(&Changes::Any, Instant::now());
                }
                () = sleep_until(wake) => self.do_what_is_due().await,
            }
        }
    }

    /// When something is due.
    fn wake(&self, now: Instant, time: SystemTime) -> Instant {
        let attempts = self.writing.due().into_iter().chain(self.notifier.due());
        attempts.chain(self.leases_due(now, time)).fold(self.reads.due(), Instant::min)
    }

    /// Makes one try of each thing that is due. Leases come first: they end, and the rest only grows older.
    async fn do_what_is_due(&mut self) {
        self.keep_leases();
        if self.writing.is_due(Instant::now()) {
            self.write(&Answers::new());
        }
        if let Some(round) = self.reads.start(Instant::now(), chance::any()) {
            self.refresh(round).await;
        }
        self.notifier.start();
    }

    /// Shows the state of now in the metrics.
    fn show(&self) {
        self.metrics.set_leases(self.delivery.leases.iter().map(|(dynamic, lease)| (dynamic, lease.ends)));
        self.metrics.set_reload_owed(self.notifier.is_owed());
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
