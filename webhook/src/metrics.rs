//! Every metric of the injector, declared once in a table that registration and tests use.

mod labels;
mod latency;

use std::{
    fmt,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use scaivault_inject::PolicyEffect;

use crate::{
    endpoint::Endpoint,
    reason::Reason,
    throttled_log::{Cause, ThrottledLog},
};
use labels::Label;
pub(crate) use labels::{CloseReason, HandshakeFailure, ShedReason};
pub use labels::{EventResult, PolicyState, PolicyWrite, SyncFailure};
use latency::Latency;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Metric {
    /// The name as Prometheus stores it, base unit included.
    name: &'static str,
    /// What it counts or measures: one line, no full stop.
    help: &'static str,
    kind: MetricKind,
    /// Its labels. Each has a small set of values, fixed in code.
    labels: &'static [&'static str],
}

/// The kinds of metrics used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution in buckets.
    Histogram,
}

macro_rules! metrics {
    ($($ident:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(const $ident: Metric = Metric {
            name: $name,
            help: $help,
            kind: MetricKind::$kind,
            labels: &[$($label),*],
        };)*

        /// Every metric, in the order of the documentation.
        #[cfg(test)]
        static METRICS: &[Metric] = &[$($ident),*];
    };
}

metrics! {
    READY = Gauge "scaivault_injector_ready" []
        "1 while /readyz answers that the replica is ready, else 0";
    ADMISSIONS = Counter "scaivault_injector_admissions_total" ["entry", "outcome", "reason", "dry_run"]
        "Admission requests by entry point, outcome and reason";
    ADMISSION_DURATION = Histogram "scaivault_injector_admission_duration_seconds" []
        "Time to decide a request, from its complete body to its complete answer, without queues \
         and network";
    PATCH_BYTES = Counter "scaivault_injector_patch_bytes_total" []
        "Size of all patches before base64";
    REQUESTS_IN_FLIGHT = Gauge "scaivault_injector_requests_in_flight" []
        "Requests being decided, after their bodies are complete";
    BUFFERED_BYTES = Gauge "scaivault_injector_buffered_bytes" []
        "Bytes of the bodies of requests being read or answered";
    SHED = Counter "scaivault_injector_shed_total" ["reason"]
        "Requests answered 503 and connections refused, by limit; source: the address is not \
         allowed to connect";
    HTTP_ERRORS = Counter "scaivault_injector_http_errors_total" ["status"]
        "Requests answered with an HTTP status of 400 or more";
    LOG_LINES_DROPPED = Counter "scaivault_injector_log_lines_dropped_total" []
        "Log lines dropped because the log was not read fast enough";
    PANICS = Counter "scaivault_injector_panics_total" []
        "Requests answered 500 because of a bug";
    CONNECTIONS = Gauge "scaivault_injector_connections" ["port"]
        "Open connections";
    CONNECTIONS_CLOSED = Counter "scaivault_injector_connections_closed_total" ["reason"]
        "Connections closed by the server before their client closed them";
    HANDSHAKE_FAILURES = Counter "scaivault_injector_tls_handshake_failures_total" ["reason"]
        "TLS handshakes that failed; rejected: the client does not trust the served certificate";
    CERTIFICATE_EXPIRY = Gauge "scaivault_injector_certificate_expiry_timestamp_seconds" []
        "When the served certificate expires, seconds since 1970";
    CERTIFICATE_RELOADS = Counter "scaivault_injector_certificate_reloads_total" ["result"]
        "New certificates that were found; kept: invalid, the previous one is still served";
    CERTIFICATE_REFUSED = Gauge "scaivault_injector_certificate_refused" []
        "1 while the files in --tls-dir are invalid and the previous certificate is still served, \
         else 0";
    AUTHORITY_EXPIRY = Gauge "scaivault_injector_certificate_authority_expiry_timestamp_seconds" []
        "When the authority in --tls-secret expires, seconds since 1970; 0 without one";
    CA_BUNDLE_CHECKED = Gauge "scaivault_injector_ca_bundle_checked_timestamp_seconds" []
        "When the caBundle of every webhook was last verified or corrected, seconds since 1970; 0 \
         without --tls-secret";
    CERTIFICATE_SYNC_FAILURES = Counter "scaivault_injector_certificate_sync_failures_total" ["reason"]
        "Failed syncs of --tls-secret and the webhook configurations; the served certificate is \
         kept";
    CLIENT_CA_RELOADS = Counter "scaivault_injector_client_ca_reloads_total" ["result"]
        "Changes of the file of --client-ca; rejected: it cannot be used, and the previous authorities are kept";
    CLIENT_CA_REFUSED = Gauge "scaivault_injector_client_ca_refused" []
        "1 while the file of --client-ca cannot be used and the previous authorities are kept, else 0";
    CONFIG_RELOADS = Counter "scaivault_injector_config_reloads_total" ["result"]
        "Changes of the configuration file; kept: invalid, the previous settings are kept";
    CONFIG_REFUSED = Gauge "scaivault_injector_config_refused" []
        "1 while the configuration file is invalid and the previous settings are kept, else 0";
    CONFIG_LOADED = Gauge "scaivault_injector_config_loaded_timestamp_seconds" []
        "When the settings in force were read, seconds since 1970";
    WATCHED_OBJECTS = Gauge "scaivault_injector_watched_objects" ["resource"]
        "Objects of the cluster in memory";
    WATCH_DOWN_SINCE = Gauge "scaivault_injector_watch_down_since_timestamp_seconds" ["resource"]
        "When a watch began to fail, so that the cache is no longer updated, seconds since 1970; \
         0 while it works";
    KUBE_VERSION_MINOR = Gauge "scaivault_injector_kube_version_minor" []
        "Minor number of the Kubernetes version that determines the features in use, such as 35 \
         of 1.35";
    POLICIES = Gauge "scaivault_injector_policies" ["state"]
        "InjectionPolicies by state; kept: invalid, the last valid version is in force; rejected: \
         invalid, no version is in force; held: deleted, in force until the reason is known";
    POLICY_SET_CHANGES = Counter "scaivault_injector_policy_set_changes_total" []
        "Changes of the set of InjectionPolicies in force";
    POLICY_PODS = Counter "scaivault_injector_policy_pods_total" ["effect"]
        "Admissions of pods by the effect of at least one policy, without dry runs";
    POLICY_WRITES = Counter "scaivault_injector_policy_writes_total" ["result"]
        "Writes of the status of policies and of the label of namespaces that policies select, by result; label-late: the namespace was less than a minute old";
    EVENTS = Counter "scaivault_injector_events_total" ["result"]
        "Events for the owners of pods; limited and dropped: too many at once, not posted";
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AdmissionLabels {
    entry: &'static str,
    outcome: &'static str,
    reason: &'static str,
    dry_run: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortLabel {
    port: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabel {
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EffectLabel {
    effect: &'static str,
}

/// The watched resources.
const WATCHED: [&str; 3] = ["injectionpolicies", "namespaces", "serviceaccounts"];

/// The metrics of one server. The request path only increments atomics that were looked up at
/// start.
pub struct Metrics {
    registry: Registry,
    pub(crate) throttled_log: ThrottledLog,
    ready: Gauge,
    /// Counters for requests that are not dry runs, and for dry runs.
    admissions: Vec<((Endpoint, Reason), [Counter; 2])>,
    durations: Latency,
    patch_bytes: Counter,
    pub(crate) requests_in_flight: Gauge,
    pub(crate) buffered_bytes: Gauge,
    shed: Vec<(ShedReason, Counter)>,
    http_errors: Family<StatusLabel, Counter>,
    log_lines_dropped: Counter,
    /// Reads the counter that the log keeps.
    dropped_log_lines: OnceLock<fn() -> u64>,
    pub(crate) panics: Counter,
    connections: Family<PortLabel, Gauge>,
    closed: Vec<(CloseReason, Counter)>,
    handshake_failures: Vec<(HandshakeFailure, Counter)>,
    certificate_expiry: Gauge,
    certificate_reloads: Family<ResultLabel, Counter>,
    certificate_refused: Gauge,
    authority_expiry: Gauge,
    ca_bundle_checked: Gauge,
    certificate_sync_failures: Vec<(SyncFailure, Counter)>,
    client_ca_reloads: Family<ResultLabel, Counter>,
    client_ca_refused: Gauge,
    config_reloads: Family<ResultLabel, Counter>,
    config_refused: Gauge,
    config_loaded: Gauge,
    watched_objects: Family<ResourceLabel, Gauge>,
    watch_down_since: Family<ResourceLabel, Gauge>,
    kube_version_minor: Gauge,
    policies: Family<StateLabel, Gauge>,
    policy_set_changes: Counter,
    policy_pods: Vec<(PolicyEffect, Counter)>,
    policy_writes: Vec<(PolicyWrite, Counter)>,
    events: Vec<(EventResult, Counter)>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let admissions = Family::<AdmissionLabels, Counter>::default();
        let metrics = Self {
            ready: Gauge::default(),
            admissions: Reason::all()
                .map(|(entry, reason)| {
                    let counter = |dry_run| {
                        let (outcome, name) = (reason.outcome(), reason.name());
                        let labels = AdmissionLabels { entry: entry.name(), outcome, reason: name, dry_run };
                        admissions.get_or_create(&labels).clone()
                    };
                    ((entry, reason), [counter(false), counter(true)])
                })
                .collect(),
            durations: Latency::default(),
            patch_bytes: Counter::default(),
            requests_in_flight: Gauge::default(),
            buffered_bytes: Gauge::default(),
            shed: by_reason(&mut registry, SHED),
            http_errors: Family::default(),
            log_lines_dropped: Counter::default(),
            dropped_log_lines: OnceLock::new(),
            panics: Counter::default(),
            connections: Family::default(),
            closed: by_reason(&mut registry, CONNECTIONS_CLOSED),
            handshake_failures: by_reason(&mut registry, HANDSHAKE_FAILURES),
            certificate_expiry: Gauge::default(),
            certificate_reloads: Family::default(),
            certificate_refused: Gauge::default(),
            authority_expiry: Gauge::default(),
            ca_bundle_checked: Gauge::default(),
            certificate_sync_failures: by_reason(&mut registry, CERTIFICATE_SYNC_FAILURES),
            client_ca_reloads: Family::default(),
            client_ca_refused: Gauge::default(),
            config_reloads: Family::default(),
            config_refused: Gauge::default(),
            config_loaded: Gauge::default(),
            watched_objects: Family::default(),
            watch_down_since: Family::default(),
            kube_version_minor: Gauge::default(),
            policies: Family::default(),
            policy_set_changes: Counter::default(),
            policy_pods: by_effect(&mut registry),
            policy_writes: by_result(&mut registry, POLICY_WRITES),
            events: by_result(&mut registry, EVENTS),
            registry: Registry::default(),
            throttled_log: ThrottledLog::default(),
        };
        // Created at start, so that the first increase is visible to `rate()`.
        for status in [400, 404, 405, 408, 413, 415, 500, 503] {
            drop(metrics.http_errors.get_or_create(&StatusLabel { status }));
        }
        for port in ["https", "ops"] {
            drop(metrics.connections(port));
        }
        for result in ["replaced", "kept"] {
            drop(metrics.certificate_reloads.get_or_create(&ResultLabel { result }));
            drop(metrics.config_reloads.get_or_create(&ResultLabel { result }));
        }
        for result in ["replaced", "rejected"] {
            drop(metrics.client_ca_reloads.get_or_create(&ResultLabel { result }));
        }
        for resource in WATCHED {
            drop(metrics.watched_objects.get_or_create(&ResourceLabel { resource }));
            drop(metrics.watch_down_since.get_or_create(&ResourceLabel { resource }));
        }
        for &state in PolicyState::ALL {
            drop(metrics.policies.get_or_create(&StateLabel { state: state.name() }));
        }
        register(&mut registry, READY, metrics.ready.clone());
        register(&mut registry, ADMISSIONS, admissions);
        register(&mut registry, ADMISSION_DURATION, metrics.durations.clone());
        register(&mut registry, PATCH_BYTES, metrics.patch_bytes.clone());
        register(&mut registry, REQUESTS_IN_FLIGHT, metrics.requests_in_flight.clone());
        register(&mut registry, BUFFERED_BYTES, metrics.buffered_bytes.clone());
        register(&mut registry, HTTP_ERRORS, metrics.http_errors.clone());
        register(&mut registry, LOG_LINES_DROPPED, metrics.log_lines_dropped.clone());
        register(&mut registry, PANICS, metrics.panics.clone());
        register(&mut registry, CONNECTIONS, metrics.connections.clone());
        register(&mut registry, CERTIFICATE_EXPIRY, metrics.certificate_expiry.clone());
        register(&mut registry, CERTIFICATE_RELOADS, metrics.certificate_reloads.clone());
        register(&mut registry, CERTIFICATE_REFUSED, metrics.certificate_refused.clone());
        register(&mut registry, AUTHORITY_EXPIRY, metrics.authority_expiry.clone());
        register(&mut registry, CA_BUNDLE_CHECKED, metrics.ca_bundle_checked.clone());
        register(&mut registry, CLIENT_CA_RELOADS, metrics.client_ca_reloads.clone());
        register(&mut registry, CLIENT_CA_REFUSED, metrics.client_ca_refused.clone());
        register(&mut registry, CONFIG_RELOADS, metrics.config_reloads.clone());
        register(&mut registry, CONFIG_REFUSED, metrics.config_refused.clone());
        register(&mut registry, CONFIG_LOADED, metrics.config_loaded.clone());
        register(&mut registry, WATCHED_OBJECTS, metrics.watched_objects.clone());
        register(&mut registry, WATCH_DOWN_SINCE, metrics.watch_down_since.clone());
        register(&mut registry, KUBE_VERSION_MINOR, metrics.kube_version_minor.clone());
        register(&mut registry, POLICIES, metrics.policies.clone());
        register(&mut registry, POLICY_SET_CHANGES, metrics.policy_set_changes.clone());
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// All metrics at zero.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The metrics in the text format of `OpenMetrics`.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        if let Some(read) = self.dropped_log_lines.get() {
            self.log_lines_dropped.inner().store(read(), Ordering::Relaxed);
        }
        let mut text = String::with_capacity(16 * 1024);
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Sets the function that returns the number of dropped log lines.
    pub fn read_dropped_log_lines(&self, read: fn() -> u64) {
        // A later call is ignored: a process has one log.
        let _ = self.dropped_log_lines.set(read);
    }

    /// Sets whether the server is ready.
    pub(crate) fn ready(&self, is_ready: bool) {
        self.ready.set(i64::from(is_ready));
    }

    /// The served certificate now expires at `expiry` (seconds since 1970).
    pub fn certificate_served(&self, expiry: i64) {
        self.certificate_expiry.set(expiry);
    }

    /// A certificate was renewed.
    pub fn certificate_replaced(&self, expiry: i64) {
        self.certificate_served(expiry);
        let result = "replaced";
        self.certificate_reloads.get_or_create(&ResultLabel { result }).inc();
    }

    /// A renewed certificate was rejected, and the previous one is still served.
    pub fn certificate_kept(&self) {
        let result = "kept";
        self.certificate_reloads.get_or_create(&ResultLabel { result }).inc();
    }

    /// Sets whether the current certificate in the directory is unusable, independent of the
    /// counters.
    pub fn certificate_refused(&self, is_refused: bool) {
        self.certificate_refused.set(i64::from(is_refused));
    }

    /// At `now` the caBundle of every webhook was correct; the signing authority expires at
    /// `authority_expiry`. Both in seconds since 1970.
    pub fn ca_bundle_checked(&self, now: i64, authority_expiry: Option<i64>) {
        self.ca_bundle_checked.set(now);
        self.authority_expiry.set(authority_expiry.unwrap_or_default());
    }

    /// A sync of the Secret and the webhook configurations failed.
    pub fn certificate_sync_failed(&self, reason: SyncFailure) {
        count(&self.certificate_sync_failures, reason);
    }

    /// The trusted client authorities were replaced.
    pub fn client_ca_replaced(&self) {
        self.client_ca_reloads.get_or_create(&ResultLabel { result: "replaced" }).inc();
    }

    /// The file of `--client-ca` changed and cannot be used; the previous authorities are kept.
    pub fn client_ca_rejected(&self) {
        self.client_ca_reloads.get_or_create(&ResultLabel { result: "rejected" }).inc();
    }

    /// Sets whether the current file of `--client-ca` is unusable, independent of the counters.
    pub fn client_ca_refused(&self, is_refused: bool) {
        self.client_ca_refused.set(i64::from(is_refused));
    }

    /// The settings from the start are in force; they were read at this time (seconds since 1970).
    pub fn config_loaded(&self, at: i64) {
        self.config_loaded.set(at);
    }

    /// A changed configuration file is in force; it was read at this time (seconds since 1970).
    pub fn config_replaced(&self, at: i64) {
        self.config_loaded(at);
        self.config_reloads.get_or_create(&ResultLabel { result: "replaced" }).inc();
    }

    /// A changed configuration file was rejected, and the previous settings are kept.
    pub fn config_kept(&self) {
        self.config_reloads.get_or_create(&ResultLabel { result: "kept" }).inc();
    }

    /// Sets whether the current configuration file is unusable, independent of the counters.
    pub fn config_refused(&self, is_refused: bool) {
        self.config_refused.set(i64::from(is_refused));
    }

    /// Sets how many objects of a resource (its plural name) are in the cache.
    pub fn watched_objects(&self, resource: &'static str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.watched_objects.get_or_create(&ResourceLabel { resource }).set(count);
    }

    /// Sets since when the watch of a resource has been failing, seconds since 1970; 0 if it works.
    pub fn watch_down_since(&self, resource: &'static str, since: i64) {
        self.watch_down_since.get_or_create(&ResourceLabel { resource }).set(since);
    }

    /// Sets the minor version of Kubernetes that selects the features.
    pub fn kube_version_minor(&self, minor: u16) {
        self.kube_version_minor.set(minor.into());
    }

    /// Sets how many policies are in a state.
    pub fn policies(&self, state: PolicyState, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.policies.get_or_create(&StateLabel { state: state.name() }).set(count);
    }

    /// The set of policies in force changed.
    pub fn policy_set_changed(&self) {
        self.policy_set_changes.inc();
    }

    /// Counts the result of a write that a policy caused.
    pub fn policy_written(&self, result: PolicyWrite) {
        count(&self.policy_writes, result);
    }

    /// Counts the effect of a policy on a pod.
    pub(crate) fn policy_effect(&self, effect: PolicyEffect) {
        if let Some((_, counter)) = self.policy_pods.iter().find(|(known, _)| *known == effect) {
            counter.inc();
        }
    }

    /// Counts the result of posting an Event.
    pub fn event(&self, result: EventResult) {
        count(&self.events, result);
    }

    pub(crate) fn admission(
        &self,
        entry: Endpoint,
        reason: Reason,
        dry_run: bool,
        duration: Duration,
        patch_bytes: usize,
    ) {
        if let Some((_, counters)) = self.admissions.iter().find(|(known, _)| *known == (entry, reason)) {
            counters[usize::from(dry_run)].inc();
        }
        self.durations.observe(duration);
        self.patch_bytes.inc_by(patch_bytes as u64);
    }

    pub(crate) fn http_error(&self, status: u16) {
        self.http_errors.get_or_create(&StatusLabel { status }).inc();
    }

    pub(crate) fn shed(&self, reason: ShedReason) {
        count(&self.shed, reason);
        self.throttled_log.raise(reason.into(), None);
    }

    pub(crate) fn closed(&self, reason: CloseReason) {
        count(&self.closed, reason);
        if reason == CloseReason::Evicted {
            self.throttled_log.raise(Cause::Evicted, None);
        }
    }

    pub(crate) fn handshake_failed(&self, reason: HandshakeFailure) {
        count(&self.handshake_failures, reason);
    }

    pub(crate) fn connections(&self, port: &'static str) -> Gauge {
        self.connections.get_or_create(&PortLabel { port }).clone()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn register(registry: &mut Registry, row: Metric, metric: impl prometheus_client::registry::Metric) {
    // The encoder appends the suffix of counters itself.
    let name = match row.kind {
        MetricKind::Counter => row.name.trim_end_matches("_total"),
        MetricKind::Gauge | MetricKind::Histogram => row.name,
    };
    registry.register(name, row.help, metric);
}

fn by_reason<L: Label>(registry: &mut Registry, row: Metric) -> Vec<(L, Counter)> {
    let family = Family::<ReasonLabel, Counter>::default();
    let counters = L::ALL
        .iter()
        .map(|&value| {
            let reason = value.name();
            (value, family.get_or_create(&ReasonLabel { reason }).clone())
        })
        .collect();
    register(registry, row, family);
    counters
}

fn by_result<L: Label>(registry: &mut Registry, row: Metric) -> Vec<(L, Counter)> {
    let family = Family::<ResultLabel, Counter>::default();
    let counters = L::ALL
        .iter()
        .map(|&value| (value, family.get_or_create(&ResultLabel { result: value.name() }).clone()))
        .collect();
    register(registry, row, family);
    counters
}

fn by_effect(registry: &mut Registry) -> Vec<(PolicyEffect, Counter)> {
    let family = Family::<EffectLabel, Counter>::default();
    let counters = PolicyEffect::ALL
        .into_iter()
        .map(|effect| (effect, family.get_or_create(&EffectLabel { effect: effect.name() }).clone()))
        .collect();
    register(registry, POLICY_PODS, family);
    counters
}

fn count<L: Label>(counters: &[(L, Counter)], reason: L) {
    if let Some((_, counter)) = counters.iter().find(|(known, _)| *known == reason) {
        counter.inc();
    }
}

#[cfg(test)]
mod tests;
