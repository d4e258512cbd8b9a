//! Two replicas behind a load balancer, one of which lags.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use scaivault_devserver::Route;
use scaivault_testkit::world::{Calls, Chance, Misbehaviour};

use crate::{
    application::{Application, SIGNAL},
    site::Site,
    support::{data, until},
};

/// Reads a file continuously and records its contents in order, without repetitions.
struct Reader {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Reader {
    fn start(file: PathBuf) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let read = move || {
            let mut seen: Vec<String> = Vec::new();
            while !over.load(Ordering::Relaxed) {
                if let Ok(text) = fs::read_to_string(&file)
                    && seen.last() != Some(&text)
                {
                    seen.push(text);
                }
                thread::park_timeout(Duration::from_millis(1));
            }
            seen
        };
        Self { is_over, thread: thread::spawn(read) }
    }

    fn end(self) -> Vec<String> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

async fn changes_arrive_once(more: &[(&str, &str)], secrets: usize) {
    let site = Site::with(&seed(secrets)).await;
    let entries: Vec<_> = (0..secrets).map(|n| (format!("app/s{n}#key"), format!("s{n}"))).collect();
    let watch = site.pod.mapping(&entries.iter().map(|(s, t)| (s.as_str(), t.as_str())).collect::<Vec<_>>());
    let file = site.pod.path("secrets/s0");
    let application = Application::start(&[&file]).await;
    let mut variables = vec![
        ("WATCH_PATHS", watch.as_str()),
        ("REFRESH_INTERVAL", "1s"),
        ("RELOAD_SIGNAL", SIGNAL),
        ("RELOAD_TARGET", application.name()),
    ];
    variables.extend(more);
    site.world.add(Calls::READ, Chance::EveryOther, Misbehaviour::Lag(Duration::from_secs(4)));
    let sidecar = site.sidecar(&variables);
    until(|| site.pod.secret("s0").as_deref() == Some("1")).await;
    let reader = Reader::start(file);
    let reads = || site.pod.vault.requests(Route::Read);
    for version in ["2", "3", "4"] {
        site.pod.vault.rotate(&"app/s0".parse().unwrap(), data(version));
        until(|| site.pod.secret("s0").as_deref() == Some(version)).await;
        // Enough reads that the lagging replica has been used several times.
        let before = reads();
        until(|| reads() >= before + 6).await;
    }
    until(|| application.read() == "4").await;
    let signals = application.signals();
    let ended = sidecar.end().await;
    assert_eq!(reader.end(), ["1", "2", "3", "4"], "{}", ended.log);
    assert!(signals <= 3, "{signals} signals for three changes: {}", ended.log);
    ended.check(0, &[]);
}

fn seed(secrets: usize) -> String {
    let secrets = (0..secrets).map(|n| format!("  app/s{n}: {{data: {{key: \"1\"}}}}\n"));
    let secrets = secrets.collect::<Vec<_>>().concat();
    format!(
        "policies: {{billing: [{{path_pattern: 'app/**', permissions: [read]}}]}}\n\
         identities: [{{id: 'sa:billing', service_accounts: ['billing/web'], policies: [billing]}}]\n\
         secrets:\n{secrets}"
    )
}

#[tokio::test]
async fn a_file_is_never_reverted_to_an_older_version() {
    changes_arrive_once(&[], 1).await;
}

/// The event contains the version, but the replica that is read next does not have it yet.
#[tokio::test]
async fn an_event_that_precedes_the_replica_is_not_forgotten() {
    changes_arrive_once(&[("REFRESH_ON_EVENT", "true")], 1).await;
}

/// The version floor survives a restart.
#[tokio::test]
async fn a_restart_does_not_revert_a_file() {
    let site = Site::new().await;
    let watch = site.pod.mapping(&[("app/stripe#key", "key")]);
    let state = site.state();
    let variables = [
        ("WATCH_PATHS", watch.as_str()),
        ("REFRESH_INTERVAL", "1s"),
        ("SCAIVAULT_STATE_DIR", state.as_str()),
    ];
    let sidecar = site.sidecar(&variables);
    until(|| site.pod.secret("key").is_some()).await;
    site.pod.vault.rotate(&"app/stripe".parse().unwrap(), data("2"));
    until(|| site.pod.secret("key").as_deref() == Some("2")).await;
    sidecar.kill_after(Duration::ZERO).await;
    let reader = Reader::start(site.pod.path("secrets/key"));
    site.world.add(Calls::READ, Chance::Always, Misbehaviour::Lag(Duration::from_secs(3)));
    let reads = site.pod.vault.requests(Route::Read);
    let sidecar = site.sidecar(&variables);
    site.pod.requested(Route::Read, reads + 3).await;
    site.world.clear();
    site.pod.vault.rotate(&"app/stripe".parse().unwrap(), data("3"));
    until(|| site.pod.secret("key").as_deref() == Some("3")).await;
    let ended = sidecar.end().await;
    assert_eq!(reader.end(), ["2", "3"], "{}", ended.log);
}

/// Its versions start again, which must not be mistaken for a lagging replica.
#[tokio::test]
async fn a_recreated_secret_arrives() {
    let site = Site::new().await;
    let watch = site.pod.mapping(&[("app/stripe#key", "key")]);
    let variables = [("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1s")];
    let sidecar = site.sidecar(&variables);
    let path = "app/stripe".parse().unwrap();
    for version in ["2", "3"] {
        until(|| site.pod.secret("key").is_some()).await;
        site.pod.vault.rotate(&path, data(version));
        until(|| site.pod.secret("key").as_deref() == Some(version)).await;
    }
    assert!(site.pod.vault.delete_for_good(&path));
    let reads = site.pod.vault.requests(Route::Read);
    site.pod.requested(Route::Read, reads + 2).await;
    assert_eq!(site.pod.vault.write(&path, data("again")), 1);
    until(|| site.pod.secret("key").as_deref() == Some("again")).await;
    sidecar.end().await.check(0, &[]);
}
