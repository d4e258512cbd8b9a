//! The chart's manifests applied by kubectl instead of helm: applying them again does not remove
//! what the injector wrote.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use scaivault_testkit::control_plane::{ControlPlane, Options};
use serde_json::Value;

use crate::support::{chain, eventually, injector::Injector, install::FULLNAME, run};

/// The namespace from the chart's README.
const NAMESPACE: &str = "scaivault-system";

/// The two ways to apply with kubectl.
const WAYS: [&[&str]; 2] = [&["apply"], &["apply", "--server-side"]];

/// The webhook rules apply to the whole cluster, so this test uses its own.
#[tokio::test]
async fn a_repeated_apply_removes_nothing_of_the_injector() {
    let plane = ControlPlane::start(&Options::default()).await;
    let plane = plane.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let cluster = Cluster { manifests: render(&plane), plane };
    run(cluster.kubectl().args(["create", "namespace", NAMESPACE]));
    let accepted = run(&mut cluster.with_manifests(&["apply", "--dry-run=server"]));
    assert!(accepted.lines().count() > 10, "{accepted}");
    assert!(accepted.lines().all(|line| line.ends_with(" created (server dry run)")), "{accepted}");

    for way in WAYS {
        run(&mut cluster.with_manifests(way));
        cluster.until_the_deployment_is_seen().await;
        cluster.let_the_injector_write().await;
        let before = cluster.objects();
        assert!(before["Secret scaivault-injector-ca"]["data"]["ca.key"].is_string(), "{way:?}");
        for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
            let webhooks = before[&format!("{kind} {FULLNAME}")]["webhooks"].as_array().unwrap();
            assert!(
                webhooks.iter().all(|webhook| webhook["clientConfig"]["caBundle"].is_string()),
                "{webhooks:?}"
            );
        }
        run(&mut cluster.with_manifests(way));
        let after = cluster.objects();
        let is_changed = |name: &&String| after.get(*name) != before.get(*name);
        let changed: Vec<_> = before.keys().filter(is_changed).collect();
        assert!(changed.is_empty(), "{way:?} changed {changed:?}");
        run(&mut cluster.with_manifests(&["delete", "--wait", "--timeout=60s"]));
    }
}

struct Cluster {
    plane: ControlPlane,
    manifests: PathBuf,
}

/// The default manifests in a file, without the hook of `helm test`, which is not part of an
/// installation.
fn render(plane: &ControlPlane) -> PathBuf {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts").join(FULLNAME);
    let mut helm = plane.helm().unwrap();
    helm.args(["template", FULLNAME]).arg(chart).args(["--namespace", NAMESPACE, "--skip-tests"]);
    let file = plane.path().join("injector.yaml");
    fs::write(&file, run(&mut helm)).unwrap();
    file
}

impl Cluster {
    fn kubectl(&self) -> Command {
        self.plane.kubectl().unwrap()
    }

    fn with_manifests(&self, words: &[&str]) -> Command {
        let mut kubectl = self.kubectl();
        kubectl.args(words).arg("--filename").arg(&self.manifests);
        kubectl
    }

    /// The controller adds an annotation, which must exist before two states are compared.
    async fn until_the_deployment_is_seen(&self) {
        eventually("the Deployment's status", async || {
            let deployment = &self.objects()[&format!("Deployment {FULLNAME}")];
            deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
                .is_string()
                .then_some(())
        })
        .await;
    }

    /// Runs the injector with the permissions and names from the manifests until its CA is
    /// published. It stops before the manifests are applied again, so it cannot repair the result.
    async fn let_the_injector_write(&self) {
        let kubeconfig = self.plane.kubeconfig_for_service_account(NAMESPACE, FULLNAME).await.unwrap();
        let flags = [
            "--cluster".to_owned(),
            format!("--namespace={NAMESPACE}"),
            format!("--tls-secret={FULLNAME}-ca"),
            format!("--webhook-configuration={FULLNAME}"),
            format!("--tls-name={FULLNAME}.{NAMESPACE}.svc"),
            "--tls-settle-delay=0s".to_owned(),
            "--tls-reload-interval=1s".to_owned(),
        ];
        let injector = Injector::start(Some(&kubeconfig), flags).await;
        let (status, log) = injector.terminate().await;
        assert!(status.success(), "{status}");
        assert!(!log.contains("forbidden"), "a right is missing:\n{log}");
    }

    /// The objects of the manifests as stored in the cluster, without status and its field managers
    /// if controllers write one.
    fn objects(&self) -> BTreeMap<String, Value> {
        let list = run(&mut self.with_manifests(&["get", "--show-managed-fields", "--output=json"]));
        let mut list: Value = serde_json::from_str(&list).unwrap();
        let objects = list["items"].as_array_mut().unwrap().iter_mut().map(|object| {
            let object = object.take();
            let name = format!(
                "{} {}",
                object["kind"].as_str().unwrap(),
                object["metadata"]["name"].as_str().unwrap()
            );
            (name, without_status(object))
        });
        objects.collect()
    }
}

fn without_status(mut object: Value) -> Value {
    if object.as_object_mut().unwrap().remove("status").is_some() {
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
    }
    object
}
