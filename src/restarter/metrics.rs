//! The metrics, in the text format of Prometheus.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use scaivault_restarter::Phase;

use super::memory::Memory;
use crate::telemetry;

/// The prefix of every name.
const PREFIX: &str = "scaivault_restarter_";

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Write {
    /// The API server accepted it.
    Done,
    /// The object had changed; the next decision uses the changed object.
    Conflict,
    /// The API server refused it.
    Refused,
    /// The API server could not be reached or was overloaded.
    Unavailable,
}

impl Write {
    const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The counters of this process.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    restarts: Counts<(&'static str, Write)>,
    records: Counts<Write>,
    rollouts: Counts<&'static str>,
    events: Counts<&'static str>,
    /// Failing lists and watches, and since when they fail.
    watches_down: Mutex<BTreeMap<&'static str, i64>>,
    is_leader: AtomicBool,
    decisions: AtomicU64,
    /// When the last decision was made, Unix seconds.
    decided_at: AtomicI64,
    decision_microseconds: AtomicU64,
    /// The result of the last decision.
    workloads: Mutex<Workloads>,
    vault: VaultCounts,
}

/// The numbers of the last decision.
#[derive(Clone, Debug, Default)]
pub(super) struct Workloads {
    pub(super) by_phase: BTreeMap<(&'static str, &'static str), usize>,
    /// When the oldest restart became pending, Unix seconds, by `waits_for`.
    pub(super) oldest_pending: BTreeMap<&'static str, i64>,
    /// The number of failed versions, counted in each namespace.
    pub(super) failed_versions: usize,
}

/// Counters of requests to ScaiVault.
#[derive(Debug, Default)]
pub(super) struct VaultCounts {
    calls: Counts<&'static str>,
    is_connected: AtomicBool,
    secrets: AtomicU64,
    failing: AtomicU64,
    /// When all versions were last read, Unix seconds.
    complete_at: AtomicI64,
}

#[derive(Debug)]
struct Counts<K>(Mutex<BTreeMap<K, u64>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord + Copy> Counts<K> {
    fn add(&self, key: K) {
        *lock(&self.0).entry(key).or_default() += 1;
    }
}

/// Locks a mutex, also one that a panic has poisoned.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    /// Counts a patch of a workload's template.
    pub(super) fn restarted(&self, kind: &'static str, write: Write) {
        self.restarts.add((kind, write));
    }

    /// Counts a write of a `RotationRollout`.
    pub(super) fn recorded(&self, write: Write) {
        self.records.add(write);
    }

    /// Counts a change of the outcome of a rollout.
    pub(super) fn rollout_changed(&self, outcome: &'static str) {
        self.rollouts.add(outcome);
    }

    /// Counts an Event of Kubernetes.
    pub(super) fn event(&self, result: &'static str) {
        self.events.add(result);
    }

    pub(super) fn watch_down_since(&self, resource: &'static str, since: Option<i64>) {
        let mut down = lock(&self.watches_down);
        match since {
            Some(since) => drop(down.insert(resource, since)),
            None => drop(down.remove(resource)),
        }
    }

    pub(super) fn leads(&self, is_leader: bool) {
        self.is_leader.store(is_leader, Ordering::Relaxed);
    }

    pub(super) fn decided(&self, at: i64, took: Duration, workloads: Workloads) {
        self.decided_at.store(at, Ordering::Relaxed);
        self.decisions.fetch_add(1, Ordering::Relaxed);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.decision_microseconds.fetch_add(microseconds, Ordering::Relaxed);
        *lock(&self.workloads) = workloads;
    }

    /// Counts a request for versions.
    pub(super) fn vault_called(&self, result: &'static str) {
        self.vault.calls.add(result);
    }

    pub(super) fn vault_connected(&self, is_connected: bool) {
        self.vault.is_connected.store(is_connected, Ordering::Relaxed);
    }

    /// Sets the number of followed secrets and of those without a version.
    pub(super) fn vault_secrets(&self, secrets: usize, failing: usize) {
        self.vault.secrets.store(secrets as u64, Ordering::Relaxed);
        self.vault.failing.store(failing as u64, Ordering::Relaxed);
    }

    pub(super) fn vault_complete(&self, at: i64) {
        self.vault.complete_at.store(at, Ordering::Relaxed);
    }

    /// All metrics.
    pub(super) fn text(&self, memory: &Memory) -> String {
        let mut page = Page(String::new());
        // Writing to a String cannot fail.
        let _ = self.write(&mut page, memory).and_then(|()| self.write_vault(&mut page));
        page.0
    }

    fn write(&self, page: &mut Page, memory: &Memory) -> fmt::Result {
        page.head("restarts_total", "counter", "Patches that restart a workload, by kind and result.")?;
        for ((kind, write), count) in &*lock(&self.restarts.0) {
            page.value("restarts_total", &[("kind", kind), ("result", write.word())], *count)?;
        }
        page.head("record_writes_total", "counter", "Writes of RotationRollouts, by result.")?;
        for (write, count) in &*lock(&self.records.0) {
            page.value("record_writes_total", &[("result", write.word())], *count)?;
        }
        page.head("rollouts_total", "counter", "Outcomes of rollouts of restarts.")?;
        for (outcome, count) in &*lock(&self.rollouts.0) {
            page.value("rollouts_total", &[("outcome", outcome)], *count)?;
        }
        page.head("events_total", "counter", "Events of Kubernetes, by result.")?;
        for (result, count) in &*lock(&self.events.0) {
            page.value("events_total", &[("result", result)], *count)?;
        }
        let Workloads { by_phase, oldest_pending, failed_versions } = lock(&self.workloads).clone();
        page.head(
            "workloads",
            "gauge",
            "Workloads that deliver secrets, by phase and reason; only the leader reports them.",
        )?;
        for ((phase, reason), count) in by_phase {
            page.value("workloads", &[("phase", phase), ("reason", reason)], count)?;
        }
        let help =
            "Unix time since which the oldest restart has been pending, by what it waits for; 0 if none is.";
        page.head("oldest_pending_timestamp_seconds", "gauge", help)?;
        for waits_for in Phase::WAITS_FOR {
            let since = oldest_pending.get(waits_for).copied().unwrap_or_default();
            page.value("oldest_pending_timestamp_seconds", &[("waits_for", waits_for)], since)?;
        }
        let help = "Versions of secrets that failed and whose other restarts have stopped, counted in each namespace.";
        page.single("failed_versions", "gauge", help, failed_versions)?;
        let is_leader = u8::from(self.is_leader.load(Ordering::Relaxed));
        page.single("leader", "gauge", "Whether this replica restarts workloads.", is_leader)?;
        let is_ready = u8::from(memory.is_waiting_for().is_none());
        page.single("ready", "gauge", "Whether all initial lists were read.", is_ready)?;
        let reloaders = memory.lock().reloaders();
        page.single("reloaders", "gauge", "Deployments of Stakater's Reloader in the cluster.", reloaders)?;
        let not_followed = memory.lock().catalog.not_followed();
        let help = "Secrets that are not followed, because a workload or namespace has too many.";
        page.single("secrets_over_limit", "gauge", help, not_followed)?;
        let help = "Unix time since which a watch has been failing.";
        page.head("watch_down_since_timestamp_seconds", "gauge", help)?;
        for (resource, since) in &*lock(&self.watches_down) {
            page.value("watch_down_since_timestamp_seconds", &[("resource", resource)], *since)?;
        }
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        page.head("decision_duration_seconds", "summary", "How long decisions on the whole cluster took.")?;
        let seconds = Duration::from_micros(read(&self.decision_microseconds)).as_secs_f64();
        page.value("decision_duration_seconds_sum", &[], seconds)?;
        page.value("decision_duration_seconds_count", &[], read(&self.decisions))?;
        let decided_at = self.decided_at.load(Ordering::Relaxed);
        let help =
            "Unix time of the last decision of this replica on the whole cluster; 0 before the first one.";
        page.single("decided_timestamp_seconds", "gauge", help, decided_at)?;
        let outdated_since = memory.lock().outdated_since();
        let help = "Unix time since which workloads have had to be read again, during which nothing is decided about them; 0 if none has to.";
        page.single("outdated_since_timestamp_seconds", "gauge", help, outdated_since)?;
        let help = "Log lines dropped because the log was not read fast enough.";
        page.single("dropped_log_lines_total", "counter", help, telemetry::dropped_lines())
    }

    fn write_vault(&self, page: &mut Page) -> fmt::Result {
        let VaultCounts { calls, is_connected, secrets, failing, complete_at } = &self.vault;
        page.head("vault_calls_total", "counter", "Requests to ScaiVault for versions, by result.")?;
        for (result, count) in &*lock(&calls.0) {
            page.value("vault_calls_total", &[("result", result)], *count)?;
        }
        let secrets = secrets.load(Ordering::Relaxed);
        page.single("vault_secrets", "gauge", "Secrets of ScaiVault whose versions are watched.", secrets)?;
        let failing = failing.load(Ordering::Relaxed);
        page.single(
            "vault_secrets_failing",
            "gauge",
            "Watched secrets of ScaiVault whose version cannot be read.",
            failing,
        )?;
        let is_connected = u8::from(is_connected.load(Ordering::Relaxed));
        page.single(
            "vault_events_connected",
            "gauge",
            "Whether the subscription to events of ScaiVault is connected.",
            is_connected,
        )?;
        let help = "Unix time when the versions of all secrets were last looked up.";
        page.single("vault_complete_timestamp_seconds", "gauge", help, complete_at.load(Ordering::Relaxed))
    }
}

/// The text of the metrics.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) -> fmt::Result {
        writeln!(self.0, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}")
    }

    /// Labels are constants of this program, so nothing has to be escaped.
    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) -> fmt::Result {
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        if labels.is_empty() {
            writeln!(self.0, "{PREFIX}{name} {value}")
        } else {
            writeln!(self.0, "{PREFIX}{name}{{{}}} {value}", labels.join(","))
        }
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl fmt::Display) -> fmt::Result {
        self.head(name, kind, help)?;
        self.value(name, &[], value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use scaivault_inject::Settings;
    use scaivault_restarter::Defaults;

    use super::*;

    /// The chart's tests compare the alerts and the dashboard with the page.
    #[test]
    fn the_page_has_a_row_for_every_metric() {
        let memory = Memory::new(Defaults::default(), Settings::default(), None);
        let text = Metrics::default().text(&memory);
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let rows = include_str!("../../docs/restart.md").lines().filter(|line| line.starts_with("| `"));
        let words = rows.flat_map(|row| row.split('`')).filter(|word| word.starts_with(PREFIX));
        assert_eq!(words.collect::<BTreeSet<_>>(), names.collect::<BTreeSet<_>>());
    }
}
