//! The settings of the restart controller.

use crate::window::Window;

/// The settings of restarts. Times are in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How long a version must be unchanged before the first restart for it; at least 2, because times are
    /// in whole seconds and two changes within a second must count as one.
    pub debounce: i64,
    /// The longest wait for versions that keep changing.
    pub max_wait: i64,
    /// Period over which the restarts of one rotation are spread.
    pub jitter: i64,
    /// Minimum time between two restarts of a workload.
    pub minimum_interval: i64,
    /// Number of restarts of a workload within `breaker_period` after which further ones wait.
    pub breaker_restarts: usize,
    /// Period for `breaker_restarts`.
    pub breaker_period: i64,
    /// Maximum number of rollouts in progress in the cluster.
    pub concurrency: usize,
    /// Maximum number of rollouts in progress in a namespace.
    pub namespace_concurrency: usize,
    /// How many workloads of a namespace that share a secret are restarted first.
    pub canaries: usize,
    /// How many are restarted in each wave after that.
    pub wave: usize,
    /// The pause after each wave; after the canaries it is at least `observation`.
    pub wave_pause: i64,
    /// How long after a rollout a crash of its pods counts as its failure.
    pub observation: i64,
    /// How long a rollout may make no progress, if its kind has no deadline. After that it does not count
    /// towards the limits in any case.
    pub rollout_timeout: i64,
    /// How much the clocks of ScaiVault and of the API server may differ. The times of native Secrets come
    /// from the API server itself.
    pub clock_skew: i64,
    /// When restarts are allowed, unless the workload or namespace says otherwise. Empty: always.
    pub windows: Vec<Window>,
    /// How long before the old version stops working restarts begin, even outside of the windows.
    pub before_end: i64,
    /// Whether restarts are only reported.
    pub is_dry_run: bool,
}

/// The minimum `debounce`, because times of versions and pods are in whole seconds.
pub(crate) const LEAST_DEBOUNCE: i64 = 2;

impl Default for Settings {
    fn default() -> Self {
        Self {
            debounce: 10,
            max_wait: 120,
            jitter: 30,
            minimum_interval: 300,
            breaker_restarts: 5,
            breaker_period: 3600,
            concurrency: 10,
            namespace_concurrency: 5,
            canaries: 1,
            wave: 10,
            wave_pause: 30,
            observation: 300,
            rollout_timeout: 900,
            clock_skew: 120,
            windows: Vec::new(),
            before_end: 3600,
            is_dry_run: false,
        }
    }
}
