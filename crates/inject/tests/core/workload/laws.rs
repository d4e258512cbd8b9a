//! Properties of every workload.

use proptest::{prelude::*, sample::select, test_runner::FileFailurePersistence};
use scaivault_inject::workload::{Former, ValidationReason, WorkloadKind, WorkloadView, adjust};
use scaivault_testkit::{
    PREFIX,
    random::{annotated_pods, any_pods, arbitrary_json, arbitrary_pod_json, garbled_pods},
    shuffle_keys,
};
use serde_json::{Value, json};

use super::{Workload, job, suspended_job};
use crate::support::{cluster, keys};

fn cases() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

fn modes() -> impl Strategy<Value = Option<&'static str>> {
    select(vec![None, Some("ignore"), Some("ignore-and-detach"), Some("ingore")])
}

fn templates() -> impl Strategy<Value = Value> {
    let pods =
        prop_oneof![annotated_pods(any_pods(), keys()), garbled_pods(any_pods(), keys()), any_pods().boxed()];
    (pods, modes()).prop_map(|(mut pod, carried)| {
        if let (Some(carried), Some(annotations)) =
            (carried, pod["metadata"].get_mut("annotations").and_then(Value::as_object_mut))
        {
            annotations.insert(format!("{PREFIX}workload-mutation-mode"), carried.into());
        }
        json!({"metadata": pod["metadata"], "spec": pod["spec"]})
    })
}

/// A workload of any kind before and after an update.
fn updates() -> impl Strategy<Value = (Workload, Workload)> {
    let kinds = select(WorkloadKind::ALL);
    (kinds, modes(), templates(), modes(), templates(), any::<bool>()).prop_map(
        |(kind, former_mode, former_template, mode, template, is_suspended)| {
            let workload = |mode, template: Value| {
                let base = if is_suspended { suspended_job() } else { job() };
                let base = Workload { kind, ..base }.mode(mode);
                match kind {
                    WorkloadKind::CronJob => {
                        base.spec("jobTemplate", json!({"spec": {"template": template}}))
                    }
                    _ => base.spec("template", template),
                }
            };
            (workload(former_mode, former_template), workload(mode, template))
        },
    )
}

fn template(workload: &Workload) -> &Value {
    workload.json.pointer(workload.kind.template_pointer()).unwrap()
}

/// The workload without the injector's keys in its template, with an empty map of annotations
/// removed.
fn not_ours(workload: &Workload) -> Value {
    let mut json = workload.json.clone();
    let template = json.pointer_mut(workload.kind.template_pointer()).unwrap();
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|key, _| !key.starts_with(PREFIX));
        }
        metadata.retain(|key, value| {
            key != "annotations"
                || !(value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty))
        });
    }
    if template["metadata"].as_object().is_none_or(serde_json::Map::is_empty) {
        template["metadata"] = Value::Null;
    }
    json
}

/// The injector's keys of the template that users may write, without those about restarts.
fn wishes(workload: &Workload) -> Vec<(String, Value)> {
    let annotations = template(workload).pointer("/metadata/annotations").and_then(Value::as_object);
    let wished = annotations.into_iter().flatten().filter(|(key, _)| {
        let name = key.strip_prefix(PREFIX);
        let is_written = |name: &str| ["status", "receipt", "workload-mutation-mode"].contains(&name);
        name.is_some_and(|name| !is_written(name) && !name.starts_with("restart"))
    });
    // Null is read as an empty text, as by the API server.
    let text = |value: &Value| if value.is_null() { Value::from("") } else { value.clone() };
    let mut wished: Vec<_> = wished.map(|(key, value)| (key.clone(), text(value))).collect();
    wished.sort_by(|(one, _), (other, _)| one.cmp(other));
    wished
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn only_own_keys_of_the_template_change((former, applied) in updates()) {
        for (after, _) in [applied.created(), applied.updated(&former)] {
            prop_assert_eq!(not_ours(&after), not_ours(&applied));
        }
    }

    #[test]
    fn a_second_time_changes_nothing_more((former, applied) in updates()) {
        let (created, _) = applied.created();
        prop_assert!(created.created().1.patch.is_empty());
        let (updated, _) = applied.updated(&former);
        let (_, again) = updated.updated(&former);
        prop_assert!(again.patch.is_empty(), "{:?}", again);
        // The result is stable: another update without changes changes nothing.
        let (_, later) = updated.updated(&updated);
        let is_fixed = former.kind == WorkloadKind::Job && former.json["spec"]["suspend"] != true;
        prop_assert!(later.patch.is_empty() || is_fixed, "{:?}", later);
    }

    #[test]
    fn equal_input_gives_equal_bytes((former, applied) in updates(), seed: u64) {
        let shuffled = Workload { json: shuffle_keys(&applied.json, seed), ..applied.clone() };
        let (_, one) = applied.updated(&former);
        let (_, other) = shuffled.updated(&former);
        prop_assert_eq!(
            serde_json::to_string(&one.patch).unwrap(),
            serde_json::to_string(&other.patch).unwrap()
        );
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_frozen_workload_keeps_its_requests((former, applied) in updates()) {
        let frozen = applied.mode(Some("ignore"));
        let (after, _) = frozen.updated(&former);
        prop_assert_eq!(wishes(&after), wishes(&former));
    }

    #[test]
    fn an_immutable_template_is_never_changed((former, applied) in updates()) {
        let pointer = former.kind.template_pointer();
        if former.kind == WorkloadKind::Job && former.json["spec"]["suspend"] != true {
            let mut kept = applied;
            *kept.json.pointer_mut(pointer).unwrap() = template(&former).clone();
            let (after, adjustment) = kept.updated(&former);
            prop_assert!(adjustment.patch.is_empty(), "{:?}", adjustment);
            prop_assert_eq!(template(&after), template(&former));
        }
    }

    #[test]
    fn only_problems_of_the_request_are_refused((former, applied) in updates()) {
        let cluster = cluster();
        let unchanged = applied.validated(Some(&applied), &cluster);
        prop_assert_ne!(unchanged.reason, ValidationReason::Problems);
        let created = applied.validated(None, &cluster);
        prop_assert_eq!(created.reason == ValidationReason::Problems, !created.problems.is_empty());
        prop_assert_eq!(&unchanged.problems, &created.problems);
        let updated = applied.validated(Some(&former), &cluster);
        prop_assert_eq!(updated.problems, created.problems);
    }

    #[test]
    fn every_text_is_read_or_refused(
        object in prop_oneof![arbitrary_json(), arbitrary_pod_json()],
        template in arbitrary_pod_json(),
        kind in select(WorkloadKind::ALL),
    ) {
        let inside = json!({"metadata": object, "spec": {"template": template.clone(),
            "jobTemplate": {"spec": {"template": template}}}});
        for json in [object, inside] {
            let text = json.to_string();
            if let Ok(workload) = WorkloadView::parse(kind, &text) {
                for former in [Former::Nothing, Former::Unknown, Former::Workload(&workload)] {
                    adjust(&workload, former);
                    scaivault_inject::workload::validate(&workload, former, &cluster().context());
                }
            }
        }
    }
}
