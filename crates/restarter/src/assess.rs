//! Assesses a single workload: the versions that its pods do not have, and what a restart would wait for.

use crate::{
    ledger::{
        AcceptedVersion, Doubt, Failure, Ledger, NextLedger, Outcome, PendingRestart, Phase, Queue,
        RolloutRecord, Start, Trial, Wait,
    },
    settings::{LEAST_DEBOUNCE, Settings},
    source::{SourceId, SourceKind, Sources, Version},
    window::{self, Opening},
    workload::{Agreement, Delivery, Mode, Pod, Progress, Workload},
};

/// The assessment of a workload, independent of other workloads.
#[derive(Debug)]
pub(crate) struct Assessment<'a> {
    /// The state if the workload is not restarted.
    pub(crate) ledger: NextLedger<'a>,
    /// The versions that its pods do not have, sorted by source.
    pub(crate) stale: Vec<(SourceId, Version)>,
    /// Whether its own state allows a restart.
    pub(crate) readiness: Readiness,
    /// Whether the failure of a restart would count against its versions.
    pub(crate) is_healthy: bool,
    /// When to assess it again, Unix seconds.
    pub(crate) wake: Option<i64>,
}

/// Whether the workload's own state allows a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Its pods have all versions.
    NothingToDo,
    /// It must wait.
    Waits(Wait),
    /// It may be restarted when its wave and the limits allow it.
    Ready,
    /// At once, because a user has released it.
    Released,
}

/// Assesses a workload. Returns `None` for one without state that has no secrets, or whose mode is `off`.
pub(crate) fn assess<'a>(
    workload: &'a Workload,
    sources: &Sources,
    settings: &Settings,
    now: i64,
) -> Option<Assessment<'a>> {
    let has_secrets = !workload.deliveries.is_empty() || workload.not_followed.count > 0;
    let is_covered = has_secrets && workload.mode != Mode::Off;
    if workload.ledger.is_none() && !is_covered {
        return None;
    }
    let mut assessor = Assessor {
        workload,
        sources,
        settings,
        now,
        ledger: workload.ledger.clone().unwrap_or_default(),
        is_agreed: false,
        wake: None,
    };
    assessor.clamp_times();
    assessor.adopt();
    assessor.follow();
    let stale = assessor.stale();
    let was_released = assessor.release(!stale.is_empty());
    assessor.update_pending(&stale);
    let readiness = assessor.readiness(&stale, was_released);
    assessor.ledger.trim(|source| workload.deliveries.iter().any(|delivery| delivery.source == source));
    assessor.ledger.phase = assessor.phase(&readiness);
    let is_healthy = assessor.is_healthy();
    let ledger = match &workload.ledger {
        Some(known) if *known == assessor.ledger => NextLedger::Unchanged(known),
        _ => NextLedger::Changed(Box::new(assessor.ledger)),
    };
    Some(Assessment { ledger, stale, readiness, is_healthy, wake: assessor.wake })
}

/// The current version of a delivered secret.
pub(crate) fn current(delivery: &Delivery, sources: &Sources) -> Option<Version> {
    match delivery.agreement {
        Agreement::NotAsked => sources.observed(delivery.source).current,
        Agreement::Agreed(version) => Some(version),
        Agreement::Disagreeing(_) => None,
    }
}

struct Assessor<'a> {
    workload: &'a Workload,
    sources: &'a Sources,
    settings: &'a Settings,
    now: i64,
    ledger: Ledger,
    /// Whether the pods agree on one of the versions that they do not have.
    is_agreed: bool,
    wake: Option<i64>,
}

impl Assessor<'_> {
    /// Limits times in the future, which a leader with a wrong clock has written, to now.
    fn clamp_times(&mut self) {
        let now = self.now;
        if let Some(pending) = &mut self.ledger.pending {
            pending.since = pending.since.min(now);
        }
        for restart in &mut self.ledger.restarts {
            *restart = (*restart).min(now);
        }
        if let Some(rollout) = &mut self.ledger.rollout {
            rollout.since = rollout.since.min(now);
            rollout.progressed = rollout.progressed.min(now);
            if let Outcome::Succeeded { at } = &mut rollout.outcome {
                *at = (*at).min(now);
            }
        }
        let counted_from = now - self.settings.breaker_period.max(self.settings.minimum_interval);
        self.ledger.restarts.retain(|restart| *restart > counted_from);
    }

    /// Adds a restart that is missing in the ledger, because the controller ended before it was written, or
    /// because another leader did it. The owner of a workload can also write a marker, so a failure only
    /// counts if the versions were pending and the workload was healthy, and only in the namespace. Labels of
    /// a driver have no order, so one that was not pending is an old one.
    fn adopt(&mut self) {
        let Some(marker) = &self.workload.marker else { return };
        let pending = self.ledger.pending.as_ref();
        let has_waited =
            |entry: &(SourceId, Version)| pending.is_some_and(|pending| is_among(entry, &pending.versions));
        let is_unknown = |entry: &&(SourceId, Version)| {
            let Some(AcceptedVersion { version: known, .. }) = self.ledger.accepted(entry.0) else {
                return false;
            };
            // With clocks that differ, each of two versions may be newer than the other. The accepted one came later.
            let is_clear = matches!(entry.1, Version::Numbered { .. }) && !known.is_newer_than(entry.1);
            entry.1.is_newer_than(known) && (has_waited(entry) || is_clear)
        };
        let adopted: Vec<_> = marker.versions.iter().filter(is_unknown).copied().collect();
        if adopted.is_empty() {
            return;
        }
        let was_healthy = pending.is_some_and(|pending| pending.was_healthy)
            && adopted.iter().all(has_waited)
            && !self.ledger.has_failed();
        self.ledger.begin(RolloutRecord::new(self.now, Start::Adopted, was_healthy), self.settings);
        for (source, version) in adopted {
            self.ledger.accept(AcceptedVersion { source, version, trial: Trial::Running });
        }
    }

    /// Updates the outcome of the last restart.
    fn follow(&mut self) {
        let Some(rollout) = self.ledger.rollout else { return };
        let is_observed = match rollout.outcome {
            Outcome::Running | Outcome::Failed(_) => true,
            Outcome::Succeeded { at } => {
                self.now < self.add_wake(at + self.settings.observation) || self.ledger.has_failed()
            }
        };
        if !is_observed {
            return;
        }
        let crash = self.last_crash(rollout);
        let has_failing_pod = self.workload.pods.iter().any(|pod| pod.is_failing && self.is_restarted(pod));
        let is_failing = has_failing_pod
            || crash.is_some_and(|crash| self.now < self.add_wake(crash + self.settings.observation));
        let well_since = self.well_since(rollout, crash).filter(|_| !has_failing_pod);
        let observation = self.settings.observation;
        let is_over = well_since.is_some_and(|since| self.now >= self.add_wake(since + observation));
        let has_recovered = is_over && self.workload.progress == Progress::Complete;
        let outcome = match (self.workload.progress, rollout.outcome) {
            _ if is_failing => Outcome::Failed(Failure::PodsFailing),
            (_, Outcome::Succeeded { at }) => Outcome::Succeeded { at },
            (Progress::Complete, Outcome::Running) => Outcome::Succeeded { at: self.now },
            (Progress::Complete, Outcome::Failed(_)) if has_recovered => Outcome::Succeeded { at: self.now },
            (Progress::DeadlineExceeded, _) => Outcome::Failed(Failure::DeadlineExceeded),
            (_, Outcome::Running) if self.is_progressing() => Outcome::Running,
            (_, Outcome::Running) if self.workload.is_paused => Outcome::Failed(Failure::Paused),
            (_, Outcome::Running) => Outcome::Failed(Failure::TimedOut),
            (_, failed) => failed,
        };
        if let Outcome::Succeeded { at } = outcome {
            self.add_wake(at + observation);
        }
        let well_since = well_since.filter(|_| !has_recovered);
        let Some(rollout) = &mut self.ledger.rollout else { return };
        (rollout.outcome, rollout.well_since) = (outcome, well_since);
        let rollout = *rollout;
        self.ledger.judge(rollout, self.outcome_counts(rollout));
        if has_recovered {
            self.ledger.recover();
        }
    }

    /// Since when a failed workload has been well: all pods became available, a restarted one is ready, and
    /// most have been ready since. A workload without pods is not well.
    fn well_since(&self, rollout: RolloutRecord, crash: Option<i64>) -> Option<i64> {
        let has_failed = matches!(rollout.outcome, Outcome::Failed(_)) || self.ledger.has_failed();
        // Once it is well, other pods may be starting, as after each change of its scale.
        let is_well = match self.workload.progress {
            Progress::Complete => self.replaced() > 0,
            Progress::DeadlineExceeded => false,
            _ => rollout.well_since.is_some() && self.has_replaced_most(),
        };
        let since = rollout.well_since.unwrap_or(self.now).max(crash.unwrap_or_default());
        (has_failed && is_well).then_some(since)
    }

    /// Whether the outcome of a restart counts for or against its versions. Without pods, they were not
    /// tested. If most pods are ready with them, the secret is not the cause of a failure.
    fn outcome_counts(&self, rollout: RolloutRecord) -> bool {
        match rollout.outcome {
            Outcome::Running | Outcome::Failed(Failure::Paused) => false,
            Outcome::Succeeded { .. } => self.workload.replicas > 0,
            Outcome::Failed(Failure::TimedOut) => rollout.was_healthy && !self.has_replaced_most(),
            Outcome::Failed(_) => rollout.was_healthy,
        }
    }

    /// Whether the failure of a restart would count against its versions: all pods are available. While pods
    /// are being replaced, missing ones do not make the workload unhealthy.
    fn is_healthy(&self) -> bool {
        let was_healthy = |rollout: RolloutRecord| rollout.outcome == Outcome::Running && rollout.was_healthy;
        (self.workload.is_healthy() || self.ledger.rollout.is_some_and(was_healthy))
            && !self.ledger.has_failed()
    }

    /// When a restarted pod last crashed after all had become available. One that crashes while it starts may still wait for something
    /// else; it has failed if it crashes again and again. A workload that has failed has recovered if no pod crashed for a while.
    fn last_crash(&self, rollout: RolloutRecord) -> Option<i64> {
        let since = match rollout.outcome {
            Outcome::Succeeded { at } => at,
            Outcome::Failed(Failure::PodsFailing) => rollout.since,
            Outcome::Running | Outcome::Failed(_) => return None,
        };
        // A pod that was created later, as by a change of scale, may still be starting.
        let is_judged = |pod: &&Pod| {
            let is_later = matches!(rollout.outcome, Outcome::Succeeded { at } if pod.created > at);
            self.is_restarted(pod) && !is_later
        };
        let restarted = self.workload.pods.iter().filter(is_judged);
        let crashes = restarted.map(|pod| pod.crashed_at.min(self.now)).filter(|crash| *crash >= since);
        crashes.max()
    }

    /// Whether the rollout makes progress: its own controller has not given up, or pods were replaced
    /// recently. Progress is only recorded a few times in each `rollout_timeout`, to limit writes.
    fn is_progressing(&mut self) -> bool {
        let (now, timeout, replaced) = (self.now, self.settings.rollout_timeout, self.replaced());
        let Some(rollout) = &mut self.ledger.rollout else { return false };
        if replaced > rollout.replaced && now >= rollout.progressed + timeout / 4 {
            (rollout.replaced, rollout.progressed) = (replaced, now);
        }
        let ends = rollout.progressed + timeout;
        // Kubernetes does not apply the deadline to a paused rollout.
        let deadline = self
            .workload
            .deadline
            .filter(|_| self.workload.progress == Progress::Progressing && !self.workload.is_paused);
        now < self.add_wake(ends + deadline.map_or(0, i64::from))
    }

    /// The number of ready pods that the last restart created. A pod that runs but is not ready may be
    /// waiting for the secret.
    fn replaced(&self) -> u32 {
        let pods = self.workload.pods.iter();
        let count = pods.filter(|pod| pod.is_ready && !pod.is_failing && self.is_restarted(pod)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Whether at least half of the pods are ready ones that the last restart created.
    fn has_replaced_most(&self) -> bool {
        let replaced = self.replaced();
        replaced > 0 && replaced.saturating_mul(2) >= self.workload.replicas
    }

    /// Whether a pod was created by the last restart: it has the template's marker, or, where pods have none,
    /// it is not older.
    fn is_restarted(&self, pod: &Pod) -> bool {
        match (&self.workload.marker, self.ledger.rollout) {
            (Some(marker), _) if self.workload.are_pods_marked => pod.marker == marker.digest,
            (_, Some(rollout)) => pod.created + self.settings.clock_skew >= rollout.since,
            _ => false,
        }
    }

    /// The versions that the pods do not have. Versions that need no restart are accepted.
    fn stale(&mut self) -> Vec<(SourceId, Version)> {
        let mut stale = Vec::new();
        let is_off = self.workload.mode == Mode::Off;
        for delivery in &self.workload.deliveries {
            self.recall(delivery.source);
            let Some(version) = current(delivery, self.sources) else {
                let brought = self.brought(delivery).filter(|_| !is_off);
                stale.extend(brought.map(|version| (delivery.source, version)));
                continue;
            };
            let accepted = AcceptedVersion { source: delivery.source, version, trial: Trial::None };
            match self.ledger.accepted(delivery.source) {
                None => self.ledger.accept(accepted),
                Some(known) if !version.is_newer_than(known.version) => {}
                Some(_) if is_off => self.ledger.accept(accepted),
                Some(_) if self.workload.pods.iter().any(|pod| self.predates(pod, accepted)) => {
                    self.is_agreed = true;
                    stale.push((delivery.source, version));
                }
                Some(_) if self.has_all_pods() && self.has_settled(delivery.source) => {
                    self.ledger.accept(accepted);
                }
                Some(_) => {}
            }
        }
        stale.sort_unstable();
        stale
    }

    /// Restores a version that is missing in the ledger from the marker, because this controller has marked
    /// the template before.
    fn recall(&mut self, source: SourceId) {
        let marked = self.workload.marker.as_ref().and_then(|marker| marker.version(source));
        if let (None, Some(version)) = (self.ledger.accepted(source), marked) {
            self.ledger.accept(AcceptedVersion { source, version, trial: Trial::None });
        }
    }

    /// A version that the driver has written for some of the pods but not for others.
    fn brought(&self, delivery: &Delivery) -> Option<Version> {
        let Agreement::Disagreeing(Some((one, other))) = delivery.agreement else { return None };
        let known = self.ledger.accepted(delivery.source)?;
        [one, other].into_iter().find(|version| version.is_newer_than(known.version))
    }

    /// Whether a pod was, or may have been, created before a version: an unneeded restart is better than
    /// none. The times of pods and native Secrets come from one clock, in whole seconds.
    fn predates(&self, pod: &Pod, accepted: AcceptedVersion) -> bool {
        let is_native = self.sources.name(accepted.source).kind == SourceKind::Secret;
        match accepted.version {
            Version::Numbered { time, .. } if is_native => {
                pod.created < time || pod.created == time && !self.is_known_to_be_newer(pod, accepted)
            }
            Version::Numbered { time, .. } => pod.created <= time.saturating_add(self.settings.clock_skew),
            Version::Label(_) => pod.has_changed_files,
        }
    }

    /// Times are in whole seconds, and Helm writes a Secret and what makes new pods within one. Then the order of writes decides.
    fn is_known_to_be_newer(&self, pod: &Pod, accepted: AcceptedVersion) -> bool {
        let observed = self.sources.observed(accepted.source);
        observed.current == Some(accepted.version)
            && observed.revision > 0
            && pod.revision > observed.revision
    }

    /// Whether every pod of the workload is in the cache, and none is about to be created.
    fn has_all_pods(&self) -> bool {
        let is_known = self.workload.pods.len() >= self.workload.replicas as usize;
        is_known && self.workload.progress == Progress::Complete
    }

    fn has_settled(&mut self, source: SourceId) -> bool {
        let seen_at = self.sources.observed(source).seen_at;
        self.now >= self.add_wake(seen_at + self.settings.debounce.max(LEAST_DEBOUNCE))
    }

    /// Whether a user has released the pending restart. A release without a pending restart is used up, and
    /// so is one that exists when the workload is first seen.
    fn release(&mut self, is_stale: bool) -> bool {
        let release = &self.workload.release;
        if release.is_empty() || *release == self.ledger.released {
            return false;
        }
        if self.workload.ledger.is_none() || !is_stale {
            self.ledger.released.clone_from(release);
            return false;
        }
        true
    }

    /// Updates the pending restart. `manual` applies until the next version, even if the mode has changed
    /// since.
    fn update_pending(&mut self, stale: &[(SourceId, Version)]) {
        if stale.is_empty() {
            self.ledger.pending = None;
            return;
        }
        let mode_is_manual = self.workload.mode == Mode::Manual;
        let was_healthy = self.is_healthy();
        let pending = self.ledger.pending.get_or_insert_with(|| PendingRestart {
            since: self.now,
            is_manual: mode_is_manual,
            was_healthy,
            versions: Vec::new(),
        });
        let is_new = stale.iter().any(|entry| !is_among(entry, &pending.versions));
        if is_new && !pending.versions.is_empty() && pending.is_manual {
            pending.since = self.now;
        }
        if is_new {
            (pending.is_manual, pending.was_healthy) = (mode_is_manual, was_healthy);
        }
        pending.versions = stale.to_vec();
    }

    /// What a restart of the workload waits for because of its own state. The order is that of
    /// docs/restart.md.
    fn readiness(&mut self, stale: &[(SourceId, Version)], was_released: bool) -> Readiness {
        let workload = self.workload;
        let Some(pending) = self.ledger.pending.clone() else { return Readiness::NothingToDo };
        if workload.is_paused {
            return Readiness::Waits(Wait::Paused);
        }
        if workload.is_on_delete {
            return Readiness::Waits(Wait::OnDelete);
        }
        if workload.is_partitioned {
            return Readiness::Waits(Wait::Partition);
        }
        if let Some(refusal) = &workload.refusal
            && self.now < self.add_wake(refusal.until)
        {
            return Readiness::Waits(Wait::Refused(refusal.message.clone()));
        }
        if was_released {
            return Readiness::Released;
        }
        if !workload.problem.is_empty() {
            return Readiness::Waits(Wait::Invalid(workload.problem.clone()));
        }
        if pending.is_manual || workload.mode == Mode::Manual {
            return Readiness::Waits(Wait::Release);
        }
        if !self.is_agreed {
            return Readiness::Waits(self.agreement());
        }
        let starts = self.starts_at(stale, pending.since);
        if self.now < self.add_wake(starts) {
            return Readiness::Waits(Wait::Settling);
        }
        if self.is_rolling_out(pending.since) {
            return Readiness::Waits(Wait::Rollout);
        }
        match self.own_limit().or_else(|| self.closed_window(stale)) {
            Some(wait) => Readiness::Waits(wait),
            None => Readiness::Ready,
        }
    }

    /// Whether pods are being replaced anyway, because the new ones may have the current versions. A rollout
    /// that does not end, or has failed, is ignored.
    fn is_rolling_out(&mut self, since: i64) -> bool {
        let has_failed =
            matches!(self.ledger.rollout, Some(RolloutRecord { outcome: Outcome::Failed(_), .. }));
        let is_rolling_out = self.workload.progress == Progress::Progressing || self.ledger.is_restarting();
        is_rolling_out && !has_failed && self.now < self.add_wake(since + self.settings.rollout_timeout)
    }

    /// The earliest start: after the debounce and the workload's share of the jitter.
    fn starts_at(&self, stale: &[(SourceId, Version)], since: i64) -> i64 {
        let seen = stale.iter().map(|(source, _)| self.sources.observed(*source).seen_at).max();
        let debounce = self.settings.debounce.max(LEAST_DEBOUNCE);
        let settled = seen.map_or(since, |seen| seen.max(since)).saturating_add(debounce);
        let latest = since.saturating_add(self.settings.max_wait.max(debounce));
        let jitter = match self.settings.jitter.unsigned_abs() {
            0 => 0,
            _ if self.workload.is_canary => 0,
            jitter => (mix(self.workload.uid) % jitter).cast_signed(),
        };
        settled.min(latest).saturating_add(jitter)
    }

    /// The limits of a single workload.
    fn own_limit(&mut self) -> Option<Wait> {
        let Settings { minimum_interval, breaker_restarts, breaker_period, .. } = *self.settings;
        let last = self.ledger.restarts.last().copied();
        if let Some(until) = last.map(|last| last + minimum_interval).filter(|until| self.now < *until) {
            self.add_wake(until);
            return Some(Wait::Interval { until });
        }
        let restarts = &self.ledger.restarts;
        let oldest = restarts.len().checked_sub(breaker_restarts.max(1)).map(|index| restarts[index]);
        let until = oldest.map(|oldest| oldest + breaker_period).filter(|until| self.now < *until)?;
        self.add_wake(until);
        Some(Wait::Breaker { until })
    }

    /// The next window, unless the old version stops working before it.
    fn closed_window(&mut self, stale: &[(SourceId, Version)]) -> Option<Wait> {
        let ends = stale.iter().filter_map(|(source, _)| self.sources.observed(*source).old_ends).min();
        if let Some(ends) = ends
            && self.now >= self.add_wake(ends.saturating_sub(self.settings.before_end))
        {
            return None;
        }
        let windows = self.workload.windows.as_deref().unwrap_or(&self.settings.windows);
        let asked = window::digest_of(windows);
        let opens = match self.ledger.phase {
            // The result is kept, because a search may walk over years.
            Phase::Waiting(Wait::Window { opens: Some(opens), asked: before })
                if before == asked && self.now < opens =>
            {
                Some(opens)
            }
            _ => match window::opening(windows, self.now) {
                Opening::Open => return None,
                Opening::Closed { opens } => opens,
            },
        };
        if let Some(opens) = opens {
            self.add_wake(opens);
        }
        Some(Wait::Window { opens, asked })
    }

    fn phase(&self, readiness: &Readiness) -> Phase {
        let outcome = self.ledger.rollout.map(|rollout| rollout.outcome);
        match (readiness, outcome) {
            (_, Some(Outcome::Running)) => Phase::Restarting,
            (Readiness::Waits(wait), _) => Phase::Waiting(wait.clone()),
            // `decide` replaces this.
            (Readiness::Ready | Readiness::Released, _) => Phase::Waiting(Wait::Turn(Queue::Others)),
            (Readiness::NothingToDo, Some(Outcome::Failed(failure))) => Phase::Failed(failure),
            (Readiness::NothingToDo, _) if self.is_disagreeing() => Phase::Waiting(self.agreement()),
            (Readiness::NothingToDo, _) => self.doubt().map_or(Phase::Current, Phase::Unknown),
        }
    }

    /// Why it is not known whether the pods have the current versions.
    fn doubt(&self) -> Option<Doubt> {
        let Workload { deliveries, not_followed, .. } = self.workload;
        let mut sources = deliveries.iter().map(|delivery| delivery.source);
        let without_version = sources.find(|source| self.sources.is_without_version(*source));
        let too_many = || (not_followed.count > 0).then(|| Doubt::NotFollowed(not_followed.clone()));
        without_version
            .map(Doubt::NoVersion)
            .or_else(too_many)
            .or_else(|| self.assumed().map(Doubt::FirstSight))
    }

    /// A secret whose version was accepted although pods are older than it. Here a difference of clocks does not count: else each
    /// workload that is made soon after its secret would be doubtful.
    fn assumed(&self) -> Option<SourceId> {
        let marked = self.workload.marker.as_ref().map(|marker| marker.digest);
        let unmarked = self.workload.pods.iter().filter(|pod| Some(pod.marker) != marked);
        let oldest = unmarked.map(|pod| pod.created).min()?;
        let mut sources = self.workload.deliveries.iter().map(|delivery| delivery.source);
        sources.find(|source| match self.ledger.accepted(*source) {
            Some(AcceptedVersion { version: Version::Numbered { time, .. }, trial: Trial::None, .. }) => {
                oldest < time
            }
            _ => false,
        })
    }

    fn is_disagreeing(&self) -> bool {
        let mut deliveries = self.workload.deliveries.iter();
        deliveries.any(|delivery| matches!(delivery.agreement, Agreement::Disagreeing(_)))
    }

    fn agreement(&self) -> Wait {
        Wait::Agreement { pod: self.workload.awaited_pod.clone() }
    }

    /// Schedules another assessment at `time`, if that is in the future; returns `time`.
    fn add_wake(&mut self, time: i64) -> i64 {
        if time > self.now {
            self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
        }
        time
    }
}

/// Whether a version of a source is one of these.
fn is_among(entry: &(SourceId, Version), versions: &[(SourceId, Version)]) -> bool {
    versions.iter().any(|known| known.0 == entry.0 && known.1.is_same(entry.1))
}

/// The finaliser of `SplitMix64`: spreads digests whose inputs differ in one letter.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
