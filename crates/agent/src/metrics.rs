//! What the sidecar counts, and the port that shows it, for Prometheus.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use crate::{ending::Ending, exit::Exit};

/// How long one caller may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How many callers are answered at once, so that one that is silent keeps no other waiting.
const CALLS_LIMIT: usize = 8;
/// The most bytes of a request's head that are read.
const HEAD_MAX_BYTES: usize = 4096;

/// What is counted.
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

/// Every counter: its metric, its label, and what the metric says. Rows of one metric stand together.
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
const SIGNALS: &str = "Signals to the application after a change.";
/// Before every name.
const PREFIX: &str = "scaivault_agent_";

/// The counts of this process.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counts: [AtomicU64; COUNTERS.len()],
    /// When all files were last known to be as ScaiVault has them, seconds since 1970.
    fresh: AtomicU64,
}

impl Metrics {
    pub(crate) fn count(&self, counter: Counter) {
        self.counts[counter as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All files are as ScaiVault has them at `now`.
    pub(crate) fn fresh(&self, now: SystemTime) {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.fresh.store(seconds, Ordering::Relaxed);
    }

    /// The text format that Prometheus reads.
    fn text(&self) -> String {
        let mut text = String::new();
        let mut last = "";
        let mut line = |arguments: std::fmt::Arguments<'_>| {
            text.write_fmt(arguments).expect("writing into a String cannot fail");
        };
        for (counter, name, labels, help) in COUNTERS {
            if name != last {
                line(format_args!("# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} counter\n"));
                last = name;
            }
            let count = self.counts[counter as usize].load(Ordering::Relaxed);
            match labels {
                "" => line(format_args!("{PREFIX}{name} {count}\n")),
                _ => line(format_args!("{PREFIX}{name}{{{labels}}} {count}\n")),
            }
        }
        let name = "fresh_timestamp_seconds";
        let help = "When all files were last known to be as ScaiVault has them.";
        let fresh = self.fresh.load(Ordering::Relaxed);
        line(format_args!(
            "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} gauge\n{PREFIX}{name} {fresh}\n"
        ));
        text
    }
}

/// Opens the port; a port that cannot be had is found at the start.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Ending> {
    let listener = TcpListener::bind(address).await.map_err(|error| Ending {
        exit: Exit::Failed,
        message: format!("cannot listen on SCAIVAULT_METRICS_LISTEN={address}: {error}; choose a free port"),
    })?;
    // With port 0 it is another one than the configured.
    let bound = listener.local_addr().unwrap_or(address);
    tracing::info!(address = %bound, "showing metrics");
    Ok(listener)
}

/// Shows the counts to whoever asks for `/metrics`. Never returns.
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
                // What a caller does wrong is the caller's loss.
                calls.spawn(async move { drop(timeout(CALL_TIMEOUT, answer(stream, &metrics)).await) });
            }
            // Out of descriptors, most likely: pausing gives them time to come back.
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
        ("200 OK", metrics.text())
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
    async fn shows_what_was_counted() {
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

    #[tokio::test]
    async fn silent_callers_keep_no_other_waiting() {
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
        // One after the other they would all be waited for.
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
                answer.ends_with("scaivault_agent_fresh_timestamp_seconds 0\n")
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
