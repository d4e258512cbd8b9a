//! A namespace of a real API server, and a pod in it that may write the Secret `billing`.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use scaivault_testkit::control_plane::{ControlPlane, Options};
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

use crate::support::{Pod, RunResult};

/// The name of the Secret.
pub(crate) const NAME: &str = "billing";
/// The verbs in the documentation.
pub(crate) const VERBS: [&str; 3] = ["get", "patch", "create"];

/// Started by the first test that uses it; ends with the process.
static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();

pub(crate) struct Cluster {
    plane: &'static ControlPlane,
    pub(crate) namespace: String,
    pub(crate) pod: Pod,
}

impl Cluster {
    /// Without permissions.
    pub(crate) async fn without_rights() -> Self {
        let cluster = Self::with(Pod::new().await).await;
        cluster.use_account("default");
        cluster
    }

    /// Without a service account token.
    pub(crate) async fn with(pod: Pod) -> Self {
        let start =
            async || ControlPlane::start(&Options::default()).await.map_err(|error| error.to_string());
        let plane = SHARED.get_or_init(start).await.as_ref().unwrap_or_else(|error| panic!("{error}"));
        Self { plane, namespace: plane.namespace("sync").await.unwrap(), pod }
    }

    /// Mounts the token of a service account of the namespace, as the kubelet does.
    pub(crate) fn use_account(&self, name: &str) {
        let token = self.kubectl(&format!("create token {name}"), None).unwrap();
        let authority = fs::read_to_string(self.plane.path().join("ca.crt")).unwrap();
        fs::create_dir(self.pod.path("api")).unwrap();
        for (file, text) in [("token", &token), ("ca.crt", &authority), ("namespace", &self.namespace)] {
            fs::write(self.pod.path("api").join(file), text).unwrap();
        }
    }

    pub(crate) async fn new() -> Self {
        let cluster = Self::without_rights().await;
        cluster.grant(&VERBS);
        cluster
    }

    /// Grants the pod's service account only these verbs on this Secret.
    pub(crate) fn grant(&self, verbs: &[&str]) {
        self.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "sync"},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [NAME], "verbs": verbs}],
        }));
        self.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "sync"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "sync"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": self.namespace}],
        }));
    }

    /// Runs kubectl as the administrator with these arguments, separated by blanks; returns its
    /// output or its error.
    pub(crate) fn kubectl(&self, words: &str, input: Option<&Value>) -> Result<String, String> {
        let mut command: Command = self.plane.kubectl().unwrap();
        command.args(["--namespace", &self.namespace]).args(words.split_whitespace());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = input.map(Value::to_string).unwrap_or_default();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    #[track_caller]
    pub(crate) fn apply(&self, manifest: &Value) {
        self.kubectl("apply --server-side --filename=-", Some(manifest)).unwrap();
    }

    /// The Secret; `None` if it does not exist.
    #[track_caller]
    pub(crate) fn secret(&self) -> Option<Secret> {
        let found = self.kubectl(&format!("get secret {NAME} --ignore-not-found -o json"), None).unwrap();
        (!found.is_empty()).then(|| Secret(serde_json::from_str(&found).unwrap()))
    }

    /// Runs the agent's subcommand with these lines in `SECRETS`.
    pub(crate) async fn sync(&self, secrets: &str, variables: &[(&str, &str)]) -> RunResult {
        let own = [("SYNC_SECRET_NAME", NAME), ("SECRETS", secrets)];
        self.run(&[&own, variables].concat()).await
    }

    /// Runs it with these variables in addition to those that Kubernetes sets.
    pub(crate) async fn run(&self, variables: &[(&str, &str)]) -> RunResult {
        let url = self.plane.server_url();
        let (host, port) = url.trim_start_matches("https://").split_once(':').unwrap();
        let directory = self.pod.path("api");
        let mut all = vec![
            ("KUBERNETES_SERVICE_HOST", host),
            ("KUBERNETES_SERVICE_PORT", port),
            ("SYNC_SECRET_API_DIR", directory.to_str().unwrap()),
        ];
        all.extend_from_slice(variables);
        self.pod.run("sync-secret", &all).await
    }

    /// Writes `app/<name>` in ScaiVault.
    pub(crate) fn write(&self, name: &str, data: &Value) {
        let data: Map<String, Value> = data.as_object().unwrap().clone();
        self.pod.vault.write(&format!("app/{name}").parse().unwrap(), data);
    }
}

/// A Secret as stored by the API server.
pub(crate) struct Secret(pub(crate) Value);

impl Secret {
    pub(crate) fn keys(&self) -> Vec<&str> {
        self.0["data"].as_object().map(|data| data.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// Changes with every write.
    pub(crate) fn resource_version(&self) -> &str {
        self.0["metadata"]["resourceVersion"].as_str().unwrap()
    }

    /// Changes with the content.
    pub(crate) fn content_version(&self) -> &str {
        self.0["metadata"]["annotations"]["scaivault.scailabs.ai/content-version"].as_str().unwrap()
    }

    pub(crate) fn label(&self, key: &str) -> &Value {
        &self.0["metadata"]["labels"][key]
    }

    /// The value of a key, in base64.
    pub(crate) fn value(&self, key: &str) -> &str {
        self.0["data"][key].as_str().unwrap()
    }
}
