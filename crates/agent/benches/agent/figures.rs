//! Figures as rows of a Markdown table.

use std::time::Duration;

/// A sample of durations.
#[derive(Default)]
pub(crate) struct Sample(Vec<Duration>);

impl Sample {
    pub(crate) fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    /// A quantile, for example 0.5 for the median, 0 for the minimum, 1 for the maximum.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// Quantiles in milliseconds, as cells of a table.
    pub(crate) fn milliseconds(&self, shares: &[f64]) -> String {
        let cells = shares.iter().map(|share| format!("{:.1}", self.quantile(*share).as_secs_f64() * 1e3));
        cells.collect::<Vec<_>>().join(" | ")
    }

    /// Quantiles in seconds, as cells of a table.
    pub(crate) fn seconds(&self, shares: &[f64]) -> String {
        let cells = shares.iter().map(|share| format!("{:.1}", self.quantile(*share).as_secs_f64()));
        cells.collect::<Vec<_>>().join(" | ")
    }
}

/// Converts kibibytes to mebibytes.
pub(crate) fn mebibytes(kibibytes: u64) -> String {
    #[expect(clippy::cast_precision_loss)]
    let mebibytes = kibibytes as f64 / 1024.0;
    format!("{mebibytes:.2}")
}
