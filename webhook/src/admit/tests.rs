use scaivault_inject::{
    Code, Injection, Layer, Operation as PatchOperation, Pattern, Problem, SkipReason, Value,
};

use super::*;
use crate::testing::{context, review};

fn verdict(edit: &[(&str, &str)]) -> Verdict {
    admit(Entry::Mutate, &Request::decode(review(edit).as_bytes()).unwrap(), &context())
}

#[test]
fn only_the_creation_of_a_pod_is_decided() {
    let pod = r#""kind":"Pod"},"resource""#;
    let cases = [
        (&[("CREATE", "UPDATE")][..], Untouched::Update),
        (&[("CREATE", "DELETE")], Untouched::Delete),
        (&[("CREATE", "CONNECT")], Untouched::Connect),
        (&[("CREATE", "PATCH")], Untouched::OtherOperation),
        (&[(r#""name":"""#, r#""name":"web","subResource":"resize""#)], Untouched::Subresource),
        (
            &[(r#""name":"""#, r#""name":"web","subResource":"status""#), ("CREATE", "UPDATE")],
            Untouched::Subresource,
        ),
        (&[(pod, r#""kind":"Deployment"},"resource""#)], Untouched::NotAPod),
        (
            &[(
                r#"{"group":"","version":"v1","kind":"Pod"}"#,
                r#"{"group":"x.io","version":"v1","kind":"Pod"}"#,
            )],
            Untouched::NotAPod,
        ),
    ];
    for (edit, expected) in cases {
        let verdict = verdict(edit);
        assert_eq!(verdict.reason, Reason::Untouched(expected), "{edit:?}");
        assert!(verdict.patch.is_none() && verdict.refusal.is_none());
    }
    assert!(matches!(verdict(&[]).reason, Reason::Skipped(SkipReason::NotAnnotated)));
}

#[test]
fn what_is_no_pod_is_refused() {
    for object in ["null", "7", r#"{"metadata":7}"#, r#"{"spec":{"containers":"app"}}"#] {
        let verdict = verdict(&[(r#""object":{"#, &format!(r#""object":{object},"other":{{"#))]);
        assert_eq!(verdict.reason, Reason::Denied(Refused::MalformedPod), "{object}");
        assert_eq!(verdict.refusal.unwrap().code, 422);
    }
}

#[test]
fn annotations_with_problems_are_refused_with_all_of_them() {
    let annotations = r#""annotations":{"scaivault.scailabs.ai/inject-secret-db":"a//b","scaivault.scailabs.ai/pattern":"x"},"labels""#;
    let verdict = verdict(&[(r#""labels""#, annotations)]);
    assert_eq!(verdict.reason, Reason::Denied(Refused::Problems));
    let message = verdict.refusal.unwrap().message;
    assert!(message.contains("inject-secret-db") && message.contains("pattern"), "{message}");
}

#[test]
fn an_unknown_namespace_is_deferred() {
    let verdict = verdict(&[("\"shop\"", "\"unknown\"")]);
    assert_eq!(verdict.reason, Reason::Deferred(Deferral::UnknownNamespace));
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
        cure: "write 0400".into(),
    });
    problems
}

#[test]
fn a_denial_says_all_problems() {
    let verdict = Verdict::from(Decision::Deny(Denial { problems: problems(), warnings: vec!["w".into()] }));
    let refusal = verdict.refusal.unwrap();
    assert_eq!((refusal.code, refusal.reason), (403, "Forbidden"));
    assert_eq!(refusal.message, problems().to_string());
    assert_eq!(verdict.reason, Reason::Denied(Refused::Problems));
    assert_eq!(verdict.warnings, ["w"]);
}

#[test]
fn a_pod_that_is_let_through_with_problems_keeps_them() {
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
