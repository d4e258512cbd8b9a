//! The restart controller as the built program, with control planes of its own, because it restarts all
//! workloads of a cluster.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use kube::{
    Client,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    config::Kubeconfig,
    core::CustomResourceExt as _,
};
use scaivault_restarter::RotationRollout;
use scaivault_testkit::{
    balancer::Balancer,
    control_plane::{ControlPlane, Directory, Options, Program},
};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::{
    TIMEOUT, api, chain, cluster_api, create, eventually, eventually_within, ops, policies, run, until_logged,
};

/// The shortest possible waits.
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

/// Two, because these tests mostly wait for timers.
static SHARED: [SharedPlane; 2] = [const { SharedPlane::new() }; 2];

/// A control plane for one test at a time: the controller watches the whole cluster.
struct SharedPlane {
    plane: OnceCell<Result<ControlPlane, String>>,
    turn: Mutex<()>,
}

impl SharedPlane {
    const fn new() -> Self {
        Self { plane: OnceCell::const_new(), turn: Mutex::const_new(()) }
    }

    async fn turn(&'static self) -> (&'static Self, MutexGuard<'static, ()>) {
        (self, self.turn.lock().await)
    }
}

/// A cluster that no other test uses at the same time, and a namespace.
pub(crate) struct Cluster {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Waits for its turn. [`Cluster::end`] has removed the workloads of earlier tests.
    pub(crate) async fn new(name: &str) -> Self {
        let (shared, turn) = tokio::select! {
            biased;
            first = SHARED[0].turn() => first,
            second = SHARED[1].turn() => second,
        };
        let plane = shared
            .plane
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

    /// Creates a Secret, whose version is the second of its creation.
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

    /// The number of templates of all Deployments so far.
    pub(crate) async fn replica_sets_of_all(&self) -> usize {
        let sets = api(&self.client, "apps/v1", "ReplicaSet", &self.namespace);
        sets.list(&ListParams::default()).await.unwrap().items.len()
    }

    /// Creates a workload whose container has a variable of the Secret.
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

    /// Waits until the record of a workload is as expected.
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

    /// The number of templates of a Deployment so far.
    pub(crate) async fn replica_sets(&self, name: &str) -> usize {
        let list = ListParams::default().labels(&format!("app={name}"));
        api(&self.client, "apps/v1", "ReplicaSet", &self.namespace).list(&list).await.unwrap().items.len()
    }

    /// Lets the API server serve Argo Rollouts.
    pub(crate) async fn with_argo(&self) {
        policies::apply(self.plane, &definition("argoproj.io", "v1alpha1", "Rollout", "rollouts"));
        let rollouts = api(&self.client, ARGO, "Rollout", &self.namespace);
        eventually("the kind to be served", async || rollouts.list(&ListParams::default()).await.ok()).await;
    }

    /// Creates a Rollout, with the `ReplicaSet` and pod of Argo's controller.
    pub(crate) async fn rollout(&self, name: &str, secret: &str) {
        let mut rollout = rollout(name, secret);
        rollout["status"] = json!({"phase": "Healthy", "replicas": 1});
        create(&api(&self.client, ARGO, "Rollout", &self.namespace), rollout).await.unwrap();
        let mut set = manifest("Deployment", name, secret, json!({}));
        (set["kind"], set["metadata"]["name"]) = ("ReplicaSet".into(), format!("{name}-5d").into());
        set["spec"].as_object_mut().unwrap().remove("revisionHistoryLimit");
        set["spec"]["template"]["metadata"]["labels"]["rollouts-pod-template-hash"] = "5d".into();
        create(&api(&self.client, "apps/v1", "ReplicaSet", &self.namespace), set).await.unwrap();
        eventually("its pod", async || {
            (super::workload::pods(&self.client, &self.namespace, name).await.len() == 1).then_some(())
        })
        .await;
    }

    /// Replaces the pods of a Rollout and updates its status, as Argo's controller does after `restartAt`.
    /// Returns `restartAt`.
    pub(crate) async fn play_argo(&self, name: &str) -> String {
        let rollouts = api(&self.client, ARGO, "Rollout", &self.namespace);
        let asked = eventually("restartAt", async || {
            rollouts.get(name).await.unwrap().data["spec"]["restartAt"].as_str().map(str::to_owned)
        })
        .await;
        for pod in super::workload::pods(&self.client, &self.namespace, name).await {
            let pods = api(&self.client, "v1", "Pod", &self.namespace);
            let name = pod["metadata"]["name"].as_str().unwrap();
            pods.delete(name, &kube::api::DeleteParams::default()).await.unwrap();
        }
        let status = json!({"status": {"restartedAt": asked}});
        rollouts.patch(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        asked
    }

    /// A kubeconfig whose connection to the API server a test can cut.
    pub(crate) async fn way(&self) -> (Way, Directory, PathBuf) {
        let server = self.plane.server_url().strip_prefix("https://").unwrap().parse().unwrap();
        let way = Way::to(server).await;
        let mut kubeconfig = Kubeconfig::read_from(self.plane.kubeconfig_path()).unwrap();
        for named in &mut kubeconfig.clusters {
            named.cluster.as_mut().unwrap().server = Some(format!("https://{}", way.address()));
        }
        let directory = Directory::new("scaivault-restarter-way-").unwrap();
        let path = directory.write("kubeconfig", &serde_json::to_string(&kubeconfig).unwrap()).unwrap();
        (way, directory, path)
    }

    /// Sets an annotation of a Deployment's own metadata.
    pub(crate) async fn annotate(&self, name: &str, key: &str, value: &str) {
        let change = json!({"metadata": {"annotations": {key: value}}});
        let deployments = api(&self.client, "apps/v1", "Deployment", &self.namespace);
        deployments.patch(name, &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
    }

    /// The number of templates of a `StatefulSet` or `DaemonSet` so far.
    pub(crate) async fn revisions(&self, name: &str) -> usize {
        let list = ListParams::default().labels(&format!("app={name}"));
        let revisions = api(&self.client, "apps/v1", "ControllerRevision", &self.namespace);
        revisions.list(&list).await.unwrap().items.len()
    }

    /// Deletes the namespace's workloads, so that the next test's controller does not see them.
    pub(crate) async fn end(self) {
        let namespaces = cluster_api(&self.client, "v1", "Namespace");
        namespaces.delete(&self.namespace, &kube::api::DeleteParams::default()).await.unwrap();
        // It may have had hundreds of workloads.
        eventually_within(10 * TIMEOUT, "the namespace's end", async || {
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

/// The size of a test: small, or the value of an environment variable.
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

/// A CRD of another product with any content.
pub(crate) fn definition(group: &str, version: &str, kind: &str, plural: &str) -> Value {
    let mut definition = serde_json::to_value(RotationRollout::crd()).unwrap();
    definition["metadata"]["name"] = format!("{plural}.{group}").into();
    definition["spec"] = json!({
        "group": group, "scope": "Namespaced",
        "names": {"kind": kind, "plural": plural, "singular": kind.to_ascii_lowercase(), "listKind": format!("{kind}List")},
        "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
    });
    definition
}

/// The `apiVersion` of Argo Rollouts.
pub(crate) const ARGO: &str = "argoproj.io/v1alpha1";

/// A Rollout whose container has a variable of the Secret, without its controller.
pub(crate) fn rollout(name: &str, secret: &str) -> Value {
    let mut rollout = manifest("Deployment", name, secret, json!({}));
    (rollout["apiVersion"], rollout["kind"]) = (ARGO.into(), "Rollout".into());
    rollout
}

/// A connection to a server that a test can cut.
pub(crate) struct Way {
    balancer: Balancer,
    server: SocketAddr,
}

impl Way {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let balancer = Balancer::start().await.unwrap();
        let way = Self { balancer, server };
        way.restore();
        way
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.balancer.address()
    }

    pub(crate) fn cut(&self) {
        self.balancer.set_backends([]);
        self.balancer.cut();
    }

    pub(crate) fn restore(&self) {
        self.balancer.set_backends([self.server]);
    }
}

/// Random text.
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
    /// Starts it with minimum pauses and further flags, and waits until it is ready.
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

    /// The value of a metric without its prefix, with its labels as written; 0 if it does not exist.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        ops::metric(self.ops_address, &format!("scaivault_restarter_{name}")).await
    }

    /// Whether a metric is not 0.
    pub(crate) async fn has(&self, name: &str) -> bool {
        self.metric(name).await > 0.0
    }

    /// Waits until a metric is not 0, or is 0.
    pub(crate) async fn until_has(&self, name: &str, expected: bool) {
        eventually(name, async || (self.has(name).await == expected).then_some(())).await;
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        ops::get(self.ops_address, path).await
    }

    /// Its complete log.
    pub(crate) fn log(&self) -> String {
        self.program.log()
    }

    /// Waits for the first log line that contains `words`, and returns it.
    #[track_caller]
    pub(crate) fn until_logged(&self, words: &str) -> impl Future<Output = String> {
        until_logged(async || self.log(), words)
    }

    /// Sends SIGTERM, waits for the end, and returns the complete log. Dropping it sends SIGKILL.
    pub(crate) async fn terminate(mut self) -> String {
        let process_id = self.program.process_id().expect("it listens, so it has been started");
        run(Command::new("kill").args(["-TERM", &process_id]));
        let ended = eventually("the restarter's end", async || self.program.ended().unwrap());
        let status = tokio::time::timeout(TIMEOUT, ended).await.unwrap();
        assert!(status.success(), "{status}");
        self.log()
    }
}

/// The flags for minimum pauses, except for those that a test sets itself.
fn fast<'a>(flags: &'a [&str]) -> impl Iterator<Item = &'static str> + 'a {
    let name = |flag: &str| flag.split('=').next().map(str::to_owned);
    FAST.into_iter().filter(move |fast| !flags.iter().any(|flag| name(flag) == name(fast)))
}
