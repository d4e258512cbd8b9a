//! Properties of every pod.

use std::{collections::BTreeMap, sync::LazyLock};

use scaivault_inject::{
    Context, Decision, Enforcement, KubeVersion, Namespace, PodView, PolicySet, Settings, SkipReason,
    decide_with_policies, explain,
};
use scaivault_testkit::{PREFIX, apply, path_not_allowed, strip_ours, users_content};
use serde_json::Value;

static SETTINGS: LazyLock<Settings> = LazyLock::new(Settings::default);

/// The time at which expiry of exceptions is checked.
pub(crate) const NOW: i64 = 1_800_000_000;

/// Decides on a pod and checks the decision: a rejection has reasons; a patch only uses allowed
/// paths, applies, and preserves the user's part; an injection is complete after one call, and
/// detach is its inverse.
pub(crate) fn check(pod: &Value, namespace: &Namespace) {
    check_under(pod, namespace, PolicySet::empty());
}

/// The same with policies.
pub(crate) fn check_under(pod: &Value, namespace: &Namespace, policies: &PolicySet) {
    let decide_on = |pod, namespace| decide_under(pod, namespace, policies);
    let decision = decide_on(pod, namespace);
    assert_eq!(decision, decide_on(pod, namespace), "equal input gives equal output");
    let others = policies.iter().filter(|policy| policy.enforcement() != Enforcement::Audit);
    let others = PolicySet::new(others.cloned().collect());
    assert_eq!(decision, decide_under(pod, namespace, &others), "auditing policies change nothing");
    match &decision {
        Decision::Deny(denial) => {
            assert!(!denial.problems.is_empty(), "a refusal has its reasons");
            assert!(denial.problems.iter().all(|problem| !problem.to_string().is_empty()));
        }
        Decision::Inject(_) => {
            let injected = patched(pod, &decision);
            assert_eq!(users_content(&injected), users_content(pod), "the user's fields do not change");
            check_injected(pod, &injected, namespace, policies);
        }
        Decision::Skip(_) | Decision::Detach(_) => {
            patched(pod, &decision);
        }
    }
}

fn check_injected(pod: &Value, injected: &Value, namespace: &Namespace, policies: &PolicySet) {
    match decide_under(injected, namespace, policies) {
        Decision::Skip(skip) => assert_eq!(skip.reason, SkipReason::AlreadyInjected),
        other => panic!("a second inject comes to {other:?}"),
    }
    // A pod whose input already used reserved names or the injector's marks may lose them.
    if strip_ours(pod) != *pod {
        return;
    }
    let mut annotations: BTreeMap<_, _> = namespace.annotations.clone();
    annotations.insert(format!("{PREFIX}mutation-mode"), "ignore-and-detach".to_owned());
    let detaching = Namespace { annotations, ..namespace.clone() };
    let detach = decide_under(injected, &detaching, PolicySet::empty());
    assert!(matches!(detach, Decision::Detach(_)), "detach comes to {detach:?}");
    assert_eq!(patched(injected, &detach), *pod, "detach restores the pod");
}

fn decide_under(pod: &Value, namespace: &Namespace, policies: &PolicySet) -> Decision {
    let text = pod.to_string();
    let view = PodView::parse(&text).expect("the pods made here have the shape of one");
    let context = Context::new(&SETTINGS, namespace, KubeVersion::FILE_KEY_REF).with_policies(policies, NOW);
    let (decision, report) = decide_with_policies(&view, &context);
    assert!(report.uses.len() <= policies.len(), "a policy is used once");
    let _ = explain(&view, &context);
    decision
}

fn patched(pod: &Value, decision: &Decision) -> Value {
    let Some(patch) = decision.patch() else {
        return pod.clone();
    };
    let patch = serde_json::to_value(patch).expect("a patch is JSON");
    assert_eq!(path_not_allowed(&patch), None, "a patch keeps to its paths: {patch}");
    apply(pod, &patch).expect("a patch applies")
}
