//! A lock-free histogram. That of `prometheus_client` takes a write lock for each observation.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

/// Upper bounds in microseconds. A decision takes tens of microseconds; above the API server's
/// usual timeout of five seconds no distinction is needed.
const BOUNDS_MICROS: [u64; 15] = [
    50, 100, 150, 200, 300, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 1_000_000, 5_000_000,
];

/// A histogram of durations. Clones share their counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Latency {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// One bucket for each bound, and one for the values above the last.
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Latency {
    pub(super) fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| bound * 1_000 < nanos);
        self.shared.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.shared.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let bounds = BOUNDS_MICROS
            .iter()
            .map(|&micros| Duration::from_micros(micros).as_secs_f64())
            .chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds
            .zip(&self.shared.buckets)
            .map(|(bound, bucket)| (bound, bucket.load(Ordering::Relaxed)))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.shared.sum_nanos.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;

    #[test]
    fn observations_fall_into_their_buckets() {
        let latency = Latency::default();
        for micros in [50, 51, 9_000_000] {
            latency.observe(Duration::from_micros(micros));
        }
        let mut registry = Registry::default();
        registry.register("d", "D", latency);
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        for line in [
            "d_bucket{le=\"0.00005\"} 1",
            "d_bucket{le=\"0.0001\"} 2",
            "d_bucket{le=\"5.0\"} 2",
            "d_bucket{le=\"+Inf\"} 3",
            "d_count 3",
            "d_sum 9.000101",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
