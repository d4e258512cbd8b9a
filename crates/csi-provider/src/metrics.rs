//! The metrics, in the text format of Prometheus.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use scaivault_cluster::policies::PolicyState;
use scaivault_inject::PolicyEffect;

use crate::{failure::FailureKind, lock, telemetry};

/// The prefix of every name.
const PREFIX: &str = "scaivault_csi_provider_";
/// The upper bounds of the histogram, in milliseconds.
const BOUNDS_MS: [u64; 9] = [5, 10, 25, 50, 100, 250, 1000, 5000, 25_000];

/// The counters of this process.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    done: AtomicU64,
    failed: [AtomicU64; FailureKind::ALL.len()],
    /// The number of mounts between each bound and the previous one.
    durations: [AtomicU64; BOUNDS_MS.len()],
    microseconds: AtomicU64,
}

/// The current sizes of the provider's tables.
pub(crate) struct TableSizes {
    pub(crate) logins: usize,
    pub(crate) secrets: usize,
    /// The number of identities whose events arrive.
    pub(crate) connected: usize,
    pub(crate) leases: usize,
}

impl Metrics {
    /// Counts a mount that has ended.
    pub(crate) fn mounted(&self, outcome: Result<(), FailureKind>, took: Duration) {
        let count = match outcome {
            Ok(()) => &self.done,
            Err(kind) => &self.failed[kind as usize],
        };
        count.fetch_add(1, Ordering::Relaxed);
        let bound = BOUNDS_MS.iter().position(|bound| took <= Duration::from_millis(*bound));
        if let Some(bound) = bound {
            self.durations[bound].fetch_add(1, Ordering::Relaxed);
        }
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    /// All metrics, with the current sizes.
    pub(crate) fn text(&self, held: &TableSizes) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text, held);
        text
    }

    fn write(&self, text: &mut String, held: &TableSizes) -> std::fmt::Result {
        let TableSizes { logins, secrets, connected, leases } = held;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        writeln!(text, "# HELP {PREFIX}mounts_total Mount calls of the driver by outcome.")?;
        writeln!(text, "# TYPE {PREFIX}mounts_total counter")?;
        writeln!(text, "{PREFIX}mounts_total{{outcome=\"done\"}} {}", read(&self.done))?;
        for (kind, count) in FailureKind::ALL.iter().zip(&self.failed) {
            writeln!(text, "{PREFIX}mounts_total{{outcome=\"{}\"}} {}", kind.label(), read(count))?;
        }
        let total = read(&self.done) + self.failed.iter().map(read).sum::<u64>();
        writeln!(text, "# HELP {PREFIX}mount_duration_seconds How long mount calls took.")?;
        writeln!(text, "# TYPE {PREFIX}mount_duration_seconds histogram")?;
        let mut below = 0;
        for (bound, count) in BOUNDS_MS.iter().zip(&self.durations) {
            below += read(count);
            let bound = Duration::from_millis(*bound).as_secs_f64();
            writeln!(text, "{PREFIX}mount_duration_seconds_bucket{{le=\"{bound}\"}} {below}")?;
        }
        writeln!(text, "{PREFIX}mount_duration_seconds_bucket{{le=\"+Inf\"}} {total}")?;
        let seconds = Duration::from_micros(read(&self.microseconds)).as_secs_f64();
        writeln!(text, "{PREFIX}mount_duration_seconds_sum {seconds}")?;
        writeln!(text, "{PREFIX}mount_duration_seconds_count {total}")?;
        for (name, help, value) in [
            ("logins", "Pods that have a login.", logins),
            ("cached_secrets", "Secrets in memory.", secrets),
            ("event_subscriptions", "Identities whose events of changed secrets arrive.", connected),
            ("leases", "Leases of dynamic credentials that are held for pods.", leases),
        ] {
            writeln!(
                text,
                "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} gauge\n{PREFIX}{name} {value}"
            )?;
        }
        writeln!(
            text,
            "# HELP {PREFIX}dropped_log_lines_total Log lines dropped because the log was not \
             read fast enough."
        )?;
        writeln!(text, "# TYPE {PREFIX}dropped_log_lines_total counter")?;
        writeln!(text, "{PREFIX}dropped_log_lines_total {}", telemetry::dropped_lines())
    }
}

/// The counted effects.
const EFFECTS: [PolicyEffect; 3] = [PolicyEffect::Audited, PolicyEffect::Warned, PolicyEffect::Refused];

/// Metrics about policies, for a provider with `--policies`.
#[derive(Debug, Default)]
pub(crate) struct PolicyMetrics {
    in_force: AtomicU64,
    kept: AtomicU64,
    rejected: AtomicU64,
    held: AtomicU64,
    /// Mount calls by policy and effect, for policies that had an effect.
    used: Mutex<BTreeMap<Arc<str>, [u64; EFFECTS.len()]>>,
}

impl PolicyMetrics {
    /// Counts an effect of a policy on a mount.
    pub(crate) fn used(&self, policy: &Arc<str>, effect: PolicyEffect) {
        if let Some(at) = EFFECTS.iter().position(|counted| *counted == effect) {
            self.counts().entry(Arc::clone(policy)).or_default()[at] += 1;
        }
    }

    /// Removes a deleted policy.
    pub(crate) fn forget(&self, policy: &str) {
        self.counts().remove(policy);
    }

    /// Sets the number of policies in a state.
    pub(crate) fn counted(&self, state: PolicyState, count: usize) {
        let gauge = match state {
            PolicyState::InForce => &self.in_force,
            PolicyState::Kept => &self.kept,
            PolicyState::Rejected => &self.rejected,
        };
        gauge.store(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Sets the number of deleted policies that stay in force.
    pub(crate) fn held(&self, count: usize) {
        self.held.store(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// All metrics about policies.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self { in_force, kept, rejected, held, used: _ } = self;
        writeln!(text, "# HELP {PREFIX}policies InjectionPolicies by state.")?;
        writeln!(text, "# TYPE {PREFIX}policies gauge")?;
        let states = [("in_force", in_force), ("kept", kept), ("rejected", rejected), ("held", held)];
        for (state, gauge) in states {
            writeln!(text, "{PREFIX}policies{{state=\"{state}\"}} {}", gauge.load(Ordering::Relaxed))?;
        }
        writeln!(
            text,
            "# HELP {PREFIX}policy_effects_total Mount calls that a policy refused, warned of or audited."
        )?;
        writeln!(text, "# TYPE {PREFIX}policy_effects_total counter")?;
        for (policy, counts) in &*self.counts() {
            for (effect, count) in EFFECTS.iter().zip(counts).filter(|(_, count)| **count > 0) {
                let effect = effect.name();
                writeln!(
                    text,
                    "{PREFIX}policy_effects_total{{policy=\"{policy}\",effect=\"{effect}\"}} {count}"
                )?;
            }
        }
        Ok(())
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, [u64; EFFECTS.len()]>> {
        lock(&self.used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_of_policies_are_counted() {
        let metrics = PolicyMetrics::default();
        metrics.counted(PolicyState::Kept, 2);
        metrics.held(1);
        let [one, other]: [Arc<str>; 2] = ["one", "other"].map(Arc::from);
        metrics.used(&one, PolicyEffect::Refused);
        metrics.used(&one, PolicyEffect::Refused);
        metrics.used(&one, PolicyEffect::Selected);
        metrics.used(&other, PolicyEffect::Warned);
        metrics.forget("other");
        let text = metrics.text();
        for line in [
            "policies{state=\"kept\"} 2",
            "policies{state=\"held\"} 1",
            "policies{state=\"in_force\"} 0",
            "policy_effects_total{policy=\"one\",effect=\"refused\"} 2",
        ] {
            assert!(text.contains(&format!("\n{PREFIX}{line}\n")), "{line}: {text}");
        }
        assert!(!text.contains("selected") && !text.contains("other"), "{text}");
    }

    #[test]
    fn counts_by_outcome_and_duration() {
        let metrics = Metrics::default();
        metrics.mounted(Ok(()), Duration::from_millis(3));
        metrics.mounted(Err(FailureKind::NotFound), Duration::from_millis(60));
        metrics.mounted(Err(FailureKind::Late), Duration::from_secs(26));
        let text = metrics.text(&TableSizes { logins: 2, secrets: 5, connected: 1, leases: 3 });
        for line in [
            "mounts_total{outcome=\"done\"} 1",
            "mounts_total{outcome=\"not_found\"} 1",
            "mounts_total{outcome=\"late\"} 1",
            "mount_duration_seconds_bucket{le=\"0.005\"} 1",
            "mount_duration_seconds_bucket{le=\"0.1\"} 2",
            "mount_duration_seconds_bucket{le=\"+Inf\"} 3",
            "mount_duration_seconds_count 3",
            "logins 2",
            "cached_secrets 5",
            "event_subscriptions 1",
            "leases 3",
        ] {
            assert!(text.contains(&format!("\n{PREFIX}{line}\n")), "{line}: {text}");
        }
    }
}
