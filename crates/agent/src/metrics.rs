//! The sidecar's counters, and the port that exposes them to Prometheus.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use scaivault_client::Class;
use scaivault_contract::DynamicRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use crate::{exit::Fatal, telemetry};

/// The timeout of one request.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum number of concurrent requests, so that a silent client does not block the others.
const CALLS_LIMIT: usize = 8;
/// The maximum size of a request's head in bytes.
const HEAD_MAX_BYTES: usize = 4096;

/// The counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    Refreshed,
    NotRefreshed,
    FileChanged,
    LeaseGenerated,
    LeaseRenewed,
    LeaseFailed,
    Signalled,
    NotSignalled,
}

/// Every counter: its metric, its label, and the help text. Rows of one metric must be adjacent.
const COUNTERS: [(Counter, &str, &str, &str); 8] = [
    (Counter::Refreshed, "refreshes_total", "outcome=\"done\"", REFRESHES),
    (Counter::NotRefreshed, "refreshes_total", "outcome=\"failed\"", REFRESHES),
    (Counter::FileChanged, "file_changes_total", "", "Files written because their content changed."),
    (Counter::LeaseGenerated, "leases_total", "outcome=\"generated\"", LEASES),
    (Counter::LeaseRenewed, "leases_total", "outcome=\"renewed\"", LEASES),
    (Counter::LeaseFailed, "leases_total", "outcome=\"failed\"", LEASES),
    (Counter::Signalled, "signals_total", "outcome=\"sent\"", SIGNALS),
    (Counter::NotSignalled, "signals_total", "outcome=\"failed\"", SIGNALS),
];
const REFRESHES: &str = "Comparisons of the files with ScaiVault.";
const LEASES: &str = "Leases generated and renewed, and attempts that failed.";
const SIGNALS: &str = "Notifications of the application after a change: signals, or calls of RELOAD_URL.";
const FRESH: &str = "When all files were last known to match ScaiVault.";
const REMAINING: &str = "Seconds until a lease ends.";
const LAST_ERROR: &str = "When an error of this class last occurred.";
const OWED: &str = "1 while a notification of the application is pending, else 0.";
const DROPPED: &str = "Log lines dropped because the log was not read fast enough.";
/// The prefix of all names.
const PREFIX: &str = "scaivault_agent_";

/// The counters and gauges of this process.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counts: [AtomicU64; COUNTERS.len()],
    gauges: Mutex<Gauges>,
}

#[derive(Debug, Default)]
struct Gauges {
    /// When all files were last known to match ScaiVault.
    fresh: Option<SystemTime>,
    /// When the lease of a dynamic secret (`engine/role`) expires.
    lease_ends: BTreeMap<String, SystemTime>,
    /// When each class of error last occurred.
    errors: BTreeMap<&'static str, SystemTime>,
    is_reload_owed: bool,
}

impl Metrics {
    pub(crate) fn count(&self, counter: Counter) {
        self.counts[counter as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Records that all files match ScaiVault at `now`.
    pub(crate) fn fresh(&self, now: SystemTime) {
        self.gauges().fresh = Some(now);
    }

    /// Records the held leases with their expiry. If a role has several leases, the first expiry
    /// counts.
    pub(crate) fn set_leases<'a>(&self, leases: impl Iterator<Item = (&'a DynamicRef, SystemTime)>) {
        let mut ends = BTreeMap::new();
        for (dynamic, end) in leases {
            let first = ends.entry(format!("{}/{}", dynamic.engine, dynamic.role)).or_insert(end);
            *first = end.min(*first);
        }
        self.gauges().lease_ends = ends;
    }

    /// Records whether the application still has to be notified of a change.
    pub(crate) fn set_reload_owed(&self, is_owed: bool) {
        self.gauges().is_reload_owed = is_owed;
    }

    /// Records an error at `now`. `class` is one of a small set: a [`class`], or another one of the
    /// caller.
    pub(crate) fn failed(&self, class: &'static str, now: SystemTime) {
        self.gauges().errors.insert(class, now);
    }

    fn gauges(&self) -> MutexGuard<'_, Gauges> {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The metrics in Prometheus' text format at `now`.
    fn text(&self, now: SystemTime) -> String {
        let mut text = Text(String::new());
        for rows in COUNTERS.chunk_by(|(_, name, ..), (_, next, ..)| name == next) {
            let count = |counter| self.counts[counter as usize].load(Ordering::Relaxed).to_string();
            let samples = rows.iter().map(|(counter, _, labels, _)| ((*labels).to_owned(), count(*counter)));
            text.family(rows[0].1, "counter", rows[0].3, samples);
        }
        let one = |value: String| [(String::new(), value)];
        let gauges = self.gauges();
        let fresh = gauges.fresh.map_or_else(|| "0".to_owned(), timestamp);
        text.family("fresh_timestamp_seconds", "gauge", FRESH, one(fresh));
        let left = gauges.lease_ends.iter().map(|(dynamic, end)| {
            let left = end.duration_since(now).map(|left| left.as_secs_f64());
            let left = left.unwrap_or_else(|past| -past.duration().as_secs_f64());
            (format!("dynamic=\"{dynamic}\""), format!("{left:.1}"))
        });
        text.family("lease_remaining_seconds", "gauge", REMAINING, left);
        let errors = gauges.errors.iter().map(|(class, at)| (format!("class=\"{class}\""), timestamp(*at)));
        text.family("last_error_timestamp_seconds", "gauge", LAST_ERROR, errors);
        let owed = u8::from(gauges.is_reload_owed).to_string();
        text.family("reload_owed", "gauge", OWED, one(owed));
        let dropped = telemetry::dropped_lines().to_string();
        text.family("log_lines_dropped_total", "counter", DROPPED, one(dropped));
        text.0
    }
}

/// An error's class as a label value.
pub(crate) const fn class(class: Class) -> &'static str {
    match class {
        Class::Authentication => "authentication",
        Class::Denied => "denied",
        Class::NotFound => "not_found",
        Class::Invalid => "invalid",
        Class::Conflict => "conflict",
        Class::Throttled => "throttled",
        Class::Unavailable => "unavailable",
        Class::Unexpected => "unexpected",
    }
}

fn timestamp(time: SystemTime) -> String {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs().to_string()
}

struct Text(String);

impl Text {
    /// Writes one metric with its samples: labels and value.
    fn family(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, String)>,
    ) {
        let Self(text) = self;
        // Writing to a String does not fail.
        let _ = write!(text, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}\n");
        for (labels, value) in samples {
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            let _ = writeln!(text, "{PREFIX}{name}{labels} {value}");
        }
    }
}

/// Binds the port, so that a port that cannot be used is reported at start.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Fatal> {
    let listener = TcpListener::bind(address).await.map_err(|error| Fatal::Metrics(address, error))?;
    // With port 0 it differs from the configured one.
    let bound = listener.local_addr().unwrap_or(address);
    tracing::info!(address = %bound, "showing metrics");
    Ok(listener)
}

/// Serves `/metrics`. Never returns.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>) {
    let mut calls = JoinSet::new();
    loop {
        if calls.len() >= CALLS_LIMIT {
            calls.join_next().await;
        }
        while calls.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let metrics = Arc::clone(&metrics);
                // Errors of a client do not matter here.
                calls.spawn(async move { drop(timeout(CALL_TIMEOUT, answer(stream, &metrics)).await) });
            }
            // Most likely out of file descriptors: the pause lets others be closed.
            Err(_) => tokio::time::sleep(CALL_TIMEOUT).await,
        }
    }
}

async fn answer(mut stream: TcpStream, metrics: &Metrics) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(HEAD_MAX_BYTES);
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if head.len() >= HEAD_MAX_BYTES || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = if head.starts_with(b"GET /metrics ") {
        ("200 OK", metrics.text(SystemTime::now()))
    } else {
        ("404 Not Found", String::new())
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(path: &str) -> String {
        let metrics = Arc::new(Metrics::default());
        metrics.count(Counter::Refreshed);
        metrics.count(Counter::NotSignalled);
        metrics.fresh(SystemTime::UNIX_EPOCH + Duration::from_secs(7));
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, metrics));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        server.abort();
        answer
    }

    #[tokio::test]
    async fn the_counters_are_exported() {
        let answer = get("/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        for line in [
            "# TYPE scaivault_agent_refreshes_total counter",
            "scaivault_agent_refreshes_total{outcome=\"done\"} 1",
            "scaivault_agent_refreshes_total{outcome=\"failed\"} 0",
            "scaivault_agent_file_changes_total 0",
            "scaivault_agent_signals_total{outcome=\"failed\"} 1",
            "scaivault_agent_fresh_timestamp_seconds 7",
        ] {
            assert!(answer.lines().any(|there| there == line), "{line}: {answer}");
        }
        assert!(get("/").await.starts_with("HTTP/1.1 404 "));
    }

    #[test]
    fn state_is_shown_as_prometheus_reads_it() {
        let metrics = Metrics::default();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let [first, second, ended] = ["engine=pg role=ro", "engine=pg role=ro ttl=1h", "engine=pg role=rw"]
            .map(|text| text.parse().unwrap());
        metrics.set_leases([(&second, at(130)), (&first, at(160)), (&ended, at(90))].into_iter());
        metrics.failed(class(Class::Denied), at(70));
        metrics.failed(class(Class::Denied), at(80));
        metrics.set_reload_owed(true);
        let text = metrics.text(at(100));
        for line in [
            "scaivault_agent_lease_remaining_seconds{dynamic=\"pg/ro\"} 30.0",
            "scaivault_agent_lease_remaining_seconds{dynamic=\"pg/rw\"} -10.0",
            "scaivault_agent_last_error_timestamp_seconds{class=\"denied\"} 80",
            "scaivault_agent_reload_owed 1",
            "scaivault_agent_fresh_timestamp_seconds 0",
        ] {
            assert_eq!(text.lines().filter(|there| *there == line).count(), 1, "{line}: {text}");
        }
        // Each metric is described once, before its samples, and only counters end with `total`.
        let mut families = Vec::new();
        for line in text.lines() {
            if let Some(described) = line.strip_prefix("# TYPE ") {
                let (name, kind) = described.split_once(' ').unwrap();
                assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
                assert!(!families.contains(&name), "{line}");
                families.push(name);
            } else if !line.starts_with("# HELP ") {
                let name = line.split(['{', ' ']).next().unwrap();
                assert_eq!(families.last(), Some(&name), "{line}");
                line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
            }
        }
    }

    #[tokio::test]
    async fn silent_callers_do_not_delay_others() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Arc::default()));
        let mut silent = Vec::new();
        for _ in 1..CALLS_LIMIT {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let asked = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
            stream.read_to_string(&mut String::new()).await.unwrap()
        };
        // The limit would be exceeded if the silent clients were handled one after the other.
        let limit = CALL_TIMEOUT * u32::try_from(silent.len() - 1).unwrap();
        assert!(timeout(limit, asked).await.unwrap() > 0);
        server.abort();
    }

    #[tokio::test]
    async fn more_callers_than_are_answered_at_once_are_all_answered() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Arc::default()));
        let mut callers = JoinSet::new();
        for _ in 0..5 * CALLS_LIMIT {
            callers.spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                answer.ends_with("scaivault_agent_log_lines_dropped_total 0\n")
            });
        }
        assert!(callers.join_all().await.into_iter().all(|is_whole| is_whole));
        server.abort();
    }

    #[test]
    fn every_counter_has_its_row() {
        for (index, (counter, ..)) in COUNTERS.into_iter().enumerate() {
            assert_eq!(counter as usize, index);
        }
    }
}
