//! What holds for every pod.

use std::{collections::BTreeMap, sync::LazyLock};

use scaivault_inject::{Context, Decision, KubeVersion, Namespace, PodView, Settings, SkipReason, decide};
use scaivault_testkit::{PREFIX, apply, path_not_allowed, strip_ours, users_content};
use serde_json::Value;

static SETTINGS: LazyLock<Settings> = LazyLock::new(Settings::default);

/// Decides on a pod and checks the decision: a refusal has its reasons, a patch keeps to its paths, applies, and leaves
/// what is the user's; an injection is complete the first time, and detach is its inverse.
pub(crate) fn check(pod: &Value, namespace: &Namespace) {
    let decision = decide_on(pod, namespace);
    assert_eq!(decision, decide_on(pod, namespace), "equal input gives equal output");
    match &decision {
        Decision::Deny(denial) => {
            assert!(!denial.problems.is_empty(), "a refusal has its reasons");
            assert!(denial.problems.iter().all(|problem| !problem.to_string().is_empty()));
        }
        Decision::Inject(_) => {
            let injected = patched(pod, &decision);
            assert_eq!(users_content(&injected), users_content(pod), "what is the user's stays as it is");
            check_injected(pod, &injected, namespace);
        }
        Decision::Skip(_) | Decision::Detach(_) => {
            patched(pod, &decision);
        }
    }
}

fn check_injected(pod: &Value, injected: &Value, namespace: &Namespace) {
    match decide_on(injected, namespace) {
        Decision::Skip(skip) => assert_eq!(skip.reason, SkipReason::AlreadyInjected),
        other => panic!("a second inject comes to {other:?}"),
    }
    // A pod that came with our names or our marks may be brought back to less than it was.
    if strip_ours(pod) != *pod {
        return;
    }
    let mut annotations: BTreeMap<_, _> = namespace.annotations.clone();
    annotations.insert(format!("{PREFIX}mutation-mode"), "ignore-and-detach".to_owned());
    let detaching = Namespace { annotations, ..namespace.clone() };
    let detach = decide_on(injected, &detaching);
    assert!(matches!(detach, Decision::Detach(_)), "detach comes to {detach:?}");
    assert_eq!(patched(injected, &detach), *pod, "detach gives back what was injected");
}

fn decide_on(pod: &Value, namespace: &Namespace) -> Decision {
    let text = pod.to_string();
    let view = PodView::parse(&text).expect("the pods made here have the shape of one");
    let context = Context::new(&SETTINGS, namespace, KubeVersion::FILE_KEY_REF);
    decide(&view, &context)
}

fn patched(pod: &Value, decision: &Decision) -> Value {
    let Some(patch) = decision.patch() else {
        return pod.clone();
    };
    let patch = serde_json::to_value(patch).expect("a patch is JSON");
    assert_eq!(path_not_allowed(&patch), None, "a patch keeps to its paths: {patch}");
    apply(pod, &patch).expect("a patch applies")
}
