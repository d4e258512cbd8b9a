use scaivault_client::{AnnouncedChange, Changes, Login, Settings as ClientSettings, Timeouts, Trust};
use scaivault_contract::{Address, PlainHttp};
use scaivault_devserver::{DevServer, Effect, Fault, Issuer, Route, Seed, Settings};
use scaivault_inject::Settings as InjectSettings;
use scaivault_restarter::{Defaults, Kind, SourceKind, SourceRef};
use serde_json::json;
use tempfile::TempDir;

use super::*;

const SEED: &str = r#"
policies:
  restarter: [{path_pattern: "**", permissions: [list]}]
identities:
  - {id: "sa:restarter", service_accounts: [scaivault-system/restarter], policies: [restarter]}
secrets:
  a/one: {data: {a: b}}
  a/two: {data: {a: b}}
"#;

struct Fixture {
    follower: Follower,
    server: DevServer,
    _directory: TempDir,
}

impl Fixture {
    /// A follower of these paths, which one workload delivers.
    async fn new(paths: &[&str]) -> Self {
        let issuer = Arc::new(Issuer::generate().unwrap());
        let server = DevServer::start(Settings::for_tests(Seed::new(SEED).unwrap(), &issuer)).await.unwrap();
        let now = jiff::Timestamp::now();
        let token = issuer.mint("scaivault-system", "restarter", "scaivault", now, 3600).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let token_file = directory.path().join("token");
        std::fs::write(&token_file, token).unwrap();
        let client = Client::new(ClientSettings {
            address: Address::new(&server.url(), PlainHttp::LoopbackOnly).unwrap(),
            login: Login::Exchange { token_file, audience: "scaivault".to_owned(), role: None },
            trust: Trust { public: true, file: None },
            proxy: None,
            tenant: None,
            timeouts: Timeouts::default(),
        });
        let memory = Memory::new(Defaults::default(), InjectSettings::default(), None);
        let sender = watch::channel(Arc::default()).0;
        let client = Arc::new(client.unwrap());
        let mut follower = Follower::new(client, memory, Arc::default(), sender, Duration::from_mins(10));
        deliver(&follower.memory, paths);
        follower.find_new_paths();
        Self { follower, server, _directory: directory }
    }

    /// The number of the known version of a path.
    fn number(&self, path: &str) -> Option<u32> {
        let mut state = self.follower.memory.lock();
        let sources = &state.catalog.world().sources;
        let id = sources.find("", &SourceRef::new(SourceKind::ScaiVault, path))?;
        match sources.observed(id).current? {
            Version::Numbered { number, .. } => Some(number),
            Version::Label(_) => None,
        }
    }

    fn rotate(&self, path: &str) {
        self.server.handle().rotate(&path.parse().unwrap(), json!({"a": "c"}).as_object().cloned().unwrap());
    }

    fn metric(&self, name: &str) -> String {
        let page = self.follower.metrics.text(&self.follower.memory);
        let name = format!("scaivault_restarter_{name} ");
        page.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_default().to_owned()
    }
}

fn deliver(memory: &Memory, paths: &[&str]) {
    let secret = |(index, path): (usize, &&str)| {
        (format!("scaivault.scailabs.ai/inject-secret-{index}"), (*path).to_owned())
    };
    let annotations: BTreeMap<_, _> = paths.iter().enumerate().map(secret).collect();
    let object = json!({
        "metadata": {"namespace": "team", "name": "web", "uid": "u"},
        "spec": {"template": {
            "metadata": {"annotations": annotations},
            "spec": {"containers": [{"name": "app", "image": "app:1"}]},
        }},
    });
    memory.change(|state| state.put_workload(Kind::Deployment, &object));
}

#[tokio::test]
async fn new_paths_are_looked_up_and_missing_ones_counted() {
    let mut fixture = Fixture::new(&["a/one", "a/none", "a/two"]).await;
    fixture.follower.look_up().await;
    assert_eq!(["a/one", "a/two", "a/none"].map(|path| fixture.number(path)), [Some(1), Some(1), None]);
    assert_eq!(fixture.server.handle().requests(Route::ReadVersions), 1, "one call for all");
    assert_eq!(["vault_secrets", "vault_secrets_failing"].map(|name| fixture.metric(name)), ["3", "1"]);
    assert_ne!(fixture.metric("vault_complete_timestamp_seconds"), "0");
    // Nothing is due before the next round.
    fixture.follower.look_up().await;
    assert_eq!(fixture.server.handle().requests(Route::ReadVersions), 1);
    // Paths that are no longer delivered are removed; new ones are looked up.
    deliver(&fixture.follower.memory, &["a/two"]);
    fixture.follower.find_new_paths();
    fixture.follower.look_up().await;
    assert_eq!(fixture.follower.failing.len(), 0);
}

#[tokio::test]
async fn an_event_causes_a_look_up_of_its_version() {
    let mut fixture = Fixture::new(&["a/one", "a/two"]).await;
    fixture.follower.look_up().await;
    fixture.rotate("a/one");
    fixture.rotate("a/two");
    let announced = AnnouncedChange { version: Some(2), is_new_history: false };
    let event = Changes::Of([("a/one".parse().unwrap(), announced)].into());
    fixture.follower.receive(ListenerUpdate::Changed(event));
    fixture.follower.look_up().await;
    assert_eq!(["a/one", "a/two"].map(|path| fixture.number(path)), [Some(2), Some(1)]);
    // Events may have been lost, so everything is looked up.
    fixture.follower.receive(ListenerUpdate::Changed(Changes::Any));
    fixture.follower.look_up().await;
    assert_eq!(fixture.number("a/two"), Some(2));
    // The paths of a new subscription are looked up.
    fixture.rotate("a/two");
    fixture.follower.receive(ListenerUpdate::Covers(Arc::new(["a/two".parse().unwrap()].into())));
    fixture.follower.look_up().await;
    assert_eq!(fixture.number("a/two"), Some(3));
}

#[tokio::test]
async fn a_new_subscription_is_connected_until_it_fails() {
    let mut fixture = Fixture::new(&["a/one"]).await;
    let subscription = "sub_7".parse().unwrap();
    for (update, expected) in [
        (ListenerUpdate::Subscribed(subscription), "1"),
        (ListenerUpdate::Disconnected, "0"),
        (ListenerUpdate::Connected, "1"),
    ] {
        fixture.follower.receive(update);
        assert_eq!(fixture.metric("vault_events_connected"), expected);
    }
}

#[tokio::test]
async fn a_failed_call_keeps_known_versions_and_is_repeated() {
    let mut fixture = Fixture::new(&["a/one"]).await;
    fixture.follower.look_up().await;
    fixture.rotate("a/one");
    let effect = Effect::Refuse { code: "service_unavailable".to_owned(), retry_after: None };
    fixture.server.handle().add_fault(Fault { route: Some(Route::ReadVersions), effect, times: None });
    fixture.follower.receive(ListenerUpdate::Changed(Changes::Any));
    fixture.follower.look_up().await;
    assert_eq!((fixture.number("a/one"), fixture.follower.failing.len()), (Some(1), 0));
    assert!(fixture.follower.backoff.is_waiting(Instant::now()));
    assert_eq!(fixture.metric("vault_calls_total{result=\"failed\"}"), "1");
    fixture.server.handle().clear_faults();
    fixture.follower.look_up().await;
    assert_eq!(fixture.number("a/one"), Some(2));
    assert!(!fixture.follower.backoff.is_waiting(Instant::now()));
}
