//! The secrets that a pod gets, for the restart controller, which follows their versions.

use std::collections::BTreeMap;

use scaivault_contract::{Deferred, DeferredSecret, SecretPath};

use crate::{
    Context, Decision, PodView, SkipReason, decide, derived::with_intent, intent::Intent, pattern::Pattern,
};

/// The secrets that a pod (template) gets, as policies and annotations say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSecrets {
    /// The secrets whose current version is read, sorted by path.
    pub secrets: Vec<DeliveredSecret>,
    /// How many secrets have a path that depends on the pod's name or node.
    pub by_pod: usize,
}

/// One secret of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveredSecret {
    /// Where it is.
    pub path: SecretPath,
    /// A sidecar brings every change of it to the pod's files, and no variable is made of it.
    pub is_refreshed: bool,
}

/// The secrets that a pod gets; none if it is refused, or left alone. Pinned versions never change and are left out, and so are
/// dynamic credentials, which the sidecar renews.
pub fn delivered(pod: &PodView<'_>, context: &Context<'_>) -> PodSecrets {
    let is_injected = match decide(pod, context) {
        Decision::Inject(_) => true,
        Decision::Skip(skip) => skip.reason == SkipReason::AlreadyInjected,
        Decision::Detach(_) | Decision::Deny(_) => false,
    };
    if !is_injected {
        return PodSecrets::default();
    }
    with_intent(pod, context, |resolved| from_intent(&resolved.intent))
}

fn from_intent(intent: &Intent<'_>) -> PodSecrets {
    let is_refreshed = intent.pattern == Pattern::Sidecar;
    let files = intent.secrets.iter().flat_map(|mapping| mapping.source.secrets());
    let files = files.map(|secret| (secret, is_refreshed));
    // A variable keeps its value as long as the container runs.
    let variables = intent.variables.iter().map(|mapping| (&mapping.secret, false));
    from_secrets(files.chain(variables))
}

fn from_secrets<'a>(secrets: impl Iterator<Item = (&'a DeferredSecret, bool)>) -> PodSecrets {
    let mut by_path: BTreeMap<&SecretPath, bool> = BTreeMap::new();
    let mut by_pod = 0;
    for (secret, is_refreshed) in secrets.filter(|(secret, _)| secret.version.is_none()) {
        match &secret.path {
            Deferred::Fixed(path) => *by_path.entry(path).or_insert(true) &= is_refreshed,
            Deferred::Open(_) => by_pod += 1,
        }
    }
    let secrets = by_path.into_iter();
    let secrets = secrets.map(|(path, is_refreshed)| DeliveredSecret { path: path.clone(), is_refreshed });
    PodSecrets { secrets: secrets.collect(), by_pod }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{KubeVersion, Namespace, Settings};

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "callers write JSON in place")]
    fn check(annotations: Value, expected: &[(&str, bool)], by_pod: usize) {
        let annotations: serde_json::Map<_, _> = annotations
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (format!("scaivault.scailabs.ai/{key}"), value.clone()))
            .collect();
        let template = json!({
            "metadata": {"annotations": annotations},
            "spec": {"containers": [{"name": "app", "image": "app:1"}]},
        });
        let text = template.to_string();
        let pod = PodView::parse(&text).unwrap();
        let (settings, namespace) = (Settings::default(), Namespace::default());
        let newest: KubeVersion = "1.36".parse().unwrap();
        let found = delivered(&pod, &Context::new(&settings, &namespace, newest));
        let secrets: Vec<_> =
            found.secrets.iter().map(|secret| (secret.path.as_str(), secret.is_refreshed)).collect();
        assert_eq!((secrets.as_slice(), found.by_pod), (expected, by_pod));
    }

    #[test]
    fn an_init_container_reads_once_and_a_sidecar_again() {
        check(
            json!({"inject-secret-a": "a/b", "inject-secret-b": "x=a/b y=c/d"}),
            &[("a/b", false), ("c/d", false)],
            0,
        );
        check(json!({"inject-secret-a": "a/b", "pattern": "sidecar"}), &[("a/b", true)], 0);
    }

    #[test]
    fn a_variable_is_never_refreshed() {
        let annotations = json!({"inject-secret-a": "a/b", "inject-env-B": "a/b#c", "pattern": "sidecar"});
        check(annotations, &[("a/b", false)], 0);
    }

    #[test]
    fn pinned_and_pod_specific_secrets_are_not_listed() {
        check(json!({"inject-secret-a": "a/b@3", "inject-secret-c": "c/${pod}"}), &[], 1);
    }

    #[test]
    fn a_pod_that_gets_nothing_delivers_nothing() {
        check(json!({"inject-secret-a": "a/b", "inject": "false"}), &[], 0);
        check(json!({"inject-secret-a": "A B"}), &[], 0);
        check(json!({}), &[], 0);
    }
}
