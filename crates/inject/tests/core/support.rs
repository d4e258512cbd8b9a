//! A cluster for decisions, and the pod that results from a decision.

use std::collections::BTreeMap;

use scaivault_inject::annotations::{AnnotationSpec, Key, ValueKind, specs};
use scaivault_inject::{
    Context, Decision, Denial, Injection, InjectorConfig, KubeVersion, Namespace, OnProblem, PodView,
    Settings, decide, detach_by_name,
};
use scaivault_testkit::{apply, inspect, key, random::AnnotationKey};
use serde_json::{Value, json};

/// Where the API server mounts its own token.
pub(crate) const API_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Does what the API server's admission plugin `ServiceAccount` does before and after the webhooks:
/// mounts the token into every container that has no mount at this path.
pub(crate) fn mount_api_token(pod: &mut Value) {
    let volumes = inspect::names(inspect::entries(pod, "volumes"));
    let there = volumes.into_iter().find(|name| name.starts_with("kube-api-access-")).map(str::to_owned);
    let name = there.clone().unwrap_or_else(|| "kube-api-access-x7k2p".to_owned());
    let mount = json!({"name": name, "readOnly": true, "mountPath": API_TOKEN});
    let mut is_mounted = false;
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            if inspect::volume_at(container, API_TOKEN).is_none() {
                push(&mut container["volumeMounts"], mount.clone());
                is_mounted = true;
            }
        }
    }
    if is_mounted && there.is_none() {
        let token = json!({"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}});
        let volume = json!({"name": name, "projected": {"defaultMode": 420, "sources": [token]}});
        push(&mut pod["spec"]["volumes"], volume);
    }
}

fn push(list: &mut Value, value: Value) {
    if !list.is_array() {
        *list = json!([]);
    }
    list.as_array_mut().expect("it has just been made one").push(value);
}

/// A cluster with the newest features, allow-lists that do not reject random values, and a
/// namespace without annotations.
pub(crate) struct Cluster {
    settings: Settings,
    namespace: Namespace,
    workload_mutation_mode: Option<&'static str>,
    service_account_role: Option<&'static str>,
    kube_version: KubeVersion,
}

pub(crate) fn cluster() -> Cluster {
    Cluster::with(config())
}

/// The configuration of [`cluster`], as a starting point.
pub(crate) fn config() -> InjectorConfig {
    InjectorConfig {
        defaults: BTreeMap::from([("url".to_owned(), "https://scaivault.scailabs.ai".to_owned())]),
        init_image: Some("scailabs/scaivault-init:1.0".to_owned()),
        sidecar_image: Some("scailabs/scaivault-sidecar:1.0".to_owned()),
        allowed_urls: vec!["https://scaivault.example".to_owned()],
        allowed_images: vec!["registry.example/agent".to_owned(), "scailabs/scaivault-sidecar".to_owned()],
        token_url: Some("https://scaikey.example/oauth/token".to_owned()),
        ..InjectorConfig::default()
    }
}

impl Cluster {
    pub(crate) fn with(config: InjectorConfig) -> Self {
        Self {
            settings: Settings::try_from(config).expect("the tests' configuration has no problems"),
            namespace: Namespace { name: "billing".to_owned(), ..Namespace::default() },
            workload_mutation_mode: None,
            service_account_role: None,
            kube_version: KubeVersion::new(1, 36),
        }
    }

    /// A cluster whose injector only warns about problems.
    pub(crate) fn that_warns() -> Self {
        Self::with(InjectorConfig { on_problem: OnProblem::Warn, ..config() })
    }

    /// Sets an annotation of the injector on the namespace.
    pub(crate) fn namespace(mut self, name: &str, value: &str) -> Self {
        self.namespace.annotations.insert(key(name), value.to_owned());
        self
    }

    /// Sets `mutation-mode` on the workload that owns the pods.
    pub(crate) fn workload_mode(mut self, mode: &'static str) -> Self {
        self.workload_mutation_mode = Some(mode);
        self
    }

    /// Sets a ScaiKey identity on the pods' service account.
    pub(crate) fn service_account(mut self, role: &'static str) -> Self {
        self.service_account_role = Some(role);
        self
    }

    pub(crate) fn version(mut self, major: u16, minor: u16) -> Self {
        self.kube_version = KubeVersion::new(major, minor);
        self
    }

    pub(crate) fn context(&self) -> Context<'_> {
        let mode = self.workload_mutation_mode.map(|mode| mode.parse().expect("a mutation mode"));
        Context::new(&self.settings, &self.namespace, self.kube_version)
            .with_service_account_role(self.service_account_role)
            .with_workload_mutation_mode(mode)
    }

    pub(crate) fn decide(&self, pod: &Value) -> Decision {
        self.decide_text(&pod.to_string()).expect("a pod")
    }

    /// `None` if the text is not a pod.
    pub(crate) fn decide_text(&self, json: &str) -> Option<Decision> {
        let view = PodView::parse(json).ok()?;
        Some(decide(&view, &self.context()))
    }

    /// The injected pod; panics with the decision if there is no injection.
    pub(crate) fn inject(&self, pod: &Value) -> Value {
        let injection = self.injection(pod);
        patched(pod, &patch_json(&injection))
    }

    pub(crate) fn injection(&self, pod: &Value) -> Injection {
        match self.decide(pod) {
            Decision::Inject(injection) => *injection,
            Decision::Deny(denial) => panic!("denied: {}", denial.problems),
            other => panic!("{}/{}", other.outcome(), other.reason()),
        }
    }

    pub(crate) fn denial(&self, pod: &Value) -> Denial {
        match self.decide(pod) {
            Decision::Deny(denial) => denial,
            other => panic!("not denied: {}/{}", other.outcome(), other.reason()),
        }
    }

    /// The text of a rejection.
    pub(crate) fn refusal(&self, pod: &Value) -> String {
        self.denial(pod).problems.to_string()
    }

    /// The pod after the decision, whatever it is.
    pub(crate) fn outcome(&self, pod: &Value) -> Value {
        after(pod, &self.decide(pod))
    }

    /// Checks the outcome and the reason of a decision.
    #[track_caller]
    pub(crate) fn expect(&self, pod: &Value, outcome: &str, reason: &str) -> Decision {
        let decision = self.decide(pod);
        assert_eq!((decision.outcome(), decision.reason()), (outcome, reason), "{decision:?}");
        decision
    }

    /// Checks that the pod stays unchanged for this reason.
    #[track_caller]
    pub(crate) fn expect_untouched(&self, pod: &Value, reason: &str) {
        let decision = self.expect(pod, "skipped", reason);
        assert!(decision.patch().is_none_or(scaivault_inject::Patch::is_empty), "{decision:?}");
    }
}

/// The pod after `detach --by-name`.
pub(crate) fn detached_by_name(pod: &Value) -> Value {
    let text = pod.to_string();
    let view = PodView::parse(&text).expect("a pod");
    after(pod, &detach_by_name(&view))
}

/// The pod after a decision.
pub(crate) fn after(pod: &Value, decision: &Decision) -> Value {
    match decision.patch() {
        Some(patch) => patched(pod, &serde_json::to_value(patch).expect("a patch is JSON")),
        None => pod.clone(),
    }
}

/// The patch as the API server parses it.
pub(crate) fn patch_json(injection: &Injection) -> Value {
    serde_json::to_value(&injection.patch).expect("a patch is JSON")
}

/// The paths that a patch changes, in order.
pub(crate) fn paths(injection: &Injection) -> Vec<&str> {
    injection.patch.operations().iter().map(scaivault_inject::Operation::path).collect()
}

fn patched(pod: &Value, patch: &Value) -> Value {
    apply(pod, patch).unwrap_or_else(|error| panic!("{error}\npatch: {patch}\npod: {pod}"))
}

/// The registry's keys, for random annotations.
pub(crate) fn keys() -> Vec<AnnotationKey> {
    let row = |spec: &AnnotationSpec| AnnotationKey {
        text: spec.key.text(),
        takes_name: matches!(spec.key, Key::Named(_)),
        is_written: spec.value == ValueKind::Written,
        examples: spec.examples,
    };
    specs().map(row).collect()
}

/// The injected container of a pod that has exactly one.
#[track_caller]
pub(crate) fn agent(pod: &Value) -> &Value {
    match inspect::injected_containers(pod).as_slice() {
        [only] => only,
        containers => panic!("{} injected containers", containers.len()),
    }
}

/// A secret path that the default settings accept.
pub(crate) const DATABASE: &str = "environments/production/billing/database";
