use serde_json::json;

use super::*;
use crate::{admit::admit, endpoint::Endpoint, testing::context};

/// A review of an update of a Deployment from no mode to `ignore`, with one more secret. Each pair
/// in `edit` replaces a text in the review by another.
fn review(edit: &[(&str, &str)]) -> String {
    let deployment = |annotations, template| {
        json!({"metadata": {"name": "web", "annotations": annotations}, "spec": {"template": {
            "metadata": {"annotations": template},
            "spec": {"containers": [{"name": "app", "image": "registry.invalid/app:1"}]}}}})
    };
    let secret = json!({"scaivault.scailabs.ai/inject-secret-a": "a/b"});
    let both = json!({"scaivault.scailabs.ai/inject-secret-a": "a/b", "scaivault.scailabs.ai/inject-secret-b": "a/b"});
    let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "u-1",
        "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "name": "web", "namespace": "shop", "operation": "UPDATE",
        "object": deployment(json!({"scaivault.scailabs.ai/mutation-mode": "ignore"}), both),
        "oldObject": deployment(json!({}), secret),
    }});
    edit.iter().fold(review.to_string(), |review, (from, to)| {
        assert!(review.contains(from), "{from} is not in {review}");
        review.replacen(from, to, 1)
    })
}

fn verdict(entry: Endpoint, edit: &[(&str, &str)]) -> Verdict {
    admit(entry, &Request::decode(entry, review(edit).as_bytes()).unwrap(), &context())
}

const BOTH: [Endpoint; 2] = [Endpoint::Mode, Endpoint::Validate];

#[test]
fn only_the_creation_and_update_of_a_workload_is_decided() {
    for (from, to, expected) in [
        ("\"kind\":\"Deployment\"", "\"kind\":\"ReplicaSet\"", IgnoreReason::NotAWorkload),
        ("\"name\":\"web\"", "\"name\":\"web\",\"subResource\":\"scale\"", IgnoreReason::Subresource),
        ("UPDATE", "DELETE", IgnoreReason::Delete),
        ("UPDATE", "CONNECT", IgnoreReason::Connect),
        ("UPDATE", "PATCH", IgnoreReason::OtherOperation),
        ("\"object\":{", "\"object\":null,\"other\":{", IgnoreReason::MalformedWorkload),
        ("\"object\":{", "\"object\":[],\"other\":{", IgnoreReason::MalformedWorkload),
        ("\"template\":{", "\"mould\":{", IgnoreReason::MalformedWorkload),
    ] {
        for entry in BOTH {
            let verdict = verdict(entry, &[(from, to)]);
            assert_eq!(verdict.reason, Reason::Ignored(expected), "{to}");
            assert!(verdict.refusal.is_none() && verdict.patch.is_none(), "{to}");
        }
    }
}

/// An unknown kind has no mode of its own, and its pod templates are found by their shape.
#[test]
fn the_templates_of_other_kinds_are_validated() {
    let other = ("\"kind\":\"Deployment\"", "\"kind\":\"CloneSet\"");
    let wrong = ("inject-secret-b\":\"a/b\"", "pattern\":\"x\"");
    assert_eq!(verdict(Endpoint::Mode, &[other]).reason, Reason::Ignored(IgnoreReason::NotAWorkload));
    let valid = verdict(Endpoint::Validate, &[other]);
    assert_eq!(valid.reason, Reason::Validated(ValidationReason::Valid));
    assert!(valid.warnings[0].contains("mutation-mode has no effect"), "{:?}", valid.warnings);
    let refused = verdict(Endpoint::Validate, &[other, wrong]);
    assert_eq!(refused.reason, Reason::Validated(ValidationReason::Problems));
    assert!(refused.refusal.unwrap().message.contains("pattern"));
    for (edit, expected) in [
        (("\"shop\"", "\"kube-system\""), Reason::Skipped(SkipReason::ExcludedNamespace)),
        (("\"shop\"", "\"unknown\""), Reason::Deferred(Deferral::Namespace)),
        (("UPDATE", "DELETE"), Reason::Ignored(IgnoreReason::NotAWorkload)),
        (("\"containers\"", "\"vessels\""), Reason::Ignored(IgnoreReason::NotAWorkload)),
    ] {
        assert_eq!(verdict(Endpoint::Validate, &[other, wrong, edit]).reason, expected);
    }
}

#[test]
fn the_mode_of_rollouts_and_deployment_configs_is_carried() {
    for (group, version, kind) in
        [("argoproj.io", "v1alpha1", "Rollout"), ("apps.openshift.io", "v1", "DeploymentConfig")]
    {
        let edit = [
            ("\"apps\"", format!("{group:?}")),
            ("\"version\":\"v1\"", format!("\"version\":{version:?}")),
            ("\"Deployment\"", format!("{kind:?}")),
            ("UPDATE", "CREATE".to_owned()),
        ];
        let edit: Vec<_> = edit.iter().map(|(from, to)| (*from, to.as_str())).collect();
        let created = verdict(Endpoint::Mode, &edit);
        assert_eq!(created.reason.name(), "mode-carried", "{kind}");
        assert_eq!(created.patch.unwrap().operations().len(), 1);
        assert_eq!(verdict(Endpoint::Validate, &edit).reason, Reason::Validated(ValidationReason::Valid));
    }
}

#[test]
fn the_former_object_is_used() {
    let frozen = verdict(Endpoint::Mode, &[]);
    assert_eq!((frozen.reason.outcome(), frozen.reason.name()), ("adjusted", "frozen"));
    assert_eq!(frozen.patch.unwrap().operations().len(), 1);
    assert_eq!(frozen.warnings, ["frozen by mutation-mode: ignore; not added: inject-secret-b"]);
    let created = verdict(Endpoint::Mode, &[("UPDATE", "CREATE")]);
    assert_eq!(created.reason.name(), "mode-carried");
    for old in ["\"oldObject\":null,\"other\":{", "\"oldObject\":[],\"other\":{"] {
        let unknown = verdict(Endpoint::Mode, &[("\"oldObject\":{", old)]);
        assert_eq!(unknown.reason.name(), "unknown-former");
        assert_eq!((unknown.patch.unwrap().operations().len(), unknown.warnings.len()), (0, 1));
    }
}

#[test]
fn a_refusal_lists_all_problems() {
    let wrong = [("\"ignore\"", "\"ingore\""), ("inject-secret-b\":\"a/b\"", "pattern\":\"x\"")];
    let verdict = verdict(Endpoint::Validate, &wrong);
    assert_eq!(verdict.reason, Reason::Validated(ValidationReason::Problems));
    let refusal = verdict.refusal.unwrap();
    assert_eq!((refusal.code, refusal.reason), (403, "Forbidden"));
    assert_eq!(refusal.message, verdict.problems.to_string());
    assert!(refusal.message.starts_with("2 problems"), "{}", refusal.message);
}

#[test]
fn an_excluded_namespace_is_not_changed() {
    for entry in BOTH {
        let verdict = verdict(entry, &[("\"shop\"", "\"kube-system\"")]);
        assert_eq!(verdict.reason, Reason::Skipped(SkipReason::ExcludedNamespace));
        assert!(verdict.patch.is_none() && verdict.warnings.is_empty());
    }
}

/// The mode does not depend on the namespace.
#[test]
fn an_unknown_namespace_defers_the_check_alone() {
    let edit = [("\"shop\"", "\"unknown\"")];
    assert_eq!(verdict(Endpoint::Validate, &edit).reason, Reason::Deferred(Deferral::Namespace));
    assert_eq!(verdict(Endpoint::Mode, &edit).reason.name(), "frozen");
}

#[test]
fn every_reason_is_counted() {
    for edit in [&[][..], &[("UPDATE", "CREATE")], &[("\"shop\"", "\"unknown\"")], &[("\"ignore\"", "\"x\"")]]
    {
        for entry in BOTH {
            let reason = verdict(entry, edit).reason;
            assert!(Reason::all_for(entry).contains(&reason), "{entry:?}: {reason:?}");
        }
    }
}
