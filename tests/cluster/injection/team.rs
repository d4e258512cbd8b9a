//! A team with a namespace for which the injector is called.

use kube::{
    Client,
    api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use scaivault_testkit::inspect;
use serde_json::{Value, json};

use crate::support::{self, cluster_api, eventually, kubectl::Kubectl, object, release::Release};

/// The init container that fetches once.
pub(super) const INIT: &str = "scaivault-init";
/// The native sidecar.
pub(super) const SIDECAR: &str = "scaivault-sidecar";
/// The volume with the secrets.
pub(super) const SECRETS: &str = "scaivault-secrets";

/// A namespace, and the release that serves it.
pub(super) struct Team {
    pub(super) release: &'static Release,
    pub(super) client: Client,
    pub(super) namespace: String,
}

impl Team {
    /// A new namespace whose name starts with `prefix`, served by the release that tests share.
    pub(super) async fn new(prefix: &str) -> Self {
        let release = Release::shared().await;
        let namespace = release.namespace(prefix).await;
        Self { release, client: release.client().await, namespace }
    }

    /// A new namespace that is served by the same release and has these annotations.
    pub(super) async fn fresh(prefix: &str, annotations: &Value) -> Self {
        let release = Release::shared().await;
        let client = release.client().await;
        let metadata = json!({
            "generateName": format!("{prefix}-"), "labels": {&*release.name: "served"}, "annotations": annotations,
        });
        let namespaces = cluster_api(&client, "v1", "Namespace");
        let made = support::create(&namespaces, json!({"metadata": metadata})).await.unwrap();
        let team = Self { release, client, namespace: made["metadata"]["name"].as_str().unwrap().to_owned() };
        let accounts = team.api("v1", "ServiceAccount");
        eventually("the default service account", async || accounts.get_opt("default").await.unwrap()).await;
        team
    }

    /// Objects of a kind in the team's namespace.
    pub(super) fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        support::api(&self.client, api_version, kind, &self.namespace)
    }

    /// kubectl in the team's namespace.
    pub(super) fn kubectl(&self) -> Kubectl<'_> {
        Kubectl { plane: self.release.plane, namespace: &self.namespace }
    }

    /// Creates the object in the manifest.
    #[track_caller]
    pub(super) fn create(&self, manifest: &Value) -> impl Future<Output = kube::Result<Value>> {
        let text = |field: &str| manifest[field].as_str().unwrap().to_owned();
        let (api, manifest) = (self.api(&text("apiVersion"), &text("kind")), manifest.clone());
        async move { support::create(&api, manifest).await }
    }

    /// The API server's result for the manifest in a dry run.
    pub(super) async fn dry_run(&self, pod: &Value) -> kube::Result<Value> {
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let made = self.api("v1", "Pod").create(&params, &object(pod.clone())).await?;
        Ok(serde_json::to_value(made).unwrap())
    }

    /// The pods with the label `app`.
    pub(super) async fn pods(&self, app: &str) -> Vec<Value> {
        self.labelled(&format!("app={app}")).await
    }

    /// The pods that a label selector matches and that are not being deleted.
    pub(super) async fn labelled(&self, selector: &str) -> Vec<Value> {
        let pods = self.api("v1", "Pod").list(&ListParams::default().labels(selector)).await.unwrap();
        let pods = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        pods.map(|pod| serde_json::to_value(pod).unwrap()).collect()
    }

    /// Waits until this many pods have the label `app`, in any state.
    pub(super) async fn wait_for_pods(&self, app: &str, number: usize) -> Vec<Value> {
        eventually("pods", async || Some(self.pods(app).await).filter(|pods| pods.len() == number)).await
    }

    /// Changes the namespace's own labels and annotations.
    pub(super) async fn change_namespace(&self, metadata: Value) {
        let namespaces = cluster_api(&self.client, "v1", "Namespace");
        let patch = Patch::Merge(json!({"metadata": metadata}));
        namespaces.patch(&self.namespace, &PatchParams::default(), &patch).await.unwrap();
    }
}

/// The minor version of the API server and the nodes: the tests also run with older releases.
pub(super) async fn minor_version(client: &Client) -> u16 {
    let minor = client.apiserver_version().await.unwrap().minor;
    minor.parse().unwrap()
}

/// From this minor version on, kubelets read variables from files (`fileKeyRef`).
pub(super) const VARIABLES_SINCE: u16 = 35;

/// A pod template for pods with the label `app`.
pub(super) fn template(app: &str, annotations: &Value) -> Value {
    json!({
        "metadata": {"labels": {"app": app}, "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    })
}

/// A bare pod from a template.
pub(super) fn bare(name: &str, template: &Value) -> Value {
    let mut pod = template.clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = name.into();
    pod
}

/// A workload of one of the kinds, with the template in the field of that kind.
pub(super) fn workload(kind: &str, name: &str, replicas: usize, template: &Value) -> Value {
    let mut template = template.clone();
    let labels = template["metadata"]["labels"].clone();
    let of = |api_version: &str, spec: Value| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec});
    if matches!(kind, "Job" | "CronJob") {
        template["spec"]["restartPolicy"] = "Never".into();
        // Kubernetes' own label is used instead of a selector.
        let job = json!({"completions": replicas, "parallelism": replicas, "template": template});
        return match kind {
            "Job" => of("batch/v1", job),
            // The schedule never matches, because February has no 31st.
            _ => of("batch/v1", json!({"schedule": "0 0 31 2 *", "jobTemplate": {"spec": job}})),
        };
    }
    let mut spec = json!({"selector": {"matchLabels": labels}, "template": template});
    if kind != "DaemonSet" {
        spec["replicas"] = replicas.into();
    }
    if kind == "StatefulSet" {
        spec["serviceName"] = name.into();
    }
    of("apps/v1", spec)
}

/// Asserts that the pod has the container that fetches its secrets, and that the app container only
/// has the injected mount.
#[track_caller]
pub(super) fn assert_injected(pod: &Value, containers: &[&str]) {
    let agents = inspect::injected_containers(pod);
    let names: Vec<_> = agents.iter().map(|container| container["name"].as_str().unwrap()).collect();
    assert_eq!(names, containers, "{pod}");
    assert_eq!(inspect::injector_annotation(pod, "status"), Some("injected"), "{pod}");
    assert_eq!(inspect::volume(pod, SECRETS).unwrap()["emptyDir"]["medium"], "Memory");
    let token = &inspect::volume(pod, "scaivault-token").unwrap()["projected"]["sources"][0];
    assert_eq!(token["serviceAccountToken"]["path"], "token");
    for container in agents {
        assert_ne!(inspect::mount(container, SECRETS).unwrap()["readOnly"], true);
        assert!(inspect::mount(container, "scaivault-token").is_some());
        let restarts = (container["name"] == SIDECAR).then_some("Always");
        assert_eq!(container["restartPolicy"].as_str(), restarts);
    }
    for container in inspect::entries(pod, "containers") {
        let mount = inspect::mount(container, SECRETS).unwrap_or_else(|| panic!("no mount in {container}"));
        assert_eq!((&mount["readOnly"], &mount["mountPath"]), (&true.into(), &"/run/secrets".into()));
        assert!(inspect::mount(container, "scaivault-token").is_none(), "{container}");
    }
}
