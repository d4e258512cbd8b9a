//! Attacks of a tenant who wants a neighbour's secrets. The numbers are those of
//! `docs/threat-model.md`.
//!
//! The tenant creates pods in the namespace `billing`, sets any label, annotation and field of them
//! and annotations of the namespace, and uses service accounts of that namespace. The neighbour is
//! `payments`.

use std::collections::BTreeMap;

use scaivault_inject::{
    Allow, Context, Decision, Enforcement, Exception, InjectorConfig, KubeVersion, Namespace, PodView,
    Policy, PolicyEffect, PolicyMode, PolicyParts, PolicyReport, PolicySet, Selector, Settings,
    decide_with_policies,
};
use scaivault_testkit::{PodBuilder, container, inspect, key, pod};
use serde_json::{Value, json};

use crate::support::{after, config};

mod fields;
mod identity;
mod paths;
mod values;

/// A path of the neighbour.
const THEIRS: &str = "environments/production/payments/database";
/// A path of the tenant.
const OWN: &str = "environments/production/billing/database";
/// The current time in all tests, in Unix seconds.
const NOW: i64 = 1_800_000_000;

/// The cluster that is attacked.
struct Target {
    settings: Settings,
    namespace: Namespace,
    service_account_role: Option<&'static str>,
    policies: Vec<PolicyParts>,
}

fn target(policies: impl IntoIterator<Item = PolicyParts>) -> Target {
    let mut namespace = Namespace { name: "billing".to_owned(), ..Namespace::default() };
    namespace.labels.insert("kubernetes.io/metadata.name".to_owned(), "billing".to_owned());
    namespace.labels.insert("team".to_owned(), "billing".to_owned());
    let config = InjectorConfig { allowed_urls: vec![], allowed_images: vec![], ..config() };
    let settings = Settings::try_from(config).unwrap();
    Target { settings, namespace, service_account_role: None, policies: policies.into_iter().collect() }
}

/// A policy that selects every pod.
fn policy(name: &str) -> PolicyParts {
    PolicyParts { name: name.to_owned(), generation: 1, ..PolicyParts::default() }
}

/// Allows only paths below the namespace's own directory.
fn limits() -> PolicyParts {
    let paths = named(["environments/${environment}/${namespace}/**"]);
    let environment = Some("production".to_owned());
    PolicyParts { environment, allow: Allow { paths, ..Allow::default() }, ..policy("limits") }
}

#[expect(clippy::unnecessary_wraps, reason = "the lists of `Allow` may be absent")]
fn named<const N: usize>(entries: [&str; N]) -> Option<Vec<String>> {
    Some(entries.map(str::to_owned).to_vec())
}

fn selects(key: &str, value: &str) -> Selector {
    Selector { match_labels: BTreeMap::from([(key.to_owned(), value.to_owned())]), ..Selector::default() }
}

impl Target {
    fn decide(&self, pod: &Value) -> (Decision, PolicyReport) {
        let compiled = self.policies.iter().cloned().map(|parts| Policy::compile(parts).unwrap());
        let policies = PolicySet::new(compiled.collect());
        let text = pod.to_string();
        let view = PodView::parse(&text).unwrap();
        let context = Context::new(&self.settings, &self.namespace, KubeVersion::new(1, 36))
            .with_service_account_role(self.service_account_role)
            .with_policies(&policies, NOW);
        decide_with_policies(&view, &context)
    }

    /// Checks that the pod is rejected with these words.
    #[track_caller]
    fn refuses(&self, pod: &Value, said: &[&str]) -> String {
        let problems = match self.decide(pod).0 {
            Decision::Deny(denial) => denial.problems.to_string(),
            other => panic!("{}/{}: {pod}\n{other:?}", other.outcome(), other.reason()),
        };
        for word in said {
            assert!(problems.contains(word), "no {word:?} in {problems}");
        }
        assert!(!problems.contains(char::is_control), "{problems:?}");
        problems
    }

    #[track_caller]
    fn injects(&self, pod: &Value) -> Value {
        match self.decide(pod).0 {
            decision @ Decision::Inject(_) => after(pod, &decision),
            Decision::Deny(denial) => panic!("denied: {}", denial.problems),
            other => panic!("{}/{}", other.outcome(), other.reason()),
        }
    }

    /// The mappings of the agents in the injected pod.
    #[track_caller]
    fn reads(&self, pod: &Value) -> String {
        let injected = self.injects(pod);
        let mappings = ["SECRETS", "WATCH_PATHS", "DYNAMIC", "SECRET_ENV"];
        let agents = inspect::injected_containers(&injected);
        let read = agents
            .iter()
            .flat_map(|agent| mappings.map(|name| inspect::env(agent, name).unwrap_or_default()));
        read.collect::<Vec<_>>().join("\n")
    }
}

fn asks(source: &str) -> PodBuilder {
    pod().annotate("inject-secret-x", source)
}

fn labelled(pod: PodBuilder, key: &str, value: &str) -> Value {
    let mut pod = pod.json();
    pod["metadata"]["labels"][key] = value.into();
    pod
}

/// The tenant can read its own secrets, so the attacks do not fail merely because everything is
/// rejected.
#[test]
fn the_tenant_gets_its_own_secrets() {
    let target = target([limits()]);
    assert!(target.reads(&asks(OWN).json()).contains(OWN));
    assert!(target.reads(&asks("environments/${environment}/${namespace}/database").json()).contains(OWN));
    target.refuses(
        &asks(THEIRS).json(),
        &["policy limits does not allow this path", "environments/production/billing/**"],
    );
}
