//! An installed chart with its injector, for the namespaces that have the release's label.
//!
//! Several releases share one control plane: each is called only for the namespaces that a test
//! assigns to it.

use std::{
    fs,
    sync::LazyLock,
    time::{Duration, Instant},
};

use kube::{
    Client,
    api::{Patch, PatchParams, PostParams},
};
use scaivault_testkit::{
    PREFIX,
    balancer::Balancer,
    control_plane::{ControlPlane, Directory},
    inspect,
};
use serde_json::{Value, json};
use tokio::{
    runtime::Runtime,
    sync::{Mutex, OnceCell},
};

use super::{
    api, cluster_api, control_plane, create, eventually,
    injector::{Injector, tls_directory},
    install, object, until_logged,
};

/// Shared values outlive the runtime of the test that created them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// The release of all tests that need no other one.
static SHARED: OnceCell<Release> = OnceCell::const_new();

/// How long an API server may use a cached policy or configuration.
const SETTLED: Duration = Duration::from_secs(1);

/// A release with one running replica.
pub(crate) struct Release {
    pub(crate) plane: &'static ControlPlane,
    /// The name of its namespace, of all its objects, and of the label of the namespaces it serves.
    pub(crate) name: String,
    balancer: Balancer,
    kubeconfig: std::path::PathBuf,
    flags: Vec<String>,
    directory: Directory,
    injector: Mutex<Option<Injector>>,
}

impl Release {
    /// The release with the chart's default values that tests share; they must not stop its
    /// injector.
    pub(crate) async fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::install("shared", json!({}))).await
    }

    /// Installs the chart and starts its injector with the Deployment's arguments; returns when
    /// pods are injected.
    pub(crate) async fn install(name: &str, values: Value) -> Self {
        let plane = control_plane().await;
        let name = plane.namespace(name).await.unwrap();
        install::install(plane, &name, &with_defaults(values, &name));
        let balancer = balancer().await;
        install::route(plane, &name, &name, &balancer).await;

        let client = plane.client().await.unwrap();
        let directory = Directory::new("scaivault-injector-release-").unwrap();
        let config = api(&client, "v1", "ConfigMap", &name).get(&name).await.unwrap();
        let config = config.data["data"]["injector.yaml"].as_str().unwrap();
        let config = directory.write("injector.yaml", config).unwrap();
        let deployment = api(&client, "apps/v1", "Deployment", &name).get(&name).await.unwrap();
        let container = &deployment.data["spec"]["template"]["spec"]["containers"][0];
        let mut flags = flags(container);
        flags.extend([format!("--namespace={name}"), format!("--config={}", config.display())]);
        Self::with(plane, name, balancer, flags, directory).await
    }

    /// Installs the chart for an injector outside the cluster, which is called by its URL, and
    /// starts it there.
    pub(crate) async fn install_by_url(name: &str) -> Self {
        let plane = control_plane().await;
        let name = plane.namespace(name).await.unwrap();
        let balancer = balancer().await;
        let (tls, authority) = tls_directory(&["localhost"]);
        let values = json!({
            "webhook": {"url": format!("https://localhost:{}", balancer.address().port())},
            "certificates": {"mode": "files", "files": {"caBundle": authority}},
        });
        install::install(plane, &name, &with_defaults(values, &name));
        let flags = vec![
            "--cluster".to_owned(),
            "--policies".to_owned(),
            format!("--namespace={name}"),
            format!("--tls-dir={}", tls.path().display()),
        ];
        Self::with(plane, name, balancer, flags, tls).await
    }

    async fn with(
        plane: &'static ControlPlane,
        name: String,
        balancer: Balancer,
        flags: Vec<String>,
        directory: Directory,
    ) -> Self {
        let kubeconfig = plane.kubeconfig_for_service_account(&name, &name).await.unwrap();
        let injector = Mutex::new(None);
        let release = Self { plane, name, balancer, kubeconfig, flags, directory, injector };
        release.start().await;
        let namespace = release.namespace("called").await;
        release.wait_until_called(&namespace).await;
        release
    }

    /// Starts the injector and waits until it is ready.
    pub(crate) async fn start(&self) {
        let injector = Injector::start(Some(&self.kubeconfig), &self.flags).await;
        self.balancer.set_backends([injector.address]);
        *self.injector.lock().await = Some(injector);
    }

    /// Starts the injector without access to the API server: it does not become ready, but is still
    /// called.
    pub(crate) async fn start_cut_off(&self) {
        let kubeconfig = fs::read_to_string(&self.kubeconfig).unwrap();
        let kubeconfig = kubeconfig.replace(self.plane.server_url(), "https://127.0.0.1:1");
        let kubeconfig = self.directory.write("cut-off", &kubeconfig).unwrap();
        let injector = Injector::start_unready(Some(&kubeconfig), &self.flags).await;
        assert!(!injector.is_ready().await, "it knows nothing");
        self.balancer.set_backends([injector.address]);
        *self.injector.lock().await = Some(injector);
    }

    /// Starts the injector without policies, like an earlier release, and waits until it is ready.
    pub(crate) async fn start_without_policies(&self) {
        let flags: Vec<_> = self.flags.iter().filter(|flag| *flag != "--policies").collect();
        let injector = Injector::start(Some(&self.kubeconfig), &flags).await;
        self.balancer.set_backends([injector.address]);
        *self.injector.lock().await = Some(injector);
    }

    /// Stops the injector like a node that loses power.
    pub(crate) async fn stop(&self) {
        self.balancer.set_backends([]);
        drop(self.injector.lock().await.take());
    }

    /// A counter of the running injector.
    pub(crate) async fn counter(&self, name: &str) -> u64 {
        let value = self.injector.lock().await.as_ref().unwrap().metric(name).await;
        format!("{value:.0}").parse().unwrap()
    }

    /// The number of admissions of the running injector, without those of policies.
    pub(crate) async fn admissions_without_policies(&self) -> u64 {
        self.injector.lock().await.as_ref().unwrap().admissions_without_policies().await
    }

    /// The log of the running injector.
    pub(crate) async fn log(&self) -> String {
        self.injector.lock().await.as_ref().unwrap().log()
    }

    /// Waits for the first line of the running injector's log that contains `words`, and returns it.
    #[track_caller]
    pub(crate) fn until_logged(&self, words: &str) -> impl Future<Output = String> {
        until_logged(async || self.log().await, words)
    }

    /// Changes the injector's configuration file.
    pub(crate) fn configure(&self, change: impl FnOnce(String) -> String) {
        let before = fs::read_to_string(self.directory.path().join("injector.yaml")).unwrap();
        self.directory.write("injector.yaml", &change(before)).unwrap();
    }

    /// A new namespace for whose objects the injector is called.
    pub(crate) async fn namespace(&self, prefix: &str) -> String {
        let namespace = self.plane.namespace(prefix).await.unwrap();
        self.serve(&namespace).await;
        namespace
    }

    /// From now on the injector is called for objects of this namespace.
    pub(crate) async fn serve(&self, namespace: &str) {
        let patch = json!({"metadata": {"labels": {&*self.name: "served"}}});
        let namespaces = cluster_api(&self.client().await, "v1", "Namespace");
        namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// A client for the administrator.
    pub(crate) async fn client(&self) -> Client {
        self.plane.client().await.unwrap()
    }

    /// The API server observes configurations and policies with a delay: requests pods as dry runs
    /// until they have been injected for a while.
    async fn wait_until_called(&self, namespace: &str) {
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let pods = api(&self.client().await, "v1", "Pod", namespace);
        let mut since: Option<Instant> = None;
        eventually("injected pods", async || {
            let created = pods.create(&dry_run, &object(pod("probe", &annotations()))).await;
            let is_injected = created.is_ok_and(|pod| is_injected(&serde_json::to_value(pod).unwrap()));
            since = is_injected.then(|| since.unwrap_or_else(Instant::now));
            since.filter(|since| since.elapsed() >= SETTLED).map(|_| ())
        })
        .await;
    }
}

async fn balancer() -> Balancer {
    RUNTIME.spawn(Balancer::start()).await.unwrap().unwrap()
}

fn with_defaults(mut values: Value, name: &str) -> Value {
    values["fullnameOverride"] = name.into();
    // The pods of the Deployment do not matter in these tests.
    values["replicas"] = 1.into();
    values["webhook"]["namespaceSelector"] = json!({"matchLabels": {name: "served"}});
    // There is only one API server, and the tests wait until it has observed the change.
    values["certificates"]["self"]["settleDelay"] = "1s".into();
    values
}

/// The flags of the chart's container, except those for ports and mounted files.
fn flags(container: &Value) -> Vec<String> {
    let here = ["--config=", "--listen=", "--ops-listen=", "--drain-delay=", "--log-format="];
    let flags = container["args"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap());
    let (subcommand, flags): (Vec<_>, Vec<_>) = flags.partition(|flag| *flag == "serve");
    assert_eq!(subcommand, ["serve"]);
    let flags = flags.into_iter().filter(|flag| !here.iter().any(|start| flag.starts_with(start)));
    flags.map(str::to_owned).collect()
}

/// The annotations of a typical workload.
pub(crate) fn annotations() -> Value {
    json!({
        format!("{PREFIX}inject-secret-db.json"): "environments/production/billing/database",
        format!("{PREFIX}role"): "billing",
    })
}

/// A pod with these annotations.
pub(crate) fn pod(name: &str, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    })
}

/// Whether a pod has the injector's additions.
pub(crate) fn is_injected(pod: &Value) -> bool {
    !inspect::injected_containers(pod).is_empty() && inspect::volume(pod, "scaivault-secrets").is_some()
}

/// Whether a pod has none of the injector's additions to its spec.
pub(crate) fn is_untouched(pod: &Value) -> bool {
    let volumes = inspect::names(inspect::entries(pod, "volumes"));
    inspect::injected_containers(pod).is_empty() && !volumes.iter().any(|name| name.starts_with("scaivault-"))
}

/// Creates a pod and returns the API server's version of it.
pub(crate) async fn create_pod(client: &Client, namespace: &str, pod: Value) -> kube::Result<Value> {
    create(&api(client, "v1", "Pod", namespace), pod).await
}
