use std::cell::RefCell;

use scaivault_inject::{Denial, Detachment, MutationMode, Operation, Patch, Problems, Skip};
use serde_json::json;

use super::*;

/// A core that changes every pod at one position below the template.
fn mark(_subject: &Subject<'_>, _context: &Context<'_>) -> Decision {
    Decision::Detach(Detachment {
        patch: Patch::new(vec![Operation::Add {
            path: "/spec/mark".into(),
            value: scaivault_inject::Value::Text("set".into()),
        }]),
        warnings: Vec::new(),
    })
}

fn skip(_subject: &Subject<'_>, _context: &Context<'_>) -> Decision {
    Decision::Skip(SkipReason::NotAnnotated.into())
}

/// Without policies.
fn evaluate(
    document: &Value,
    action: Action,
    cluster: &OfflineCluster,
    with_settings: bool,
    decide: impl Fn(&Subject<'_>, &Context<'_>) -> Decision,
) -> Vec<ObjectResult> {
    super::evaluate(document, action, cluster, with_settings, |subject, context| {
        (decide(subject, context), PolicyReport::default())
    })
}

fn treat_and_patch(
    document: &Value,
    decide: impl Fn(&Subject<'_>, &Context<'_>) -> Decision,
) -> (Vec<ObjectResult>, Option<Value>) {
    let result = evaluate(document, Action::Inject, &OfflineCluster::default(), false, decide);
    let patch = patch(&result);
    let mut changed = document.clone();
    crate::apply::apply(&mut changed, &patch).unwrap();
    let changed = (!patch.is_empty()).then_some(changed);
    (result, changed)
}

fn object(api_version: &str, kind: &str, rest: Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "app"}});
    let Value::Object(rest) = rest else { panic!("an object") };
    object.as_object_mut().unwrap().extend(rest);
    object
}

#[test]
fn the_patch_lands_in_the_pod_of_every_kind() {
    let template = || json!({"metadata": {}, "spec": {}});
    for (api_version, kind, rest, pointer) in [
        ("v1", "Pod", json!({"spec": {}}), "/spec/mark"),
        ("v1", "PodTemplate", json!({"template": template()}), "/template/spec/mark"),
        (
            "v1",
            "ReplicationController",
            json!({"spec": {"template": template()}}),
            "/spec/template/spec/mark",
        ),
        ("apps/v1", "Deployment", json!({"spec": {"template": template()}}), "/spec/template/spec/mark"),
        ("apps/v1", "StatefulSet", json!({"spec": {"template": template()}}), "/spec/template/spec/mark"),
        ("apps/v1", "DaemonSet", json!({"spec": {"template": template()}}), "/spec/template/spec/mark"),
        ("apps/v1", "ReplicaSet", json!({"spec": {"template": template()}}), "/spec/template/spec/mark"),
        ("batch/v1", "Job", json!({"spec": {"template": template()}}), "/spec/template/spec/mark"),
        (
            "argoproj.io/v1alpha1",
            "Rollout",
            json!({"spec": {"template": template()}}),
            "/spec/template/spec/mark",
        ),
        (
            "apps.openshift.io/v1",
            "DeploymentConfig",
            json!({"spec": {"template": template()}}),
            "/spec/template/spec/mark",
        ),
        (
            "keda.sh/v1alpha1",
            "ScaledJob",
            json!({"spec": {"jobTargetRef": {"template": {"spec": {"containers": [{"name": "a"}]}}}}}),
            "/spec/jobTargetRef/template/spec/mark",
        ),
        (
            "batch/v1",
            "CronJob",
            json!({"spec": {"jobTemplate": {"spec": {"template": template()}}}}),
            "/spec/jobTemplate/spec/template/spec/mark",
        ),
    ] {
        let document = object(api_version, kind, rest);
        let (result, changed) = treat_and_patch(&document, mark);
        assert_eq!(result.len(), 1, "{kind}");
        assert_eq!(changed.unwrap().pointer(pointer), Some(&json!("set")), "{kind}");

        let list = json!({"apiVersion": "v1", "kind": "List", "items": [{"kind": "x"}, document]});
        let (_, changed) = treat_and_patch(&list, mark);
        let pointer = format!("/items/1{pointer}");
        assert_eq!(changed.unwrap().pointer(&pointer), Some(&json!("set")), "{kind} in a list");
    }
}

#[test]
fn objects_without_a_pod_or_patch_do_not_change() {
    for document in [
        object("v1", "Service", json!({"spec": {}})),
        object("apps/v1", "Deployment", json!({"spec": {"replicas": 2}})),
        object("apps/v1beta1", "Deployment", json!({"spec": {"template": {"spec": {}}}})),
    ] {
        let (result, changed) = treat_and_patch(&document, mark);
        assert_eq!((&result[0].outcome, changed), (&Outcome::NoPod, None), "{document}");
    }
    let pod = object("v1", "Pod", json!({"spec": {}}));
    let (result, changed) = treat_and_patch(&pod, skip);
    assert!(matches!(result[0].outcome, Outcome::Decided(_)));
    assert_eq!(changed, None);
    let (result, changed) = treat_and_patch(&json!([1]), mark);
    assert_eq!((&result[0].outcome, changed), (&Outcome::NoObject, None));
}

#[test]
fn each_template_of_an_unknown_kind_is_treated() {
    let template = || json!({"spec": {"containers": [{"name": "a", "image": "x"}]}});
    let document = object(
        "kubeflow.org/v1",
        "PyTorchJob",
        json!({"spec": {"replicaSpecs": {"Master": {"template": template()}, "Worker": {"template": template()}}}}),
    );
    let (result, changed) = treat_and_patch(&document, mark);
    let templates: Vec<_> = result.iter().map(|result| result.template.as_deref().unwrap()).collect();
    assert_eq!(templates, ["/spec/replicaSpecs/Master/template", "/spec/replicaSpecs/Worker/template"]);
    for template in templates {
        assert_eq!(changed.as_ref().unwrap().pointer(&format!("{template}/spec/mark")), Some(&json!("set")));
    }
}

#[test]
fn keys_that_nothing_reads_are_warned_about() {
    let key = "scaivault.scailabs.ai/inject-secret-a";
    let keys = || json!({key: "a/b"});
    let own = || json!({"metadata": {"name": "x", "annotations": keys(), "labels": {"scaivault.scailabs.ai/b": "c"}}});
    let with = |spec| {
        let mut object = own();
        object["spec"] = spec;
        object
    };
    let template =
        json!({"metadata": {"annotations": keys()}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
    let annotations = format!("{key} has no effect in metadata.annotations");
    let labels = "scaivault.scailabs.ai/b has no effect in metadata.labels".to_owned();
    let both = [annotations.clone(), labels.clone()];
    for (api_version, kind, rest, expected) in [
        ("v1", "Service", own(), both.to_vec()),
        ("v1", "Namespace", own(), vec![format!("{key} has no effect on the namespace itself")]),
        ("apps/v1", "Deployment", own(), vec![]),
        ("keda.sh/v1alpha1", "ScaledJob", with(json!({"template": template})), vec![]),
        (
            "argoproj.io/v1alpha1",
            "Rollout",
            with(json!({"workloadRef": {"name": "web"}})),
            vec![
                "its pod template is that of the workload web".to_owned(),
                annotations.clone(),
                labels.clone(),
            ],
        ),
        (
            "monitoring.coreos.com/v1",
            "Prometheus",
            json!({"spec": {"x": [{"podMetadata": {"annotations": keys()}}]}}),
            vec![format!("not checked: {key} in spec/x/0/podMetadata/annotations")],
        ),
    ] {
        let document = object(api_version, kind, rest);
        let (result, _) = treat_and_patch(&document, skip);
        let warnings = &result[0].warnings;
        assert_eq!(warnings.len(), expected.len(), "{kind}: {warnings:?}");
        for (warning, expected) in warnings.iter().zip(&expected) {
            assert!(warning.starts_with(expected.as_str()), "{kind}: {warning}");
        }
        let detached = evaluate(&document, Action::Detach, &OfflineCluster::default(), false, skip);
        assert!(detached[0].warnings.is_empty(), "{kind}");
    }
}

/// For each workload, the core gets what the cluster would provide.
#[test]
fn the_context_is_that_of_the_object() {
    let mut cluster = OfflineCluster::default();
    let documents = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "annotations": {
            "scaivault.scailabs.ai/url": "https://vault.example.com"}}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "billing", "annotations": {
            "scaikey.scailabs.ai/role": "billing-reader"}}}),
    ];
    for noted in documents.iter().flat_map(objects) {
        if !cluster.give_namespace(&noted) {
            cluster.note(&noted);
        }
    }
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app", "annotations": {"scaivault.scailabs.ai/mutation-mode": "ignore"}},
        "spec": {"template": {"spec": {"serviceAccountName": "billing"}}},
    });
    let seen = |action| {
        let seen = RefCell::new(None);
        evaluate(&deployment, action, &cluster, false, |subject, context| {
            let own = match subject {
                Subject::Workload(workload) => workload.mutation_mode(),
                Subject::Pod(_) => None,
            };
            *seen.borrow_mut() = Some((
                context.namespace.name.clone(),
                context.namespace.annotations.len(),
                context.service_account_role.map(str::to_owned),
                context.workload_mutation_mode.or(own),
            ));
            Decision::Skip(SkipReason::NotAnnotated.into())
        });
        seen.into_inner().unwrap()
    };
    let role = Some("billing-reader".to_owned());
    assert_eq!(seen(Action::Inject), ("shop".into(), 1, role.clone(), Some(MutationMode::Ignore)));
    assert_eq!(seen(Action::Detach), (String::new(), 0, role, Some(MutationMode::IgnoreAndDetach)));
}

#[test]
fn an_object_without_an_own_mode_is_a_pod() {
    let template = json!({"template": {"spec": {}}});
    for (api_version, kind, action, expected) in [
        ("apps/v1", "Deployment", Action::Inject, true),
        ("batch/v1", "Job", Action::Inject, true),
        ("apps/v1", "ReplicaSet", Action::Inject, false),
        ("apps/v1", "Deployment", Action::Detach, false),
    ] {
        let document = object(api_version, kind, json!({"spec": template}));
        evaluate(&document, action, &OfflineCluster::default(), false, |subject, _| {
            assert_eq!(matches!(subject, Subject::Workload(_)), expected, "{kind}");
            Decision::Skip(SkipReason::NotAnnotated.into())
        });
    }
}

#[test]
fn a_pods_own_mode_is_not_a_workloads() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {}, "metadata": {"annotations": {
        "scaivault.scailabs.ai/mutation-mode": "ignore"}}});
    evaluate(&pod, Action::Inject, &OfflineCluster::default(), false, |_, context| {
        assert_eq!(context.workload_mutation_mode, None);
        Decision::Skip(SkipReason::NotAnnotated.into())
    });
}

#[test]
fn a_mode_that_is_no_string_is_a_problem() {
    let deployment = object(
        "apps/v1",
        "Deployment",
        json!({
            "metadata": {"annotations": {"scaivault.scailabs.ai/mutation-mode": true}},
            "spec": {"template": {"spec": {}}},
        }),
    );
    let result =
        evaluate(&deployment, Action::Inject, &OfflineCluster::default(), false, |subject, context| {
            let Subject::Workload(workload) = subject else { panic!("{subject:?}") };
            workload::decide(workload, context)
        });
    let Outcome::Decided(decision) = &result[0].outcome else { panic!("{result:?}") };
    let Decision::Deny(denial) = &**decision else { panic!("{result:?}") };
    let message = denial.problems.to_string();
    assert!(message.contains("mutation-mode") && message.contains("quotes"), "{message}");
}

#[test]
fn all_values_of_a_namespace_that_are_no_strings_are_problems() {
    let outcome = |api_version, kind, annotations| {
        let object = object(api_version, kind, json!({"metadata": {"annotations": annotations}}));
        evaluate(&object, Action::Inject, &OfflineCluster::default(), false, mark).remove(0).outcome
    };
    let (prefix, role) = ("scaivault.scailabs.ai", "scaikey.scailabs.ai/role");
    for (api_version, kind, layer) in [
        ("v1", "Namespace", " (of the namespace)"),
        ("v1", "ServiceAccount", " (of the service account)"),
        ("apps/v1", "Deployment", " (of the workload)"),
        ("v1", "ConfigMap", ""),
    ] {
        let annotations =
            json!({format!("{prefix}/fail-open"): true, format!("{prefix}/url"): null, "other": 1});
        let Outcome::Decided(decision) = outcome(api_version, kind, annotations) else {
            panic!("{kind}: accepted")
        };
        let Decision::Deny(denial) = &*decision else { panic!("{kind}: {decision:?}") };
        let text = denial.problems.to_string();
        assert_eq!(denial.problems.len(), 2, "{text}");
        assert!(text.contains(&format!("{prefix}/fail-open{layer}: \"true\": the value is")), "{text}");
        assert!(text.contains(&format!("{prefix}/url{layer}: the value is null")), "{text}");
        assert_eq!(outcome(api_version, kind, json!({format!("{prefix}/role"): "x"})), Outcome::NoPod);
    }
    let Outcome::Decided(decision) = outcome("v1", "ServiceAccount", json!({role: 5})) else {
        panic!("accepted")
    };
    assert!(
        matches!(&*decision, Decision::Deny(denial) if denial.problems.to_string().contains("/role (of the service account): \"5\""))
    );
    assert_eq!(outcome("v1", "Namespace", json!({role: 5})), Outcome::NoPod);
}

#[test]
fn a_missing_receipt_only_prevents_detaching() {
    let pod = object("v1", "Pod", json!({"spec": {}}));
    let no_receipt = |_: &Subject<'_>, _: &Context<'_>| Decision::Skip(SkipReason::NoReceipt.into());
    for (action, refused) in [(Action::Detach, true), (Action::Inject, false)] {
        let result = evaluate(&pod, action, &OfflineCluster::default(), false, no_receipt);
        assert_eq!(result[0].outcome.is_refused(), refused, "{action:?}");
    }
}

#[test]
fn tolerated_problems_are_no_refusal() {
    let mut problems = Problems::new();
    problems.push(scaivault_inject::Problem {
        code: scaivault_inject::Code::InvalidValue,
        key: None,
        layer: scaivault_inject::Layer::Pod,
        value: None,
        message: "wrong".into(),
        allowed: None,
        fix: "mend it".into(),
    });
    let skip = Skip { problems: problems.clone(), ..SkipReason::Problems.into() };
    let let_through = Outcome::Decided(Box::new(Decision::Skip(skip)));
    assert!(let_through.has_problems() && !let_through.is_refused());
    let denied = Outcome::Decided(Box::new(Decision::Deny(Denial { problems, warnings: Vec::new() })));
    assert!(denied.has_problems() && denied.is_refused());
}
