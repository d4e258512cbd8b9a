//! The provider with a real API server and the rights of its chart, while policies, pods and namespaces
//! change.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

#[path = "../../src/generated.rs"]
mod generated;

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use generated::{MountRequest, csi_driver_provider_client::CsiDriverProviderClient};
use hyper_util::rt::TokioIo;
use kube::{
    Client,
    api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use scaivault_devserver::{DevServer, Issuer, Seed, Settings};
use scaivault_testkit::{
    control_plane::{ControlPlane, Options},
    eventually, poll,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

/// Much longer than any step; only a failing test waits this long.
const LIMIT: Duration = Duration::from_mins(2);
const NODE: &str = "node-0";

/// A provider as a process, which ends with the test.
struct Provider {
    process: Child,
    directory: TempDir,
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Provider {
    fn start(kubeconfig: &Path, url: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("state")).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_scaivault-csi-provider"));
        command.args(["serve", "--policies", "--node-name", NODE, "--url", url, "--ops-listen"]);
        command.arg(format!("127.0.0.1:{port}"));
        command.arg("--socket").arg(directory.path().join("scaivault.sock"));
        command.arg("--state-dir").arg(directory.path().join("state"));
        let process = command.env("KUBECONFIG", kubeconfig).stdin(Stdio::null()).spawn().unwrap();
        Self { process, directory }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("scaivault.sock")
    }

    async fn driver(&self) -> CsiDriverProviderClient<Channel> {
        let socket = self.socket();
        let connecting = eventually(LIMIT, "the provider", async || connect(socket.clone()).await.ok());
        CsiDriverProviderClient::new(connecting.await)
    }
}

async fn connect(socket: PathBuf) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await
}

/// A cluster with a namespace, and a ScaiVault.
struct Cluster {
    plane: ControlPlane,
    client: Client,
    namespace: String,
    issuer: Arc<Issuer>,
    vault: DevServer,
}

impl Cluster {
    async fn start() -> Self {
        let plane = ControlPlane::start(&Options { nodes: 1, ..Options::default() }).await.unwrap();
        let client = plane.client().await.unwrap();
        let namespace = plane.namespace("team").await.unwrap();
        let issuer = Arc::new(Issuer::generate().unwrap());
        let seed = format!(
            r#"
policies: {{team: [{{path_pattern: "**", permissions: [read]}}]}}
identities: [{{id: "sa:team", service_accounts: ["{namespace}/default"], policies: [team]}}]
secrets: {{app/one: {{data: {{key: a}}}}, app/two: {{data: {{key: b}}}}}}
"#
        );
        let vault = Settings::for_tests(Seed::new(&seed).unwrap(), &issuer);
        let vault = DevServer::start(vault).await.unwrap();
        Self { plane, client, namespace, issuer, vault }
    }

    fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match kind {
            "Pod" => Api::namespaced_with(self.client.clone(), &self.namespace, &resource),
            "ServiceAccount" => Api::namespaced_with(self.client.clone(), "kube-system", &resource),
            _ => Api::all_with(self.client.clone(), &resource),
        }
    }

    async fn create(&self, object: Value) -> DynamicObject {
        let text = |key: &str| object[key].as_str().unwrap().to_owned();
        let api = self.api(&text("apiVersion"), &text("kind"));
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
    }

    async fn patch(&self, kind: (&str, &str), name: &str, patch: Value) {
        let api = self.api(kind.0, kind.1);
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Installs the definition of policies, as the injector's chart does.
    async fn define_policies(&self) {
        self.create(scaivault_policy::definition().clone()).await;
        let policies = self.api(POLICY.0, POLICY.1);
        eventually(LIMIT, "policies", async || policies.list(&ListParams::default()).await.ok()).await;
    }

    /// A kubeconfig with the rights of the chart.
    async fn rights(&self) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let chart = root.join("charts/secrets-store-csi-driver-scaivault");
        let mut helm = self.plane.helm().unwrap();
        helm.args(["template", "scaivault-csi"]).arg(chart).args(["--namespace", "kube-system"]);
        helm.args(["--show-only", "templates/rbac.yaml", "--show-only", "templates/serviceaccount.yaml"]);
        let rendered = helm.output().unwrap();
        assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
        let file = self.plane.path().join("rights.yaml");
        std::fs::write(&file, rendered.stdout).unwrap();
        let applied = self.plane.kubectl().unwrap().args(["apply", "--filename"]).arg(file).status().unwrap();
        assert!(applied.success());
        let accounts = self.api("v1", "ServiceAccount").list(&ListParams::default()).await.unwrap();
        let mut names = accounts.into_iter().filter_map(|account| account.metadata.name);
        let name = names.find(|name| name.starts_with("scaivault-csi")).unwrap();
        self.plane.kubeconfig_for_service_account("kube-system", &name).await.unwrap()
    }

    async fn pod(&self, name: &str, labels: Value) -> Pod<'_> {
        let made = self.create(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
            "spec": {"nodeName": NODE, "containers": [{"name": "app", "image": "app"}]},
        }));
        let uid = made.await.metadata.uid.unwrap();
        Pod { cluster: self, name: name.to_owned(), uid }
    }

    async fn policy(&self, name: &str, spec: Value) {
        let policy =
            json!({"apiVersion": POLICY.0, "kind": POLICY.1, "metadata": {"name": name}, "spec": spec});
        self.create(policy).await;
    }
}

const POLICY: (&str, &str) = (scaivault_policy::VERSION, scaivault_policy::KIND);

struct Pod<'c> {
    cluster: &'c Cluster,
    name: String,
    uid: String,
}

impl Pod<'_> {
    async fn mount(&self, driver: &CsiDriverProviderClient<Channel>, path: &str) -> Result<(), Status> {
        let Cluster { issuer, namespace, .. } = self.cluster;
        let (now, pod) = (jiff::Timestamp::now(), (&*self.name, &*self.uid));
        let token = issuer.mint_for_pod(namespace, "default", "scaivault", now, pod).unwrap();
        let tokens = json!({"scaivault": {"token": token, "expirationTimestamp": "2099-01-01T00:00:00Z"}});
        let attributes = json!({
            "csi.storage.k8s.io/pod.name": self.name, "csi.storage.k8s.io/pod.namespace": namespace,
            "csi.storage.k8s.io/pod.uid": self.uid, "csi.storage.k8s.io/serviceAccount.name": "default",
            "csi.storage.k8s.io/serviceAccount.tokens": tokens.to_string(),
            "secretProviderClass": "class", "objects": format!("[{{path: '{path}', file: f}}]"),
        });
        let request = MountRequest { attributes: attributes.to_string(), ..MountRequest::default() };
        driver.clone().mount(request).await.map(drop)
    }

    /// Waits until a mount succeeds, or is refused with this message.
    async fn until(&self, driver: &CsiDriverProviderClient<Channel>, path: &str, refusal: Option<&str>) {
        let mut last = None;
        let is_so = poll(LIMIT, async || {
            let answer = self.mount(driver, path).await;
            let is_so = match (&answer, refusal) {
                (Ok(()), None) => true,
                (Err(status), Some(words)) => {
                    status.code() == Code::PermissionDenied && status.message().contains(words)
                }
                _ => false,
            };
            last = Some(answer);
            is_so.then_some(())
        });
        assert!(is_so.await.is_some(), "{path} as {refusal:?}: {last:?}");
    }
}

#[tokio::test]
async fn policies_pods_and_namespaces_are_followed() {
    let cluster = Cluster::start().await;
    let provider = Provider::start(&cluster.rights().await, &cluster.vault.url());
    let driver = provider.driver().await;
    let web = cluster.pod("web", json!({"app": "web"})).await;
    // Without the definition there are no policies. It is created while the provider runs.
    web.until(&driver, "app/one", None).await;
    cluster.define_policies().await;
    let namespace = cluster.namespace.clone();
    let limits = |paths: Value| {
        json!({
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "podSelector": {"matchLabels": {"app": "web"}}, "environment": "app", "allow": {"paths": paths},
        })
    };
    cluster.policy("limits", limits(json!(["app/one"]))).await;
    web.until(&driver, "app/two", Some("policy limits does not allow this path; allowed: app/one;")).await;
    web.until(&driver, "${environment}/one", None).await;

    let api = cluster.pod("api", json!({"app": "api"})).await;
    api.until(&driver, "app/two", None).await;
    cluster.patch(("v1", "Pod"), "api", json!({"metadata": {"labels": {"app": "web"}}})).await;
    api.until(&driver, "app/two", Some("policy limits")).await;

    let changed = json!({"spec": {"allow": {"paths": ["app/two"]}}});
    cluster.patch(POLICY, "limits", changed).await;
    web.until(&driver, "app/two", None).await;
    web.until(&driver, "app/one", Some("allowed: app/two;")).await;

    let team = json!({"namespaceSelector": {"matchLabels": {"team": "a"}}, "allow": {"paths": ["app/one"]}});
    cluster.policy("team", team).await;
    let labels = json!({"metadata": {"labels": {"team": "a"}}});
    cluster.patch(("v1", "Namespace"), &cluster.namespace, labels).await;
    web.until(&driver, "app/one", None).await;
    cluster.api(POLICY.0, POLICY.1).delete("limits", &DeleteParams::default()).await.unwrap();
    web.until(&driver, "app/two", Some("policy team does not allow this path")).await;

    // A new provider reads all of it again.
    drop(provider);
    let provider = Provider::start(&cluster.rights().await, &cluster.vault.url());
    let driver = provider.driver().await;
    web.until(&driver, "app/two", Some("policy team does not allow this path")).await;
    web.until(&driver, "app/one", None).await;
}
