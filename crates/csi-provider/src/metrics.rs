//! What is counted, in the text format of Prometheus.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{failure::FailureKind, telemetry};

/// Before every name.
const PREFIX: &str = "scaivault_csi_provider_";
/// The upper bounds of the histogram, in milliseconds.
const BOUNDS_MS: [u64; 9] = [5, 10, 25, 50, 100, 250, 1000, 5000, 25_000];

/// The counts of this process.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    done: AtomicU64,
    failed: [AtomicU64; FailureKind::ALL.len()],
    /// Mounts below each bound, and not below the one before it.
    durations: [AtomicU64; BOUNDS_MS.len()],
    microseconds: AtomicU64,
}

impl Metrics {
    /// A mount has ended.
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

    /// All of them.
    pub(crate) fn text(&self, logins: usize, secrets: usize, leases: usize) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text, logins, secrets, leases);
        text
    }

    fn write(&self, text: &mut String, logins: usize, secrets: usize, leases: usize) -> std::fmt::Result {
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
            ("leases", "Leases of dynamic credentials that are held for pods.", leases),
        ] {
            writeln!(
                text,
                "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} gauge\n{PREFIX}{name} {value}"
            )?;
        }
        writeln!(
            text,
            "# HELP {PREFIX}dropped_log_lines_total Lines of the log that were lost because nothing read it."
        )?;
        writeln!(text, "# TYPE {PREFIX}dropped_log_lines_total counter")?;
        writeln!(text, "{PREFIX}dropped_log_lines_total {}", telemetry::dropped_lines())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_outcome_and_duration() {
        let metrics = Metrics::default();
        metrics.mounted(Ok(()), Duration::from_millis(3));
        metrics.mounted(Err(FailureKind::NotFound), Duration::from_millis(60));
        metrics.mounted(Err(FailureKind::Late), Duration::from_secs(26));
        let text = metrics.text(2, 5, 3);
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
            "leases 3",
        ] {
            assert!(text.contains(&format!("\n{PREFIX}{line}\n")), "{line}: {text}");
        }
    }
}
