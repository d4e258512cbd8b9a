//! `InjectionPolicies` with an installed chart. Policies apply to the whole cluster, so each test
//! selects its own namespaces.

use std::{collections::BTreeSet, path::PathBuf};

use kube::{
    Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use scaivault_testkit::{inspect, key};
use serde_json::{Value, json};

use crate::support::{
    api, cluster_api, create, eventually, injection_policies,
    kubectl::{Kubectl, said},
    object,
    release::{Release, create_pod, is_injected, is_untouched, pod},
    run,
    workload::{all_pods, workload},
};

const PATH: &str = "environments/production/billing/database";
const LABEL: &str = "scaivault.scailabs.ai/injection";

/// A namespace whose pods are all sent to the injector, and for which a test writes policies.
struct GovernedNamespace<'r> {
    release: &'r Release,
    client: Client,
    namespace: String,
}

impl<'r> GovernedNamespace<'r> {
    async fn new(release: &'r Release, prefix: &str) -> Self {
        let (client, namespace) = (release.client().await, release.namespace(prefix).await);
        let governed = Self { release, client, namespace };
        governed.label(json!({LABEL: "enabled"})).await;
        governed
    }

    async fn label(&self, labels: Value) {
        let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
        let namespaces = cluster_api(&self.client, "v1", "Namespace");
        namespaces.patch(&self.namespace, &PatchParams::default(), &patch).await.unwrap();
    }

    /// The name of a policy of this test.
    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace)
    }

    /// Applies a policy for the namespace.
    async fn apply(&self, name: &str, mut spec: Value) -> String {
        let name = self.name(name);
        spec["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": self.namespace}});
        let policy = json!({
            "apiVersion": "scaivault.scailabs.ai/v1alpha1", "kind": "InjectionPolicy", "metadata": {"name": name},
            "spec": spec,
        });
        let params = PatchParams::apply("tests").force();
        injection_policies(&self.client).patch(&name, &params, &Patch::Apply(policy)).await.unwrap();
        name
    }

    async fn delete(&self, name: &str) {
        injection_policies(&self.client).delete(&self.name(name), &DeleteParams::default()).await.unwrap();
    }

    /// The dry-run result for a pod with these annotations.
    async fn dry_run(&self, annotations: &Value) -> Result<Value, String> {
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let made = api(&self.client, "v1", "Pod", &self.namespace)
            .create(&dry_run, &object(pod("probe", annotations)))
            .await;
        made.map(|pod| serde_json::to_value(pod).unwrap()).map_err(|error| error.to_string())
    }

    /// Waits until the result for a pod without annotations satisfies `holds`.
    async fn until(&self, what: &str, holds: impl Fn(&Result<Value, String>) -> bool) {
        eventually(what, async || holds(&self.dry_run(&json!({})).await).then_some(())).await;
    }

    async fn until_injected(&self) {
        self.until("an injection by the policy", |made| made.as_ref().is_ok_and(is_injected)).await;
    }

    /// Waits until the status of a policy is as expected; returns the policy.
    async fn until_status(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let name = self.name(name);
        eventually(what, async || {
            let policy = injection_policies(&self.client).get(&name).await.unwrap();
            let status = policy.data["status"].clone();
            holds(&status).then_some(status)
        })
        .await
    }

    fn kubectl(&self) -> Kubectl<'_> {
        Kubectl { plane: self.release.plane, namespace: &self.namespace }
    }
}

fn secret(path: &str) -> Value {
    json!({"secrets": [{"name": "db.json", "path": path}]})
}

fn asks_for(path: &str) -> Value {
    json!({key("inject-secret-db.json"): path})
}

fn condition<'s>(status: &'s Value, kind: &str) -> &'s Value {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

/// The agent's mappings.
fn mappings(pod: &Value) -> String {
    inspect::injected_containers(pod).iter().filter_map(|agent| inspect::env(agent, "SECRETS")).collect()
}

#[tokio::test]
async fn a_policy_injects_pods_without_annotations() {
    let governed = GovernedNamespace::new(Release::shared().await, "policy-injects").await;
    let before = create_pod(&governed.client, &governed.namespace, pod("before", &json!({}))).await.unwrap();
    assert!(is_untouched(&before), "{before}");
    let inject = json!({
        "secrets": [{"name": "db.json", "path": "environments/${environment}/${namespace}/database"}],
        "variables": [{"name": "DB_PASSWORD", "secret": "environments/production/billing/database#password"}],
    });
    let name = governed.apply("billing", json!({"environment": "production", "inject": inject})).await;
    governed.until_injected().await;

    governed.kubectl().apply(&workload("Deployment", "app", &json!({}))).quiet();
    let pods = all_pods(&governed.client, &governed.namespace, "app", 2, is_injected).await;
    for pod in &pods {
        let path = format!("environments/production/{}/database", governed.namespace);
        assert!(mappings(pod).contains(&path), "{pod}");
        let app = inspect::app_container(pod, "app").unwrap();
        assert!(inspect::env_names(app).contains(&"DB_PASSWORD"), "{app}");
        assert!(inspect::mount(app, "scaivault-secrets").is_some(), "{app}");
        let receipt = inspect::injector_annotation(pod, "receipt").unwrap();
        assert!(receipt.contains(&format!("{name}@1")), "{receipt}");
    }
    governed.release.until_logged(&format!("\"policies\":\"{name}@1:injected\"")).await;
    let status = governed
        .until_status("billing", "both pods in the status", |status| status["pods"]["injected"] == 2)
        .await;
    assert_eq!(
        (condition(&status, "Accepted")["status"].as_str(), &status["namespaces"]),
        (Some("True"), &json!(1))
    );
    assert_eq!(condition(&status, "Reachable")["status"], "True");

    // Changes apply to pods that are created later.
    governed
        .apply(
            "billing",
            json!({"environment": "staging", "inject": secret("environments/${environment}/x")}),
        )
        .await;
    governed
        .until("the changed policy", |made| {
            made.as_ref().is_ok_and(|pod| mappings(pod).contains("environments/staging/x"))
        })
        .await;
    governed.delete("billing").await;
    governed.until("no injection", |made| made.as_ref().is_ok_and(is_untouched)).await;
    for pod in all_pods(&governed.client, &governed.namespace, "app", 2, is_injected).await {
        assert!(mappings(&pod).contains("environments/production"), "{pod}");
    }
}

#[tokio::test]
async fn a_pod_outside_its_limits_is_refused_by_name() {
    let governed = GovernedNamespace::new(Release::shared().await, "policy-limits").await;
    let own = format!("environments/production/{}/database", governed.namespace);
    let name =
        governed.apply("limits", json!({"allow": {"paths": ["environments/*/${namespace}/**"]}})).await;
    let refused = eventually("a refusal", async || governed.dry_run(&asks_for(PATH)).await.err()).await;
    for word in [&*name, PATH, "inject-secret-db.json", &format!("environments/*/{}/**", governed.namespace)]
    {
        assert!(refused.contains(word), "without {word:?}: {refused}");
    }
    assert!(is_injected(&governed.dry_run(&asks_for(&own)).await.unwrap()));
    // Limits apply wherever the webhook is called for an annotated pod, even if the label is
    // removed.
    governed.label(json!({LABEL: null})).await;
    eventually("the same refusal by the other entry", async || governed.dry_run(&asks_for(PATH)).await.err())
        .await;
    governed.kubectl().apply(&pod("refused", &asks_for(PATH))).refused(&[&name]);
    let status = governed
        .until_status("limits", "the refusal in the status", |status| status["pods"]["refused"] == 1)
        .await;
    let refusal = &status["lastRefusal"];
    assert_eq!(
        (refusal["namespace"].as_str(), refusal["pod"].as_str()),
        (Some(&*governed.namespace), Some("refused"))
    );
    assert!(
        refusal["message"].as_str().unwrap().contains("policy-limit (inject-secret-db.json)"),
        "{refusal}"
    );
}

#[tokio::test]
async fn warn_admits_with_a_warning_and_audit_reports() {
    let governed = GovernedNamespace::new(Release::shared().await, "policy-lax").await;
    let limits =
        |enforcement: &str| json!({"enforcement": enforcement, "allow": {"paths": ["nothing/at/all"]}});
    let name = governed.apply("lax", limits("warn")).await;
    let warned = eventually("a warning", async || {
        let said = governed
            .kubectl()
            .run_with("create --dry-run=server --filename=-", &pod("warned", &asks_for(PATH)));
        said.err.contains("Warning: ").then_some(said)
    })
    .await;
    warned.warned(&[&name, PATH]);
    governed.kubectl().apply(&pod("warned", &asks_for(PATH))).warned(&[&name]);
    governed
        .until_status("lax", "the warned pod in the status", |status| status["pods"]["warned"] == 1)
        .await;

    governed.apply("lax", limits("audit")).await;
    eventually("no warning", async || {
        let said = governed
            .kubectl()
            .run_with("create --dry-run=server --filename=-", &pod("audited", &asks_for(PATH)));
        (said.is_success && !said.err.contains("Warning: ")).then_some(())
    })
    .await;
    governed.kubectl().apply(&pod("audited", &asks_for(PATH))).quiet();
    governed
        .until_status("lax", "the audited pod in the status", |status| status["pods"]["audited"] == 1)
        .await;
    let line = governed.release.until_logged(&format!("{name}@2:audited")).await;
    assert!(line.contains(PATH), "{line}");
}

#[tokio::test]
async fn two_policies_that_disagree_are_both_named() {
    let governed = GovernedNamespace::new(Release::shared().await, "policy-conflict").await;
    let one = governed.apply("one", json!({"environment": "production", "inject": secret("a/b")})).await;
    governed.until_injected().await;
    let other = governed.apply("other", json!({"environment": "staging"})).await;
    let refused = eventually("a refusal", async || governed.dry_run(&json!({})).await.err()).await;
    assert!(refused.contains(&one) && refused.contains(&other), "{refused}");
    for (name, theirs) in [("one", &other), ("other", &one)] {
        let status = governed
            .until_status(name, "the conflict in the status", |status| {
                condition(status, "Conflicted")["status"] == "True"
            })
            .await;
        let message = condition(&status, "Conflicted")["message"].as_str().unwrap();
        assert!(message.contains(&**theirs) && message.contains(&governed.namespace), "{message}");
    }
    governed.delete("other").await;
    governed.until_injected().await;
    governed
        .until_status("one", "the end of the conflict", |status| {
            condition(status, "Conflicted")["status"] == "False"
        })
        .await;
}

#[tokio::test]
async fn a_policy_that_cannot_be_used_is_refused_when_it_is_applied() {
    let governed = GovernedNamespace::new(Release::shared().await, "policy-bad").await;
    let policy = |spec: Value| {
        json!({
            "apiVersion": "scaivault.scailabs.ai/v1alpha1", "kind": "InjectionPolicy",
            "metadata": {"name": governed.name("bad")}, "spec": spec,
        })
    };
    // A mistake that the schema and its rules cannot detect.
    let bad = json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": governed.namespace}},
        "defaults": {"refresh-interval": "soon", "mount-path": "relative"},
    });
    governed.kubectl().apply(&policy(bad)).refused(&[
        "policy.injector.scaivault.scailabs.ai",
        "refresh-interval",
        "mount-path",
        "soon",
    ]);
}

/// Labels select policies. A tenant who may change the labels of a namespace must not be able to
/// select its policies.
#[tokio::test]
async fn a_tenant_cannot_label_a_namespace_for_a_policy() {
    let governed = GovernedNamespace::new(Release::shared().await, "policy-tenant").await;
    let user = format!("tenant-{}", governed.namespace);
    let group = "rbac.authorization.k8s.io";
    let role = json!({
        "metadata": {"name": user},
        "rules": [{"apiGroups": [""], "resources": ["namespaces", "namespaces/status"], "verbs": ["get", "patch", "update"], "resourceNames": [governed.namespace]}],
    });
    let binding = json!({
        "metadata": {"name": user}, "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": user},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    });
    for (kind, value) in [("ClusterRole", role), ("ClusterRoleBinding", binding)] {
        create(&cluster_api(&governed.client, &format!("{group}/v1"), kind), value).await.unwrap();
    }
    let kubeconfig: PathBuf = governed.release.plane.kubeconfig_for_user(&user, &[]).unwrap();
    let label = |words: &str| {
        let mut command = governed
            .kubectl()
            .command(&format!("label namespace {} --overwrite {words}", governed.namespace));
        command.arg("--kubeconfig").arg(&kubeconfig);
        said(command, None)
    };
    eventually("the tenant's right", async || label("mood=good").is_success.then_some(())).await;
    for words in [
        "scaivault.scailabs.ai/team=billing",
        "scaivault.scailabs.ai/injection-",
        "scaivault.scailabs.ai/injection=off",
    ] {
        label(words).refused(&["scaivault.scailabs.ai/ choose the InjectionPolicies", "label-namespaces"]);
    }
    let mut status = governed.kubectl().command(&format!(
        "patch namespace {} --subresource status --type merge --patch",
        governed.namespace
    ));
    status.arg(r#"{"metadata": {"labels": {"scaivault.scailabs.ai/team": "billing"}}}"#);
    status.arg("--kubeconfig").arg(&kubeconfig);
    said(status, None).refused(&["scaivault.scailabs.ai/ choose the InjectionPolicies", "label-namespaces"]);
    label("mood-").ok();
    // The permission to label namespaces for policies can be granted separately.
    let roles = cluster_api(&governed.client, &format!("{group}/v1"), "ClusterRole");
    let mut role = roles.get(&user).await.unwrap();
    role.data["rules"].as_array_mut().unwrap().push(json!({
        "apiGroups": ["scaivault.scailabs.ai"], "resources": ["injectionpolicies"], "verbs": ["label-namespaces"],
    }));
    roles.replace(&user, &PostParams::default(), &role).await.unwrap();
    eventually("the right to label", async || {
        label("scaivault.scailabs.ai/team=billing").is_success.then_some(())
    })
    .await;
}

#[tokio::test]
async fn namespaces_of_a_policy_are_labelled_if_allowed() {
    let release = Release::install("labels", json!({"policies": {"labelNamespaces": true}})).await;
    let (client, namespace) = (release.client().await, release.namespace("policy-label").await);
    let governed = GovernedNamespace { release: &release, client, namespace };
    let label = async || {
        let namespace =
            cluster_api(&governed.client, "v1", "Namespace").get(&governed.namespace).await.unwrap();
        namespace
            .metadata
            .labels
            .unwrap_or_default()
            .get("scaivault.scailabs.ai/injection-by-policy")
            .cloned()
    };
    governed.apply("inject", json!({"inject": secret("a/b"), "enforcement": "audit"})).await;
    eventually("the label for reports", async || label().await.filter(|value| value == "audit")).await;
    governed.apply("inject", json!({"inject": secret("a/b")})).await;
    eventually("the label", async || label().await.filter(|value| value == "enabled")).await;
    governed.until_injected().await;
    governed.apply("inject", json!({"inject": secret("a/b"), "enforcement": "warn"})).await;
    eventually("the label for reports again", async || label().await.filter(|value| value == "audit")).await;
    governed.until_injected().await;
    // Two other webhooks handle some of the pods of such a namespace. Each pod is sent once.
    let (out, receipt) =
        (json!({key("inject"): "false"}), json!({key("inject"): "false", key("receipt"): "{}"}));
    let removal = json!({key("mutation-mode"): "ignore-and-detach", key("receipt"): "{}"});
    for annotations in [json!({}), json!({"other": "a"}), asks_for("a/b"), out, receipt, removal] {
        let before = release.admissions_without_policies().await;
        let made = governed.dry_run(&annotations).await;
        assert_eq!(release.admissions_without_policies().await - before, 1, "{annotations}: {made:?}");
    }
    governed.delete("inject").await;
    eventually("no label", async || label().await.is_none().then_some(())).await;
}

/// A replica that starts while the API server is unavailable does not know the policies.
#[tokio::test]
async fn a_replica_without_policies_refuses() {
    let release = Release::install_by_url("policy-cut-off").await;
    let governed = GovernedNamespace::new(&release, "policy-waits").await;
    governed.apply("inject", json!({"inject": secret("a/b")})).await;
    governed.until_injected().await;
    release.stop().await;
    release.start_cut_off().await;
    let refused = eventually("a refusal for a pod that says nothing", async || {
        governed.dry_run(&json!({})).await.err()
    })
    .await;
    assert!(refused.contains("policies.injector.scaivault.scailabs.ai"), "{refused}");
    let refused = governed.dry_run(&asks_for("a/b")).await.unwrap_err();
    assert!(refused.contains("failed calling webhook"), "{refused}");
    let unlabelled = release.namespace("policy-free").await;
    let free = create_pod(&governed.client, &unlabelled, pod("free", &json!({}))).await.unwrap();
    assert!(is_untouched(&free), "pods of other namespaces do not wait: {free}");
    release.stop().await;
    release.start().await;
    governed.until_injected().await;
}

/// During a rollout, replicas of a release without policies are called, too.
#[tokio::test]
async fn a_replica_without_policies_admits_no_pod_for_them() {
    let release = Release::install_by_url("policy-older").await;
    let governed = GovernedNamespace::new(&release, "policy-rolls").await;
    governed.apply("inject", json!({"inject": secret("a/b")})).await;
    governed.until_injected().await;
    release.stop().await;
    release.start_without_policies().await;
    let refused = eventually("a refusal for a pod that says nothing", async || {
        governed.dry_run(&json!({})).await.err()
    })
    .await;
    assert!(refused.contains("policies.injector.scaivault.scailabs.ai"), "{refused}");
    assert!(refused.contains("could not find the requested resource"), "{refused}");
    let unlabelled = release.namespace("policy-no").await;
    let injected = create_pod(&governed.client, &unlabelled, pod("asks", &asks_for("a/b"))).await.unwrap();
    assert!(is_injected(&injected), "other namespaces are served: {injected}");
    release.stop().await;
    release.start().await;
    governed.until_injected().await;
}

/// Every metric about policies, from a replica with some policies.
#[tokio::test]
async fn metrics_report_policies() {
    let release = Release::install("policy-metrics", json!({})).await;
    let governed = GovernedNamespace::new(&release, "policy-counted").await;
    governed.apply("inject", json!({"inject": secret("a/b")})).await;
    governed.until_injected().await;
    create_pod(&governed.client, &governed.namespace, pod("counted", &json!({}))).await.unwrap();
    eventually("the pod", async || {
        let counted = release.counter("scaivault_injector_policy_pods_total{effect=\"injected\"}").await;
        (counted == 1).then_some(())
    })
    .await;
    eventually("a written status", async || {
        (release.counter("scaivault_injector_policy_writes_total{result=\"status\"}").await > 0).then_some(())
    })
    .await;
    assert!(release.counter("scaivault_injector_policies{state=\"in-force\"}").await >= 1);
    let errors: BTreeSet<_> = release
        .log()
        .await
        .lines()
        .filter(|line| line.contains("\"level\":\"ERROR\""))
        .map(str::to_owned)
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    let listed = run(governed.kubectl().command("get injectionpolicies").arg("--no-headers"));
    assert!(listed.contains(&governed.name("inject")), "{listed}");
}
