use scaivault_inject::{
    Code, Injection, InjectorConfig, KubeVersion, Layer, OnProblem, Operation as PatchOperation, Pattern,
    Policy, PolicyParts, PolicySet, Problem, Selector, Settings, SkipReason, Value,
    workload::ValidationReason,
};
use tokio::sync::watch;

use super::*;
use crate::{
    context::{NoCluster, PolicyReview},
    testing::{asking, context, review},
};

fn verdict(edit: &[(&str, &str)]) -> Verdict {
    admit(Endpoint::Mutate, &Request::decode(Endpoint::Mutate, review(edit).as_bytes()).unwrap(), &context())
}

#[test]
fn only_the_creation_of_a_pod_is_decided() {
    let pod = r#""kind":"Pod"},"resource""#;
    let cases = [
        (&[("CREATE", "UPDATE")][..], IgnoreReason::Update),
        (&[("CREATE", "DELETE")], IgnoreReason::Delete),
        (&[("CREATE", "CONNECT")], IgnoreReason::Connect),
        (&[("CREATE", "PATCH")], IgnoreReason::OtherOperation),
        (&[(r#""name":"""#, r#""name":"web","subResource":"resize""#)], IgnoreReason::Subresource),
        (
            &[(r#""name":"""#, r#""name":"web","subResource":"status""#), ("CREATE", "UPDATE")],
            IgnoreReason::Subresource,
        ),
        (&[(pod, r#""kind":"Deployment"},"resource""#)], IgnoreReason::NotAPod),
        (
            &[(
                r#"{"group":"","version":"v1","kind":"Pod"}"#,
                r#"{"group":"x.io","version":"v1","kind":"Pod"}"#,
            )],
            IgnoreReason::NotAPod,
        ),
    ];
    for (edit, expected) in cases {
        let verdict = verdict(edit);
        assert_eq!(verdict.reason, Reason::Ignored(expected), "{edit:?}");
        assert!(verdict.patch.is_none() && verdict.refusal.is_none());
    }
    assert!(matches!(verdict(&[]).reason, Reason::Skipped(SkipReason::NotAnnotated)));
}

#[test]
fn an_object_that_is_no_pod_is_refused() {
    for object in ["null", "7", r#"{"metadata":7}"#, r#"{"spec":{"containers":"app"}}"#] {
        let verdict = verdict(&[(r#""object":{"#, &format!(r#""object":{object},"other":{{"#))]);
        assert_eq!(verdict.reason, Reason::Denied(DenialReason::MalformedPod), "{object}");
        assert_eq!(verdict.refusal.unwrap().code, 422);
    }
}

#[test]
fn annotations_with_problems_are_refused_with_all_of_them() {
    let annotations = r#""annotations":{"scaivault.scailabs.ai/inject-secret-db":"a//b","scaivault.scailabs.ai/pattern":"x"},"labels""#;
    let verdict = verdict(&[(r#""labels""#, annotations)]);
    assert_eq!(verdict.reason, Reason::Denied(DenialReason::Problems));
    let message = verdict.refusal.unwrap().message;
    assert!(message.contains("inject-secret-db") && message.contains("pattern"), "{message}");
}

#[test]
fn an_unknown_namespace_is_deferred() {
    let asks = |edit: &[(&str, &str)]| {
        admit(
            Endpoint::Mutate,
            &Request::decode(Endpoint::Mutate, asking(edit).as_bytes()).unwrap(),
            &context(),
        )
        .reason
    };
    let unknown = ("\"shop\"", "\"unknown\"");
    assert_eq!(asks(&[unknown]), Reason::Deferred(Deferral::Namespace));
    let account = ("\"spec\":{", "\"spec\":{\"serviceAccountName\":\"unknown\",");
    assert_eq!(asks(&[account]), Reason::Deferred(Deferral::ServiceAccount));
    let plain = verdict(&[unknown, account]).reason;
    assert_eq!(plain, Reason::Skipped(SkipReason::NotAnnotated), "a pod without annotations does not wait");
}

#[test]
fn the_service_account_provides_its_role() {
    let account = ("\"spec\":{", "\"spec\":{\"serviceAccountName\":\"billing\",");
    let patch = |edit: &[(&str, &str)]| {
        let text = asking(edit);
        let verdict =
            admit(Endpoint::Mutate, &Request::decode(Endpoint::Mutate, text.as_bytes()).unwrap(), &context());
        serde_json::to_string(&verdict.patch.unwrap()).unwrap()
    };
    assert!(patch(&[account]).contains("billing-role"));
    assert!(!patch(&[]).contains("billing-role"));
}

#[test]
fn settings_and_version_can_be_replaced() {
    let context = context();
    let misspelt = asking(&[("apps/db", "a//b")]);
    let decide = || {
        admit(Endpoint::Mutate, &Request::decode(Endpoint::Mutate, misspelt.as_bytes()).unwrap(), &context)
            .reason
    };
    assert_eq!(decide(), Reason::Denied(DenialReason::Problems));
    let config = InjectorConfig { on_problem: OnProblem::Warn, ..InjectorConfig::default() };
    context.replace_settings(config.try_into().unwrap());
    assert_eq!(decide(), Reason::Skipped(SkipReason::Problems));
    context.replace_kube_version(KubeVersion::FILE_KEY_REF);
    assert_eq!(context.kube_version(), KubeVersion::FILE_KEY_REF);
}

fn problems() -> Problems {
    let mut problems = Problems::new();
    problems.push(Problem {
        code: Code::InvalidValue,
        key: Some("secret-mode-db".into()),
        layer: Layer::Pod,
        value: None,
        message: "not octal".into(),
        allowed: None,
        fix: "write 0400".into(),
    });
    problems
}

#[test]
fn a_denial_lists_all_problems() {
    let verdict = Verdict::from(Decision::Deny(Denial { problems: problems(), warnings: vec!["w".into()] }));
    let refusal = verdict.refusal.unwrap();
    assert_eq!((refusal.code, refusal.reason), (403, "Forbidden"));
    assert_eq!(refusal.message, problems().to_string());
    assert_eq!(verdict.reason, Reason::Denied(DenialReason::Problems));
    assert_eq!(verdict.warnings, ["w"]);
}

#[test]
fn a_pod_admitted_with_problems_keeps_them() {
    let skip = Skip { problems: problems(), warnings: vec!["w".into()], ..SkipReason::Problems.into() };
    let verdict = Verdict::from(Decision::Skip(skip));
    assert_eq!(verdict.reason, Reason::Skipped(SkipReason::Problems));
    assert_eq!((verdict.problems.len(), verdict.warnings.len()), (1, 1));
    assert!(verdict.refusal.is_none());
}

#[test]
fn injection_and_detachment_carry_their_patch() {
    let patch = Patch::new(vec![PatchOperation::Add { path: "/spec/x".into(), value: Value::Switch(true) }]);
    let injection = Decision::Inject(Box::new(Injection {
        patch: patch.clone(),
        pattern: Pattern::Sidecar,
        secrets: 1,
        replaced: false,
        warnings: Vec::new(),
    }));
    let verdict = Verdict::from(injection);
    assert_eq!((verdict.reason, verdict.patch), (Reason::Injected(Pattern::Sidecar), Some(patch.clone())));
    let verdict = Verdict::from(Decision::Detach(Detachment { patch: patch.clone(), warnings: Vec::new() }));
    assert_eq!((verdict.reason, verdict.patch), (Reason::Detached, Some(patch)));
}

/// A cluster whose policies are given by the test.
struct PolicyCluster {
    policies: Lookup<Policies>,
    namespace_is_known: bool,
}

impl Cluster for PolicyCluster {
    fn namespace(&self, name: &str) -> Lookup<Arc<Namespace>> {
        if self.namespace_is_known { NoCluster.namespace(name) } else { Lookup::Unknown }
    }

    fn service_account_role(&self, _namespace: &str, _service_account: &str) -> Lookup<Option<Arc<str>>> {
        Lookup::Unknown
    }

    fn policies(&self) -> Lookup<Policies> {
        self.policies.clone()
    }

    fn review_policy(&self, object: &str) -> PolicyReview {
        let problems = object.contains("bad").then(|| "spec.priority: too high".to_owned());
        PolicyReview { problems: problems.into_iter().collect(), warnings: vec!["w".to_owned()] }
    }

    fn changes(&self) -> watch::Receiver<()> {
        NoCluster.changes()
    }
}

fn governed(policies: Lookup<Policies>, namespace_is_known: bool, entry: Endpoint, review: &str) -> Verdict {
    let cluster = Arc::new(PolicyCluster { policies, namespace_is_known });
    let context = AdmissionContext::new(Settings::default(), KubeVersion::OLDEST, cluster);
    admit(entry, &Request::decode(entry, review.as_bytes()).unwrap(), &context)
}

fn policies(selector: Selector) -> Lookup<Policies> {
    let parts = PolicyParts { name: "billing".to_owned(), namespaces: selector, ..PolicyParts::default() };
    let set = PolicySet::new(vec![Policy::compile(parts).unwrap()]);
    Lookup::Known(Policies { set: Arc::new(set), now: 0 })
}

/// A replica that starts while the API server is unavailable must not admit a pod that a policy
/// would change or reject.
#[test]
fn pods_wait_while_policies_are_not_known() {
    for review in [review(&[]), asking(&[])] {
        let verdict = governed(Lookup::Unknown, true, Endpoint::Mutate, &review);
        assert_eq!(verdict.reason, Reason::Deferred(Deferral::Policies));
        let missing = verdict.missing.unwrap();
        let now_known = PolicyCluster { policies: Lookup::Known(Policies::none()), namespace_is_known: true };
        assert!(!missing.is_known(&now_known), "its service account is not");
    }
}

#[test]
fn pods_without_annotations_only_wait_for_policies() {
    let reason = |policies, is_known| governed(policies, is_known, Endpoint::Mutate, &review(&[])).reason;
    let none = || Lookup::Known(Policies::none());
    assert_eq!(reason(none(), false), Reason::Skipped(SkipReason::NotAnnotated));
    assert_eq!(reason(policies(Selector::default()), false), Reason::Deferred(Deferral::Namespace));
    assert_eq!(reason(policies(Selector::default()), true), Reason::Deferred(Deferral::ServiceAccount));
    let elsewhere =
        Selector { match_labels: [("team".to_owned(), "a".to_owned())].into(), ..Selector::default() };
    assert_eq!(reason(policies(elsewhere), true), Reason::Skipped(SkipReason::NotAnnotated));
}

fn policy_review(edit: &[(&str, &str)]) -> String {
    let review = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u-1",
        "kind":{"group":"scaivault.scailabs.ai","version":"v1alpha1","kind":"InjectionPolicy"},"name":"billing",
        "operation":"UPDATE","object":{"metadata":{"labels":{"a":"b"}},"spec":{"priority":1}},
        "oldObject":{"metadata":{},"spec":{"priority":1}}}}"#;
    edit.iter().fold(review.to_owned(), |review, (from, to)| review.replacen(from, to, 1))
}

#[test]
fn a_policy_that_cannot_be_used_is_refused_where_it_is_written() {
    let verdict =
        |edit: &[(&str, &str)]| governed(Lookup::Unknown, false, Endpoint::Policy, &policy_review(edit));
    let good = verdict(&[]);
    assert_eq!(good.reason, Reason::Validated(ValidationReason::Valid));
    assert_eq!((good.warnings.len(), good.refusal), (1, None));

    let refused = verdict(&[("\"priority\":1", "\"priority\":\"bad\"")]);
    assert_eq!(refused.reason, Reason::Validated(ValidationReason::Problems));
    let refusal = refused.refusal.unwrap();
    assert_eq!((refusal.code, &*refusal.message), (422, "spec.priority: too high"));

    // A change of labels, or a controller that removes a finalizer.
    let unchanged = verdict(&[("\"a\":\"b\"", "\"a\":\"bad\"")]);
    assert_eq!(unchanged.reason, Reason::Validated(ValidationReason::ProblemsUnchanged));
    assert!(unchanged.refusal.is_none() && unchanged.warnings[1].contains("too high"));
}

#[test]
fn only_policies_are_reviewed_as_policies() {
    for (edit, expected) in [
        (("UPDATE", "DELETE"), IgnoreReason::Delete),
        (("InjectionPolicy", "Pod"), IgnoreReason::NotAPolicy),
        (("\"name\":\"billing\"", "\"subResource\":\"status\""), IgnoreReason::Subresource),
    ] {
        let verdict = governed(Lookup::Unknown, false, Endpoint::Policy, &policy_review(&[edit]));
        assert_eq!(verdict.reason, Reason::Ignored(expected), "{edit:?}");
    }
}
