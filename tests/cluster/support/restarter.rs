//! The restart controller as the built program, with a control plane of its own: it acts on all workloads of a cluster.

use std::{net::SocketAddr, path::Path, process::Command};

use kube::{
    Client,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use scaivault_testkit::control_plane::{ControlPlane, Directory, Options, Program};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::{TIMEOUT, api, chain, cluster_api, create, eventually, ops, policies, run};

/// No waiting but what is needed.
const FAST: [&str; 8] = [
    "--native-secrets",
    "--debounce=2s",
    "--jitter=0s",
    "--minimum-interval=0s",
    "--breaker-restarts=1000",
    "--wave-pause=0s",
    "--clock-skew=0s",
    "--observation=0s",
];

/// The annotation in templates.
pub(crate) const MARKER: &str = scaivault_restarter::MARKER;

static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
/// Each test has the cluster for itself.
static TURN: Mutex<()> = Mutex::const_new(());

/// A cluster that no other test uses meanwhile, and a namespace in it.
pub(crate) struct Cluster {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Waits for its turn. Workloads of former tests are gone.
    pub(crate) async fn new(name: &str) -> Self {
        let turn = TURN.lock().await;
        let plane = SHARED
            .get_or_init(|| async {
                let options = Options { nodes: 2, ..Options::default() };
                let plane = ControlPlane::start(&options).await.map_err(|error| chain(&error))?;
                policies::define(&plane).await;
                policies::apply(&plane, scaivault_restarter::definition());
                Ok(plane)
            })
            .await;
        let plane = plane.as_ref().unwrap_or_else(|error| panic!("no control plane: {error}"));
        let client = plane.client().await.unwrap();
        let namespaces = cluster_api(&client, "v1", "Namespace");
        create(&namespaces, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
            .await
            .unwrap();
        eventually("the service account", async || {
            api(&client, "v1", "ServiceAccount", name).get_opt("default").await.unwrap()
        })
        .await;
        Self { plane, client, namespace: name.to_owned(), _turn: turn }
    }

    /// Makes a Secret, whose version is that of the second in which it is made.
    pub(crate) async fn secret(&self, name: &str, annotations: Value) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "annotations": annotations},
            "stringData": {"key": "0"},
        });
        create(&api(&self.client, "v1", "Secret", &self.namespace), secret).await.unwrap();
    }

    /// Writes new data, in a later second than the data before. Returns that second's text.
    pub(crate) async fn rotate(&self, name: &str) -> String {
        let secrets = api(&self.client, "v1", "Secret", &self.namespace);
        let before = written(&secrets.get(name).await.unwrap());
        eventually("a later second", async || {
            let after = self.write(name).await;
            (after > before).then_some(after)
        })
        .await
    }

    /// Writes new data, perhaps in the same second.
    pub(crate) async fn write(&self, name: &str) -> String {
        let data = json!({"stringData": {"key": random()}});
        let params = PatchParams { field_manager: Some("rotator".to_owned()), ..PatchParams::default() };
        let secrets = api(&self.client, "v1", "Secret", &self.namespace);
        written(&secrets.patch(name, &params, &Patch::Merge(&data)).await.unwrap())
    }

    /// When data was last written.
    pub(crate) async fn written(&self, name: &str) -> String {
        written(&api(&self.client, "v1", "Secret", &self.namespace).get(name).await.unwrap())
    }

    /// The `status` of all `RotationRollouts`.
    pub(crate) async fn records(&self) -> Vec<Value> {
        let records = api(&self.client, "scaivault.scailabs.ai/v1alpha1", "RotationRollout", &self.namespace);
        let records = records.list(&ListParams::default()).await.unwrap();
        records.into_iter().map(|record| record.data["status"].clone()).collect()
    }

    /// How many templates all Deployments have had.
    pub(crate) async fn replica_sets_of_all(&self) -> usize {
        let sets = api(&self.client, "apps/v1", "ReplicaSet", &self.namespace);
        sets.list(&ListParams::default()).await.unwrap().items.len()
    }

    /// Makes a workload whose container has a variable of the Secret.
    pub(crate) async fn workload(&self, kind: &str, name: &str, secret: &str, annotations: Value) -> Value {
        let manifest = manifest(kind, name, secret, annotations);
        create(&api(&self.client, "apps/v1", kind, &self.namespace), manifest).await.unwrap()
    }

    pub(crate) async fn get(&self, kind: &str, name: &str) -> Value {
        let object = api(&self.client, "apps/v1", kind, &self.namespace).get(name).await.unwrap();
        serde_json::to_value(object).unwrap()
    }

    /// The `status` of a workload's `RotationRollout`; null without.
    pub(crate) async fn record(&self, kind: &str, name: &str) -> Value {
        let records = api(&self.client, "scaivault.scailabs.ai/v1alpha1", "RotationRollout", &self.namespace);
        let name = format!("{}-{name}", kind.to_ascii_lowercase());
        let record = records.get_opt(&name).await.unwrap();
        record.map_or(Value::Null, |record| record.data["status"].clone())
    }

    /// Waits until the record of a workload is as it should be.
    #[track_caller]
    pub(crate) fn until_record<'a>(
        &'a self,
        kind: &'a str,
        name: &'a str,
        is_right: impl Fn(&Value) -> bool + 'a,
    ) -> impl Future<Output = Value> + 'a {
        eventually("the RotationRollout as it should be", async move || {
            let record = self.record(kind, name).await;
            is_right(&record).then_some(record)
        })
    }

    /// Waits until the workload is known.
    #[track_caller]
    pub(crate) fn until_known<'a>(
        &'a self,
        kind: &'a str,
        name: &'a str,
    ) -> impl Future<Output = Value> + 'a {
        self.until_record(kind, name, |record| {
            record["phase"] == "Current" && record["accepted"].as_array().is_some_and(|list| !list.is_empty())
        })
    }

    /// Waits until a workload was restarted and is complete.
    #[track_caller]
    pub(crate) fn until_restarted<'a>(
        &'a self,
        kind: &'a str,
        name: &'a str,
        times: usize,
    ) -> impl Future<Output = Value> + 'a {
        self.until_record(kind, name, move |record| {
            record["phase"] == "Current"
                && record["restarts"].as_array().is_some_and(|list| list.len() == times)
        })
    }

    /// How many templates a Deployment has had.
    pub(crate) async fn replica_sets(&self, name: &str) -> usize {
        let list = ListParams::default().labels(&format!("app={name}"));
        api(&self.client, "apps/v1", "ReplicaSet", &self.namespace).list(&list).await.unwrap().items.len()
    }

    /// Deletes the namespace's workloads, so that the next test's controller does not see them.
    pub(crate) async fn end(self) {
        let namespaces = cluster_api(&self.client, "v1", "Namespace");
        namespaces.delete(&self.namespace, &kube::api::DeleteParams::default()).await.unwrap();
        eventually("the namespace's end", async || {
            namespaces.get_opt(&self.namespace).await.unwrap().is_none().then_some(())
        })
        .await;
    }
}

/// A workload whose container has a variable of a Secret.
#[expect(clippy::needless_pass_by_value, reason = "callers write JSON in place")]
pub(crate) fn manifest(kind: &str, name: &str, secret: &str, annotations: Value) -> Value {
    let labels = json!({"app": name});
    let variable = json!({"name": "KEY", "valueFrom": {"secretKeyRef": {"name": secret, "key": "key"}}});
    let mut spec = json!({
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"terminationGracePeriodSeconds": 0,
                     "containers": [{"name": "app", "image": "app:1", "env": [variable]}]},
        },
    });
    if kind != "DaemonSet" {
        spec["replicas"] = 1.into();
    }
    if kind == "Deployment" {
        spec["revisionHistoryLimit"] = 1000.into();
    }
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "annotations": annotations}, "spec": spec})
}

/// How much of something a test does: little, or what an environment variable says.
#[expect(
    clippy::disallowed_methods,
    reason = "sizes come in by the environment, as the test runner has no flags"
)]
pub(crate) fn size(variable: &str, small: usize) -> usize {
    std::env::var(variable).map_or(small, |text| text.parse().unwrap())
}

fn written(secret: &DynamicObject) -> String {
    let managed = secret.metadata.managed_fields.iter().flatten();
    managed.filter_map(|entry| Some(entry.time.as_ref()?.0.to_string())).max().unwrap()
}

/// Some text.
fn random() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(()).to_string()
}

/// `scaivault-injector restarter` on a free port. Killed when dropped, and when the test is killed.
pub(crate) struct Restarter {
    program: Program,
    ops_address: SocketAddr,
    _directory: Directory,
}

impl Restarter {
    /// Starts it without pauses, with further flags, and waits until it is ready.
    pub(crate) async fn start(kubeconfig: &Path, flags: &[&str]) -> Self {
        let directory = Directory::new("scaivault-restarter-test-").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_scaivault-injector"));
        command.args(["restarter", "--ops-listen=127.0.0.1:0"]).args(fast(flags)).args(flags);
        command.env("LOG_FORMAT", "json").env("KUBECONFIG", kubeconfig);
        let mut program = Program::start("restarter", &command, directory.path()).unwrap();
        let listening = eventually("the event `listening`", async || {
            assert!(program.ended().unwrap().is_none(), "the restarter has ended:\n{}", program.log_tail());
            let log = program.log();
            let mut events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            events.find(|event| event["message"] == "listening")
        })
        .await;
        let ops_address = listening["ops_address"].as_str().unwrap().parse().unwrap();
        let restarter = Self { program, ops_address, _directory: directory };
        eventually("/readyz", async || {
            restarter.get("/readyz").await.starts_with("HTTP/1.1 200 ").then_some(())
        })
        .await;
        restarter
    }

    /// The value of a metric without its prefix, with its labels as they are written; 0 where it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        ops::metric(self.ops_address, &format!("scaivault_restarter_{name}")).await
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        ops::get(self.ops_address, path).await
    }

    /// All it wrote.
    pub(crate) fn log(&self) -> String {
        self.program.log()
    }

    /// Sends SIGTERM and waits for the end. SIGKILL is to drop it.
    pub(crate) async fn terminate(mut self) {
        let process_id = self.program.process_id().expect("it listens, so it has been started");
        run(Command::new("kill").args(["-TERM", &process_id]));
        let ended = eventually("the restarter's end", async || self.program.ended().unwrap());
        let status = tokio::time::timeout(TIMEOUT, ended).await.unwrap();
        assert!(status.success(), "{status}");
    }
}

/// The flags without pauses, but for those that a test sets itself.
fn fast<'a>(flags: &'a [&str]) -> impl Iterator<Item = &'static str> + 'a {
    let name = |flag: &str| flag.split('=').next().map(str::to_owned);
    FAST.into_iter().filter(move |fast| !flags.iter().any(|flag| name(flag) == name(fast)))
}
