//! An installed chart with replicas of its injector that start and stop as processes.
//!
//! The chart is configured with the URL of the balancer in front of them, but still creates the
//! Deployment. So an upgrade finds no changes made by a test, and the replicas are started with the
//! Deployment's arguments.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
};
use scaivault_testkit::control_plane::{ControlPlane, Directory};
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::block_in_place,
};

use crate::{
    endpoints::Endpoints,
    support::{self, api, cluster_api, eventually, injector::Injector, install::FULLNAME, run},
    traffic,
};

/// The host name that the API server calls and that is in the certificates.
pub(crate) const HOST: &str = "localhost";

static TURN: Mutex<()> = Mutex::const_new(());

/// Waits for the other tests of this program. The guard is held until the end of the test.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// One release of the chart.
pub(crate) struct Fleet {
    pub(crate) plane: &'static ControlPlane,
    /// A client for the administrator.
    pub(crate) client: Client,
    /// The namespace of the release, and the name of all its objects.
    pub(crate) name: String,
    /// A namespace for whose pods the webhook is called.
    pub(crate) tenant: String,
    pub(crate) endpoints: Endpoints,
    directory: Directory,
}

impl Fleet {
    /// Creates a namespace for the release and one for pods, without installing the chart.
    pub(crate) async fn prepare(prefix: &str) -> Self {
        let plane = support::control_plane().await;
        let client = plane.client().await.unwrap();
        let name = plane.namespace(prefix).await.unwrap();
        let tenant = plane.namespace(&format!("{prefix}-pods")).await.unwrap();
        let label = json!({"metadata": {"labels": {&*name: "served"}}});
        let namespaces = cluster_api(&client, "v1", "Namespace");
        namespaces.patch(&tenant, &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
        let directory = Directory::new("scaivault-injector-fleet-").unwrap();
        Self { plane, client, name, tenant, endpoints: Endpoints::start().await, directory }
    }

    /// The same, with the chart installed.
    pub(crate) async fn install(prefix: &str, values: &Value) -> Self {
        let fleet = Self::prepare(prefix).await;
        fleet.upgrade(values, &[]);
        fleet
    }

    /// Installs or upgrades the chart with these values, merged with those that point to the
    /// replicas of the test.
    pub(crate) fn upgrade(&self, values: &Value, words: &[&str]) {
        let fixed = json!({
            "fullnameOverride": self.name,
            "webhook": {
                "url": format!("https://{HOST}:{}", self.endpoints.address.port()),
                "namespaceSelector": {"matchLabels": {&*self.name: "served"}},
                // A long timeout for a busy machine: the test is about answers, not their latency.
                "timeoutSeconds": 30,
            },
            "deployment": {"enabled": true},
            // There is only one API server, on this machine, so a new authority is observed at
            // once.
            "certificates": {"self": {"settleDelay": "1s"}},
            "server": {"drainDelaySeconds": 1},
            "test": {"namespace": self.tenant},
        });
        let (fixed, given) =
            (self.write("fixed.json", &fixed.to_string()), self.write("values.json", &values.to_string()));
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts").join(FULLNAME);
        // The `CustomResourceDefinition` of policies is shared by the cluster and belongs to the
        // first release.
        let mut helm = self.helm(&["upgrade", "--install", FULLNAME, "--set", "policies.installCrd=false"]);
        helm.arg(chart).args(words).arg("--values").arg(fixed).arg("--values").arg(given);
        block_in_place(|| run(&mut helm));
    }

    /// A helm command for the release's namespace.
    pub(crate) fn helm(&self, words: &[&str]) -> Command {
        let mut helm = self.plane.helm().unwrap();
        helm.args(words).args(["--namespace", &self.name]);
        helm
    }

    /// Starts a replica with the Deployment's arguments and permissions, and waits until it is an
    /// endpoint.
    pub(crate) async fn start_replica(&self) -> Injector {
        let injector = self.start_unready().await;
        eventually("a ready replica", async || injector.is_ready().await.then_some(())).await;
        injector
    }

    /// Starts a replica, which becomes an endpoint once it is ready.
    pub(crate) async fn start_unready(&self) -> Injector {
        let deployment = self.api("apps/v1", "Deployment").get(&self.name).await.unwrap();
        let container = &deployment.data["spec"]["template"]["spec"]["containers"][0];
        let config = self.api("v1", "ConfigMap").get(&self.name).await.unwrap();
        let config = config.data["data"]["injector.yaml"].as_str().unwrap();
        let config = self.write("injector.yaml", config);

        let mut flags: Vec<_> = strings(&container["args"]).collect();
        assert_eq!(flags.remove(0), "serve");
        // The process chooses its own ports, and the file is not mounted.
        let other = ["--config=", "--listen=", "--ops-listen="];
        flags.retain(|flag| !other.iter().any(|start| flag.starts_with(start)));
        flags.extend([format!("--config={}", config.display()), format!("--namespace={}", self.name)]);
        let kubeconfig = self.plane.kubeconfig_for_service_account(&self.name, &self.name).await.unwrap();
        let injector = Injector::start_unready(Some(&kubeconfig), flags).await;
        self.endpoints.add(&injector);
        injector
    }

    /// Terminates a replica as a kubelet does; it must exit successfully.
    pub(crate) async fn retire(&self, injector: Injector) {
        let address = injector.address;
        let (status, _) = injector.terminate().await;
        self.endpoints.remove(address);
        assert!(status.success(), "a replica ended with {status}");
    }

    /// Waits until the API server calls the replicas.
    pub(crate) async fn wait_until_called(&self) {
        let pods = api(&self.client, "v1", "Pod", &self.tenant);
        eventually("an injected pod", async || traffic::dry_run(&pods, "probe").await.ok()).await;
    }

    /// Writes a file that is deleted with this value.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        self.directory.write(name, text).unwrap()
    }

    /// Objects in the release's namespace.
    pub(crate) fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        api(&self.client, api_version, kind, &self.name)
    }

    /// The name of the authority's Secret.
    pub(crate) fn secret_name(&self) -> String {
        format!("{}-ca", self.name)
    }

    /// The data of that Secret, null if it is empty.
    pub(crate) async fn secret_data(&self) -> Value {
        let secret = self.api("v1", "Secret").get(&self.secret_name()).await.unwrap();
        secret.data["data"].clone()
    }

    /// The `caBundle` of every webhook of both configurations, PEM.
    pub(crate) async fn bundles(&self) -> Vec<String> {
        let mut bundles = Vec::new();
        for kind in CONFIGURATIONS {
            let configuration = self.configurations(kind).get(&self.name).await.unwrap();
            for webhook in configuration.data["webhooks"].as_array().unwrap() {
                bundles.push(decode(&webhook["clientConfig"]["caBundle"]));
            }
        }
        bundles
    }

    /// The configurations of a kind of [`CONFIGURATIONS`].
    pub(crate) fn configurations(&self, kind: &str) -> Api<DynamicObject> {
        cluster_api(&self.client, "admissionregistration.k8s.io/v1", kind)
    }
}

/// The kinds of the two configurations with the release's name.
pub(crate) const CONFIGURATIONS: [&str; 2] =
    ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// Decodes base64 text; null gives an empty text.
pub(crate) fn decode(value: &Value) -> String {
    let bytes = BASE64_STANDARD.decode(value.as_str().unwrap_or_default()).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The strings of a list.
pub(crate) fn strings(list: &Value) -> impl Iterator<Item = String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned())
}
