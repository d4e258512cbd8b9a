//! The leader's loop: decide on the cached state, execute the steps, wait for a change.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Instant as StdInstant, SystemTime},
};

use futures_util::{StreamExt as _, stream};
use scaivault_cluster::unix_seconds;
use scaivault_restarter::{Decision, Settings, Step};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Duration, Instant, sleep, sleep_until},
};

use super::{
    memory::Memory,
    metrics::{Metrics, Workloads},
    writer::{StepResult, UnansweredWrite, Writer},
};
use crate::telemetry::LogThrottle;

/// The shortest time between two decisions.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest time between two decisions, because clocks may be set.
const LONGEST: Duration = Duration::from_mins(5);
/// The maximum number of steps before the next decision. After the installation, every workload has one: with
/// 200, 10,000 workloads take about a minute. All are tried, even if the first ones are not answered, because
/// these may be the workloads of one namespace whose admission webhook hangs.
const BATCH: usize = 200;
/// Concurrent writes.
const WRITES: usize = 8;
/// The pause after the API server could not be reached.
const UNAVAILABLE: Duration = Duration::from_secs(5);
/// How often that is logged.
const REMINDER: Duration = Duration::from_mins(5);

/// Decides and executes.
pub(super) struct Controller {
    memory: Arc<Memory>,
    metrics: Arc<Metrics>,
    settings: Arc<Settings>,
    writer: Writer,
    throttle: LogThrottle<Instant>,
}

impl Controller {
    pub(super) fn new(
        memory: Arc<Memory>,
        metrics: Arc<Metrics>,
        settings: Settings,
        writer: Writer,
    ) -> Self {
        let throttle = LogThrottle::new(REMINDER);
        Self { memory, metrics, settings: Arc::new(settings), writer, throttle }
    }

    /// Never returns. Nothing is written while another replica leads.
    pub(super) async fn run(mut self, mut leads: watch::Receiver<bool>) {
        let mut next = Instant::now();
        loop {
            if !*leads.borrow() {
                if leads.wait_for(|leads| *leads).await.is_err() {
                    return;
                }
                next = Instant::now();
            }
            tokio::select! {
                () = self.memory.changes.notified() => {}
                () = sleep_until(next) => {}
            }
            next = Instant::now() + self.turn(&leads).await;
            sleep(PAUSE).await;
        }
    }

    /// Makes one decision and executes its steps while this replica leads. Returns the time until the next
    /// decision if nothing changes.
    async fn turn(&mut self, leads: &watch::Receiver<bool>) -> Duration {
        let now = unix_seconds(SystemTime::now());
        let (memory, settings) = (Arc::clone(&self.memory), Arc::clone(&self.settings));
        let began = StdInstant::now();
        let decided = spawn_blocking(move || {
            let decision = memory.decide(now, &settings)?;
            let workloads = workloads(&memory, decision.failed_versions);
            Some((decision, workloads))
        });
        let Ok(Some((Decision { steps, wake, .. }, workloads))) = decided.await else { return LONGEST };
        self.metrics.decided(now, began.elapsed(), workloads);
        let wake = wake.map_or(LONGEST, |wake| {
            Duration::from_secs(u64::try_from(wake.saturating_sub(now)).unwrap_or_default()).min(LONGEST)
        });
        if self.settings.is_dry_run {
            self.report(steps);
            return wake;
        }
        let at = Instant::now();
        let mut steps = steps.into_iter().filter(|step| !self.writer.is_held(step, at)).peekable();
        let batch: Vec<_> = steps.by_ref().take(BATCH).collect();
        let has_more = steps.peek().is_some();
        drop(steps);
        if !self.write(batch, leads).await {
            sleep(UNAVAILABLE).await;
            return Duration::ZERO;
        }
        if has_more { Duration::ZERO } else { wake }
    }

    /// Executes steps. Returns whether the API server accepts writes. If it answers only some of them, the
    /// others are postponed one by one, so that they do not delay the rest.
    async fn write(&mut self, batch: Vec<Step>, leads: &watch::Receiver<bool>) -> bool {
        let writer = &self.writer;
        let write = async |step| {
            if *leads.borrow() { writer.execute(step).await } else { Ok(StepResult::Skipped) }
        };
        let written: Vec<_> = stream::iter(batch).map(write).buffer_unordered(WRITES).collect().await;
        let is_answered = written.iter().any(|written| matches!(written, Ok(StepResult::Answered)));
        let unanswered: Vec<_> = written.into_iter().filter_map(Result::err).collect();
        if let (false, Some(UnansweredWrite { workload, message, .. })) = (is_answered, unanswered.first()) {
            if self.throttle.is_due(Instant::now()) {
                tracing::warn!(%workload, error = message, "the API server accepts no writes, retrying");
            }
            return false;
        }
        if is_answered && self.throttle.reset() {
            tracing::info!("the API server accepts writes again");
        }
        for unanswered in &unanswered {
            writer.postpone(unanswered);
        }
        true
    }

    /// In a dry run, logs the steps and stores the ledgers in memory.
    fn report(&self, steps: Vec<Step>) {
        for step in steps {
            let (Step::Restart { workload, ledger, .. } | Step::Record { workload, ledger, .. }) = step;
            let known = self.memory.lock().record(&workload).cloned().unwrap_or_default();
            let (phase, reason) = (ledger.phase.word(), ledger.phase.reason());
            if (phase, reason) != (&*known.shown.0, &*known.shown.1) {
                let message = {
                    let mut state = self.memory.lock();
                    ledger.phase.message(&ledger, &state.catalog.world().sources)
                };
                tracing::info!(%workload, phase, reason, message, "dry run");
            }
            self.memory.change(|state| state.put_ledger(&workload, *ledger));
        }
    }
}

/// The number of workloads by their recorded phase and reason.
fn workloads(memory: &Memory, failed_versions: usize) -> Workloads {
    let mut state = memory.lock();
    let mut by_phase: BTreeMap<_, usize> = BTreeMap::new();
    let mut oldest_pending: BTreeMap<_, i64> = BTreeMap::new();
    for workload in state.catalog.world().workloads.values() {
        let Some(ledger) = &workload.ledger else { continue };
        *by_phase.entry((ledger.phase.word(), ledger.phase.reason())).or_default() += 1;
        if let Some(pending) = &ledger.pending {
            let oldest = oldest_pending.entry(ledger.phase.waits_for()).or_insert(pending.since);
            *oldest = pending.since.min(*oldest);
        }
    }
    Workloads { by_phase, oldest_pending, failed_versions }
}

#[cfg(test)]
mod batch_tests;
#[cfg(test)]
mod tests;
