//! Mounts over a real Unix socket and with the development server: the responses to the driver, and attacks
//! of pods' authors.

mod policies;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use scaivault_devserver::{DevServer, Effect, Fault, Handle, Issuer, Route, Seed, Settings};
use scaivault_testkit::{
    api_server::ApiServer,
    eventually,
    world::{Door, World},
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tonic::{Code, transport::Channel};

use super::*;
use crate::{
    config::ConfigFlags, generated::csi_driver_provider_client::CsiDriverProviderClient, ops,
    serve::serve_incoming, socket::BoundSocket,
};

/// How long a test waits for an event.
const LIMIT: Duration = Duration::from_mins(1);

const SEED: &str = r#"
policies:
  billing: [{path_pattern: "app/**", permissions: [read]}, {path_pattern: "pods/**", permissions: [read]}]
identities:
  - id: sa:billing
    service_accounts: [billing/web]
    policies: [billing]
    dynamic: [postgres/readonly]
engines:
  postgres: {roles: {readonly: {default_ttl: 1h, max_ttl: 24h}}}
secrets:
  app/database: {data: {username: billing, password: "swordfish 'quoted'", port: 5432}}
  app/stripe: {data: {key: "sk-swordfish"}}
  app/large: {data: {key: "LARGE"}}
  pods/web-0: {data: {key: "swordfish of web-0"}}
  other/secret: {data: {key: "sk-swordfish"}}
"#;

const OBJECTS: &str =
    "[{path: app/database, file: db.json}, {path: app/stripe, file: stripe/key, field: key}]";

/// A short limit, because tests wait for servers that hang. Nothing else takes this long.
const DEADLINES: Deadlines = Deadlines {
    mount: Duration::from_secs(3),
    turn: Duration::from_secs(2),
    facts: Duration::from_millis(100),
    repeat: Duration::from_millis(600),
};

/// A node with a provider, its socket and a ScaiVault.
struct Node {
    driver: CsiDriverProviderClient<Channel>,
    provider: Provider,
    issuer: Arc<Issuer>,
    vault: Handle,
    world: World,
    following: Option<tokio::task::JoinSet<()>>,
    _server: DevServer,
    stop: oneshot::Sender<()>,
    dir: TempDir,
}

impl Node {
    async fn new() -> Self {
        Self::with(SEED).await
    }

    /// The resources that are released with the pods of this node.
    fn resources(&self) -> PodResources {
        let Inner { leases, logins, events, .. } = &*self.provider.0;
        PodResources::new(leases.clone(), Arc::clone(logins), Arc::clone(events))
    }

    /// Starts the next process of the provider on this node.
    fn restarted(&self) -> Provider {
        node_provider(&self.world, self.dir.path(), None, DEADLINES)
    }

    async fn with(seed: &str) -> Self {
        Self::with_deadlines(seed, DEADLINES).await
    }

    async fn with_deadlines(seed: &str, deadlines: Deadlines) -> Self {
        let issuer = Arc::new(Issuer::generate().unwrap());
        let server = DevServer::start(Settings::for_tests(Seed::new(seed).unwrap(), &issuer)).await.unwrap();
        let world = World::start(server.address(), 1).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let provider = node_provider(&world, dir.path(), None, deadlines);
        let path = dir.path().join("scaivault.sock");
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(run(provider.clone(), path.clone(), stopped));
        let driver = CsiDriverProviderClient::new(connect(path).await);
        let (vault, following) = (server.handle(), None);
        Self { driver, provider, issuer, vault, world, following, _server: server, stop, dir }
    }

    /// Replaces the provider by one that applies the policies of a cluster.
    async fn follow(&mut self, api: &kube::Client, deadlines: Deadlines) {
        let dir = self.dir.path().join("policies");
        std::fs::create_dir(&dir).unwrap();
        let node = NodeSettings { name: "node-a".parse().unwrap(), has_policies: true };
        self.provider = node_provider(&self.world, &dir, Some(node), deadlines);
        self.following = Some(self.provider.cluster().unwrap().follow(api));
        let path = dir.join("scaivault.sock");
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(run(self.provider.clone(), path.clone(), stopped));
        self.stop = stop;
        self.driver = CsiDriverProviderClient::new(connect(path).await);
    }

    fn is_ready(&self) -> bool {
        self.provider.cluster().unwrap().is_ready()
    }

    fn token(&self, service_account: &str, pod: (&str, &str)) -> String {
        let now = jiff::Timestamp::now();
        self.issuer.mint_for_pod("billing", service_account, "scaivault", now, pod).unwrap()
    }

    /// The attributes of a volume of a known pod, with the pod's own token.
    fn attributes(&self, pod: (&str, &str), objects: &str) -> Map<String, Value> {
        self.provider.leases().unwrap().start_pod(pod.1);
        self.attributes_of_unknown(pod, objects)
    }

    /// The same for a pod that the provider may not know.
    fn attributes_of_unknown(&self, pod: (&str, &str), objects: &str) -> Map<String, Value> {
        let tokens = json!({
            "scaivault": {"token": self.token("web", pod), "expirationTimestamp": "2030-01-01T00:00:00Z"},
            "vault": {"token": "another-swordfish", "expirationTimestamp": "2030-01-01T00:00:00Z"},
        });
        let all = json!({
            "csi.storage.k8s.io/pod.name": pod.0,
            "csi.storage.k8s.io/pod.namespace": "billing",
            "csi.storage.k8s.io/pod.uid": pod.1,
            "csi.storage.k8s.io/serviceAccount.name": "web",
            "csi.storage.k8s.io/serviceAccount.tokens": tokens.to_string(),
            "csi.storage.k8s.io/ephemeral": "true",
            "secretProviderClass": "billing-secrets",
            "objects": objects,
        });
        all.as_object().unwrap().clone()
    }

    async fn mount(&self, attributes: Map<String, Value>) -> Result<MountResponse, Status> {
        let answer = self.driver.clone().mount(request(attributes)).await;
        if let Err(status) = &answer {
            assert!(!status.message().contains("swordfish"), "a value in the event: {status}");
        }
        answer.map(Response::into_inner)
    }

    async fn mount_objects(&self, objects: &str) -> Result<MountResponse, Status> {
        self.mount(self.attributes(("web-0", "u-0"), objects)).await
    }

    #[track_caller]
    fn check_requests(&self, logins: u64, reads: u64) {
        assert_eq!((self.vault.requests(Route::Exchange), self.vault.requests(Route::Read)), (logins, reads));
    }
}

/// A call of the driver.
fn request(attributes: Map<String, Value>) -> MountRequest {
    MountRequest {
        attributes: Value::from(attributes).to_string(),
        secrets: "null".to_owned(),
        permission: "420".to_owned(),
        target_path: "/var/lib/kubelet/pods/x/volumes/kubernetes.io~csi/secrets/mount".to_owned(),
        ..MountRequest::default()
    }
}

/// Another address of the same server.
fn other_url(world: &World) -> String {
    world.url().replace("127.0.0.1", "localhost")
}

/// A provider with the state of `dir`. No pod is reported as deleted.
fn node_provider(world: &World, dir: &Path, node: Option<NodeSettings>, deadlines: Deadlines) -> Provider {
    let given =
        ConfigFlags { url: world.url(), allow_urls: vec![other_url(world)], ca_file: None, file: None };
    let config = Arc::new(Config::read(given).unwrap());
    Provider::new(Parts {
        config,
        versions: Versions::open(dir).unwrap(),
        leases: Some(StateFile::new(dir)),
        node,
        session: SessionFile::new(dir),
        listener: "scaivault-csi-provider/scaivault/node-a".to_owned(),
        deadlines,
    })
    .unwrap()
}

async fn run(provider: Provider, path: PathBuf, stopped: oneshot::Receiver<()>) {
    let (_socket, incoming) = BoundSocket::bind(&path).unwrap();
    serve_incoming(provider, incoming, async { drop(stopped.await) }).await.unwrap();
}

async fn connect(path: PathBuf) -> Channel {
    eventually(LIMIT, "the socket", async || ops::connect(path.clone()).await.ok()).await
}

fn contents<'a>(response: &'a MountResponse, path: &str) -> &'a str {
    let file = response.files.iter().find(|file| file.path == path).unwrap();
    str::from_utf8(&file.contents).unwrap()
}

#[tokio::test]
async fn mounts_whole_secrets_and_fields() {
    let node = Node::new().await;
    let version = node.driver.clone().version(VersionRequest::default()).await.unwrap().into_inner();
    assert_eq!(
        (version.version.as_str(), version.runtime_name.as_str()),
        ("v1alpha1", "scaivault-csi-provider")
    );
    let response = node.mount_objects(OBJECTS).await.unwrap();
    let expected = r#"{"password":"swordfish 'quoted'","port":5432,"username":"billing"}"#;
    assert_eq!(contents(&response, "db.json"), expected);
    assert_eq!(contents(&response, "stripe/key"), "sk-swordfish");
    assert!(response.files.iter().all(|file| file.mode == 0o444) && response.error.is_none());
    let ids: Vec<_> = response.object_version.iter().map(|object| object.id.as_str()).collect();
    assert_eq!(ids, ["db.json", "stripe/key"]);
}

#[tokio::test]
async fn a_republish_costs_no_request() {
    let node = Node::new().await;
    let attributes = node.attributes(("web-0", "u-0"), OBJECTS);
    let first = node.mount(attributes.clone()).await.unwrap();
    for _ in 0..20 {
        assert_eq!(node.mount(attributes.clone()).await.unwrap(), first);
    }
    node.check_requests(1, 2);
    // Another pod of the same service account logs in itself, but its secrets are cached.
    node.mount(node.attributes(("web-1", "u-1"), OBJECTS)).await.unwrap();
    node.check_requests(2, 2);
}

#[tokio::test]
async fn concurrent_mounts_share_requests() {
    let node = Node::new().await;
    let attributes = node.attributes(("web-0", "u-0"), OBJECTS);
    let mounts: Vec<_> = (0..32).map(|_| node.mount(attributes.clone())).collect();
    let answers = stream::iter(mounts).buffer_unordered(32).collect::<Vec<_>>().await;
    assert!(answers.iter().all(Result::is_ok));
    node.check_requests(1, 2);
}

#[tokio::test]
async fn a_new_version_arrives_after_the_refresh_interval() {
    let node = Node::new().await;
    let attributes = node.attributes(("web-0", "u-0"), OBJECTS);
    let before = node.mount(attributes.clone()).await.unwrap();
    let data = json!({"key": "rotated-swordfish"}).as_object().unwrap().clone();
    node.vault.rotate(&"app/stripe".parse().unwrap(), data);
    node.provider.0.secrets.forget_idle(Instant::now() + Duration::from_mins(20));
    let after = node.mount(attributes).await.unwrap();
    assert_eq!(contents(&after, "stripe/key"), "rotated-swordfish");
    assert_eq!(before.object_version[0], after.object_version[0]);
    assert_ne!(before.object_version[1], after.object_version[1]);
}

#[tokio::test]
async fn each_pod_has_its_own_path() {
    let node = Node::new().await;
    let objects = "[{path: 'pods/${POD_NAME}', file: key, field: key}]";
    let response = node.mount_objects(objects).await.unwrap();
    assert_eq!(contents(&response, "key"), "swordfish of web-0");
    let status = node.mount(node.attributes(("web-1", "u-1"), objects)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("pods/web-1"), "{status}");
}

#[tokio::test]
async fn failures_are_reported_with_a_fix() {
    let node = Node::new().await;
    let objects = "[{path: app/none, file: a}, {path: other/secret, file: b}, {path: app/stripe, file: c}]";
    let status = node.mount_objects(objects).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    for expected in ["app/none", "other/secret", "add a policy", "check its name"] {
        assert!(status.message().contains(expected), "{expected}: {status}");
    }
    let status = node.mount_objects("[{path: app/stripe, file: a, field: none}]").await.unwrap_err();
    assert!(status.message().contains("has no field \"none\""), "{status}");
    let status = node.mount_objects("[{path: app/stripe, file: ../a}]").await.unwrap_err();
    assert!(status.message().contains("no segment may start with .."), "{status}");
}

#[tokio::test]
async fn missing_optional_files_are_omitted() {
    let node = Node::new().await;
    let objects = "[{path: app/none, file: a, optional: true}, {path: app/stripe, file: b}]";
    assert_eq!(node.mount_objects(objects).await.unwrap().files.len(), 1);
    let status = node.mount_objects("[{path: app/none, file: a, optional: true}]").await.unwrap_err();
    assert!(status.message().contains("a volume needs a file"), "{status}");
    let denied = "[{path: other/secret, file: a, optional: true}, {path: app/stripe, file: b}]";
    assert_eq!(node.mount_objects(denied).await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn answers_are_capped_at_one_mebibyte() {
    let node = Node::with(&SEED.replace("LARGE", &"x".repeat(600_000))).await;
    let objects = "[{path: app/large, file: a, field: key}, {path: app/large, file: b, field: key}]";
    let status = node.mount_objects(objects).await.unwrap_err();
    assert!(status.message().contains("more than 1048576 bytes together"), "{status}");
}

#[tokio::test]
async fn a_forged_token_gets_nothing_from_memory() {
    let node = Node::new().await;
    let genuine = node.attributes(("web-0", "u-0"), OBJECTS);
    node.mount(genuine.clone()).await.unwrap();
    // The claims are right and the signature is that of another issuer: a pod can write this if the driver
    // requests no tokens.
    let stranger = Issuer::generate().unwrap();
    let now = jiff::Timestamp::now();
    let forged = stranger.mint_for_pod("billing", "web", "scaivault", now, ("web-0", "u-0")).unwrap();
    let mut attributes = genuine.clone();
    let tokens = json!({"scaivault": {"token": forged}}).to_string();
    attributes.insert("csi.storage.k8s.io/serviceAccount.tokens".to_owned(), tokens.into());
    assert_eq!(node.mount(attributes).await.unwrap_err().code(), Code::Unauthenticated);
    node.mount(genuine).await.unwrap();
    node.check_requests(2, 2);
}

#[tokio::test]
async fn a_pod_cannot_choose_server_audience_or_role() {
    let node = Node::new().await;
    for (parameter, value) in
        [("base_url", "https://evil.example"), ("audience", "vault"), ("role", "sa:admin")]
    {
        let mut attributes = node.attributes(("web-0", "u-0"), OBJECTS);
        attributes.insert(parameter.to_owned(), value.into());
        let status = node.mount(attributes).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        assert!(status.message().contains(parameter), "{status}");
    }
    node.check_requests(0, 0);
}

#[tokio::test]
async fn another_pods_token_is_refused_unsent() {
    let node = Node::new().await;
    let mut attributes = node.attributes(("web-0", "u-0"), OBJECTS);
    let tokens = json!({"scaivault": {"token": node.token("web", ("web-1", "u-1"))}}).to_string();
    attributes.insert("csi.storage.k8s.io/serviceAccount.tokens".to_owned(), tokens.into());
    assert_eq!(node.mount(attributes).await.unwrap_err().code(), Code::Unauthenticated);
    node.check_requests(0, 0);
}

#[tokio::test]
async fn huge_requests_are_refused() {
    let node = Node::new().await;
    for bytes in [2 * 1024 * 1024, 64 * 1024 * 1024] {
        let mut attributes = node.attributes(("web-0", "u-0"), OBJECTS);
        attributes.insert("objects".to_owned(), "x".repeat(bytes).into());
        let status = node.mount(attributes).await.unwrap_err();
        assert!(!is_harmful(status.code()), "{:?}", status.code());
    }
    let many = "- {path: a, file: a}\n".repeat(10_000);
    let status = node.mount_objects(&many).await.unwrap_err();
    assert!(status.message().contains("allowed: 256"), "{status}");
    node.mount_objects(OBJECTS).await.unwrap();
}

#[tokio::test]
async fn the_event_of_a_failure_is_the_same_each_time() {
    let node = Node::new().await;
    let mut texts = Vec::new();
    for _ in 0..2 {
        let objects = "[{path: app/absent, file: a}, {path: other/secret, file: b}]";
        texts.push(node.mount_objects(objects).await.unwrap_err().message().to_owned());
    }
    assert_eq!(texts[0], texts[1]);
    assert!(texts[0].contains("(secret_not_found, status 404)"), "{}", texts[0]);
}

/// After these the driver mounts an empty directory.
fn is_harmful(code: Code) -> bool {
    let harmful = [
        Code::Ok,
        Code::Cancelled,
        Code::DeadlineExceeded,
        Code::ResourceExhausted,
        Code::Aborted,
        Code::Unavailable,
    ];
    harmful.contains(&code)
}

#[tokio::test]
async fn no_failure_of_scaivault_mounts_an_empty_volume() {
    let node = Node::new().await;
    let refusals = [
        "invalid_path",
        "token_invalid",
        "access_denied",
        "mfa_required",
        "secret_not_found",
        "identity_not_found",
        "version_conflict",
        "validation_error",
        "rate_limited",
        "internal_error",
        "service_unavailable",
    ];
    let answers = [200, 301, 404, 410, 418, 429, 500, 502, 504]
        .map(|status| Effect::Answer { status, body: "<html>".to_owned() });
    let effects = refusals.map(Effect::refuse).into_iter().chain(answers).chain([Effect::Hang]);
    for effect in effects {
        for route in [Route::Exchange, Route::Read] {
            let pod = format!("{route:?}-{effect:?}").to_lowercase();
            let uid = pod.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            node.vault.add_fault(Fault::on(route, effect.clone()));
            let answer = node.mount(node.attributes(("web-0", &uid), OBJECTS)).await.unwrap_err();
            assert!(!is_harmful(answer.code()), "{route:?} {effect:?}: {answer}");
            let names = ["service account billing/web", "app/database"];
            assert!(names.iter().any(|name| answer.message().contains(name)), "{answer}");
            node.vault.clear_faults();
        }
    }
    node.mount_objects(OBJECTS).await.unwrap();
}

#[tokio::test]
async fn no_failure_of_the_network_mounts_an_empty_volume() {
    let node = Node::new().await;
    for door in [Door::Closed, Door::Silent, Door::Says(b"SSH-2.0".to_vec())] {
        node.world.set_door(door);
        let answer = node.mount_objects(OBJECTS).await.unwrap_err();
        assert!(!is_harmful(answer.code()), "{answer}");
    }
    node.world.clear();
    node.mount_objects(OBJECTS).await.unwrap();
}

#[tokio::test]
async fn failures_that_a_class_can_cause_are_not_unreachable() {
    let node = Node::new().await;
    let count = |outcome: &str| {
        let (metrics, start) = (node.provider.metrics(), format!("mounts_total{{outcome=\"{outcome}\"}} "));
        let (_, rest) = metrics.split_once(&start).unwrap();
        rest.lines().next().unwrap().parse::<u64>().unwrap()
    };
    for fault in [Effect::refuse("service_unavailable"), Effect::Hang] {
        node.vault.add_fault(Fault::on(Route::Exchange, fault));
        node.mount_objects(OBJECTS).await.unwrap_err();
        node.vault.clear_faults();
    }
    node.world.set_door(Door::Closed);
    node.mount_objects(OBJECTS).await.unwrap_err();
    node.world.clear();
    assert_eq!(count("unreachable"), 3);
    // Its proxy has no backend. The login is cached, so that only reads fail.
    node.mount_objects("[{path: pods/web-0, file: a}]").await.unwrap();
    for status in [502, 503] {
        let body = "<html>".to_owned();
        node.vault.add_fault(Fault::on(Route::Read, Effect::Answer { status, body }));
        node.mount_objects(OBJECTS).await.unwrap_err();
        node.vault.clear_faults();
    }
    assert_eq!(count("unreachable"), 5);
    // The pod's login is cached, and one of its secrets is slow or fails in the system from which ScaiVault
    // reads it.
    for (route, objects) in [(Route::Read, OBJECTS), (Route::Generate, leases::DYNAMIC)] {
        for fault in [Effect::refuse("service_unavailable"), Effect::Hang] {
            node.vault.add_fault(Fault::on(route, fault));
            node.mount_objects(objects).await.unwrap_err();
            node.vault.clear_faults();
        }
    }
    assert_eq!((count("unreachable"), count("transient") + count("late")), (5, 4));
    // The class has selected another address.
    node.world.set_door(Door::Closed);
    let mut elsewhere = node.attributes(("web-0", "u-1"), OBJECTS);
    elsewhere.insert("base_url".to_owned(), other_url(&node.world).into());
    node.mount(elsewhere).await.unwrap_err();
    assert_eq!((count("unreachable"), count("transient") + count("late")), (5, 5));
}

#[tokio::test]
async fn a_failure_that_passes_is_repeated() {
    let patient = Deadlines { mount: Duration::from_mins(1), repeat: Duration::from_mins(1), ..DEADLINES };
    let node = Node::with_deadlines(SEED, patient).await;
    node.vault.add_fault(Fault::refuse(Route::Exchange, "service_unavailable", 1));
    node.vault.add_fault(Fault::refuse(Route::Read, "internal_error", 1));
    node.mount_objects(OBJECTS).await.unwrap();
    let metrics = node.provider.metrics();
    assert!(metrics.contains("mounts_total{outcome=\"done\"} 1"), "{metrics}");
    assert!(metrics.contains("_logins 1") && metrics.contains("_cached_secrets 2"), "{metrics}");
}

#[tokio::test]
async fn unused_logins_and_secrets_are_removed() {
    let node = Node::new().await;
    node.mount_objects(OBJECTS).await.unwrap();
    let later = Instant::now() + Duration::from_hours(1);
    node.provider.0.logins.forget_idle(later);
    node.provider.0.secrets.forget_idle(later);
    assert_eq!((node.provider.0.logins.count(), node.provider.0.secrets.count()), (0, 0));
}

mod attacks;
mod events;
mod leases;

/// Polls until a condition is true.
#[track_caller]
fn until(mut is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    eventually(LIMIT, "this condition", async move || is_so().then_some(()))
}
