//! An installed chart, and replicas of its injector that come and go as processes.
//!
//! The chart is told the URL of the balancer in front of them, and to make the Deployment all the same: so an upgrade finds
//! nothing changed by a test, and what the replicas are started with is what the Deployment says.

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

/// The name that the API server calls, and that stands in the certificates.
pub(crate) const HOST: &str = "localhost";

static TURN: Mutex<()> = Mutex::const_new(());

/// Waits for the other tests of this program. Held until the end of the test.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// One release of the chart.
pub(crate) struct Fleet {
    pub(crate) plane: &'static ControlPlane,
    /// An administrator's.
    pub(crate) client: Client,
    /// The namespace of the release, and the name of all its objects.
    pub(crate) name: String,
    /// A namespace for whose pods the webhook is called.
    pub(crate) tenant: String,
    pub(crate) endpoints: Endpoints,
    directory: Directory,
}

impl Fleet {
    /// A namespace for the release and one for pods, nothing installed yet.
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

    /// Installs or upgrades the chart with these values beside those that lead to the replicas here.
    pub(crate) fn upgrade(&self, values: &Value, words: &[&str]) {
        let ours = json!({
            "fullnameOverride": self.name,
            "webhook": {
                "url": format!("https://{HOST}:{}", self.endpoints.address.port()),
                "namespaceSelector": {"matchLabels": {&*self.name: "served"}},
                // For a machine with much else to do: what is asked is whether an answer comes.
                "timeoutSeconds": 30,
            },
            "deployment": {"enabled": true},
            // One API server, on this machine: it knows of a new authority at once.
            "certificates": {"self": {"settleDelay": "1s"}},
            "server": {"drainDelaySeconds": 1},
            "test": {"namespace": self.tenant},
        });
        let (ours, theirs) =
            (self.write("ours.json", &ours.to_string()), self.write("values.json", &values.to_string()));
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts").join(FULLNAME);
        // The definition of policies is one for the cluster, and belongs to the release that installed it first.
        let mut helm = self.helm(&["upgrade", "--install", FULLNAME, "--set", "policies.installCrd=false"]);
        helm.arg(chart).args(words).arg("--values").arg(ours).arg("--values").arg(theirs);
        block_in_place(|| run(&mut helm));
    }

    /// A command of helm for the release's namespace.
    pub(crate) fn helm(&self, words: &[&str]) -> Command {
        let mut helm = self.plane.helm().unwrap();
        helm.args(words).args(["--namespace", &self.name]);
        helm
    }

    /// Starts a replica as the Deployment says, with its rights, and waits until it is among the endpoints.
    pub(crate) async fn start_replica(&self) -> Injector {
        let injector = self.start_unready().await;
        eventually("a ready replica", async || injector.is_ready().await.then_some(())).await;
        injector
    }

    /// Starts a replica, which becomes an endpoint as soon as it is ready.
    pub(crate) async fn start_unready(&self) -> Injector {
        let deployment = self.api("apps/v1", "Deployment").get(&self.name).await.unwrap();
        let container = &deployment.data["spec"]["template"]["spec"]["containers"][0];
        let config = self.api("v1", "ConfigMap").get(&self.name).await.unwrap();
        let config = config.data["data"]["injector.yaml"].as_str().unwrap();
        let config = self.write("injector.yaml", config);

        let mut flags: Vec<_> = strings(&container["args"]).collect();
        assert_eq!(flags.remove(0), "serve");
        // Where it listens is for the process to choose, and the file is not mounted.
        let other = ["--config=", "--listen=", "--ops-listen="];
        flags.retain(|flag| !other.iter().any(|start| flag.starts_with(start)));
        flags.extend([format!("--config={}", config.display()), format!("--namespace={}", self.name)]);
        let kubeconfig = self.plane.kubeconfig_for_service_account(&self.name, &self.name).await.unwrap();
        let injector = Injector::start_unready(Some(&kubeconfig), flags).await;
        self.endpoints.add(&injector);
        injector
    }

    /// Ends a replica as a kubelet does; it has to end well.
    pub(crate) async fn retire(&self, injector: Injector) {
        let address = injector.address;
        let status = injector.terminate().await;
        self.endpoints.remove(address);
        assert!(status.success(), "a replica ended with {status}");
    }

    /// Waits until the API server calls the replicas.
    pub(crate) async fn wait_until_called(&self) {
        let pods = api(&self.client, "v1", "Pod", &self.tenant);
        eventually("an injected pod", async || traffic::dry_run(&pods, "probe").await.ok()).await;
    }

    /// Writes a file that lives as long as the value.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        self.directory.write(name, text).unwrap()
    }

    /// Objects of the release's namespace.
    pub(crate) fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        api(&self.client, api_version, kind, &self.name)
    }

    /// The name of the Secret with the authority.
    pub(crate) fn secret_name(&self) -> String {
        format!("{}-ca", self.name)
    }

    /// The data of that Secret, null where it is empty.
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

/// The kinds of the two configurations that have the release's name.
pub(crate) const CONFIGURATIONS: [&str; 2] =
    ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// A text that stands there in base64; empty where there is none.
pub(crate) fn decode(value: &Value) -> String {
    let bytes = BASE64_STANDARD.decode(value.as_str().unwrap_or_default()).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The texts of a list.
pub(crate) fn strings(list: &Value) -> impl Iterator<Item = String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned())
}
