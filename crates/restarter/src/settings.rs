//! The settings of the restart controller.

use crate::window::Window;

/// How fast workloads are restarted. Times are in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How long a version must have been seen before anything is restarted for it; at least 2, so that two changes within the
    /// second that times are counted in are one.
    pub debounce: i64,
    /// The longest wait for versions that keep changing.
    pub max_wait: i64,
    /// The restarts of one rotation begin spread over this time.
    pub jitter: i64,
    /// The shortest time between two restarts of a workload.
    pub minimum_interval: i64,
    /// The most restarts of a workload within `breaker_period`.
    pub breaker_restarts: usize,
    /// See `breaker_restarts`.
    pub breaker_period: i64,
    /// The most rollouts at once in the cluster.
    pub concurrency: usize,
    /// The most rollouts at once in a namespace.
    pub namespace_concurrency: usize,
    /// How many workloads of a namespace that share a secret are restarted first.
    pub canaries: usize,
    /// How many are restarted in each wave after that.
    pub wave: usize,
    /// The pause after each wave; after the canaries it is at least `observation`.
    pub wave_pause: i64,
    /// How long after a rollout a crash of its pods counts as its failure.
    pub observation: i64,
    /// How long a rollout may make no progress, if its kind has no deadline of its own. After that it keeps no place in any case.
    pub rollout_timeout: i64,
    /// How far the clocks of ScaiVault and of the API server may be apart. Native Secrets have times of the API server itself.
    pub clock_skew: i64,
    /// When restarts are allowed, unless the workload or namespace says otherwise. Empty: always.
    pub windows: Vec<Window>,
    /// Outside of windows, restarts begin this long before the old version stops working.
    pub before_end: i64,
    /// Nothing is restarted; what would be is reported.
    pub is_dry_run: bool,
}

/// The least `debounce`: times of versions and pods are in whole seconds.
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
