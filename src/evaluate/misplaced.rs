//! Finds the injector's keys in places where the injector does not read them.

use scaivault_inject::{
    annotations::{KeyPlace, MisplacedKey, misplaced_keys},
    workload::WorkloadKind,
};
use serde_json::Value;

use crate::object::Object;

/// The misplaced keys between an object and its pod template at `pointer`: in labels, in
/// annotations that are not read, and in other fields of metadata, such as `annotation`.
pub(super) fn keys(object: &Object<'_>, pointer: &str) -> Vec<MisplacedKey> {
    // The core reports the effect of a workload's own annotations under the injector's prefix.
    let is_read = WorkloadKind::parse(object.api_version, object.kind).is_some();
    let mut found = Vec::new();
    for end in ends(pointer) {
        let above = &pointer[..end];
        let Some(holder) = object.value.pointer(above) else { continue };
        let (place, owner) = match above {
            _ if end == pointer.len() && end == 0 => (KeyPlace::ReadAnnotations, object.kind),
            _ if end == pointer.len() => (KeyPlace::ReadAnnotations, "pod template"),
            "" if is_read => (KeyPlace::ReadAnnotations, object.kind),
            "" => (KeyPlace::OtherAnnotations, object.kind),
            above => (KeyPlace::OtherAnnotations, above.rsplit('/').next().unwrap_or_default()),
        };
        found.extend(in_metadata(holder, place, owner));
        // Without `metadata` in between: `spec.template.annotations`.
        if let Some(annotations) = holder.get("annotations") {
            found.extend(in_map(KeyPlace::OtherField("annotations"), owner, annotations));
        }
    }
    found
}

/// The keys in the labels, annotations and other metadata fields of an object, which `owner` names.
pub(super) fn in_metadata(holder: &Value, place: KeyPlace<'_>, owner: &str) -> Vec<MisplacedKey> {
    let fields = holder.get("metadata").and_then(Value::as_object).into_iter().flatten();
    let keys = fields.flat_map(|(field, value)| match field.as_str() {
        "annotations" => in_map(place, owner, value),
        "labels" => in_map(KeyPlace::Labels, owner, value),
        _ => in_map(KeyPlace::OtherField(&format!("metadata.{field}")), owner, value),
    });
    keys.collect()
}

fn in_map(place: KeyPlace<'_>, owner: &str, map: &Value) -> Vec<MisplacedKey> {
    let entries = map.as_object().into_iter().flatten().map(|(key, value)| {
        let value = match value {
            Value::Bool(true) => "true",
            Value::Bool(false) => "false",
            value => value.as_str().unwrap_or_default(),
        };
        (key.as_str(), value)
    });
    misplaced_keys(place, owner, entries)
}

/// Whether a controller created the object and copied the metadata of its owner.
pub(super) fn is_made_by_a_controller(object: &Object<'_>) -> bool {
    let owners = object.value.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|owner| owner.get("controller") == Some(&Value::Bool(true)))
}

/// The lengths of the pointer's prefixes that refer to an ancestor, including the pointer itself.
fn ends(pointer: &str) -> impl Iterator<Item = usize> {
    pointer.match_indices('/').map(|(at, _)| at).chain([pointer.len()])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::objects;

    #[track_caller]
    fn check(document: &Value, expected: &[&str]) {
        let objects = objects(document);
        let pointer = objects[0].pod_pointer().unwrap();
        let found: Vec<String> = keys(&objects[0], pointer).iter().map(MisplacedKey::warning).collect();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}\nis not\n{expected}");
        }
    }

    #[test]
    fn all_metadata_above_the_template_is_checked() {
        let own = json!({"scaivault.scailabs.ai/inject-secret-db": "a/b"});
        let misspelt = json!({"scaivalt.scailabs.ai/inject-secret-db": "a/b"});
        check(
            &json!({
                "apiVersion": "batch/v1", "kind": "CronJob",
                "metadata": {"annotations": misspelt},
                "spec": {"jobTemplate": {
                    "metadata": {"annotations": own, "labels": {"scaivault.scailabs.ai/inject": "true"}},
                    "spec": {"template": {"metadata": {"annotations": misspelt, "labels": misspelt}, "spec": {}}},
                }},
            }),
            &[
                "(of the CronJob) does not have the injector's prefix",
                "(of the jobTemplate) has no effect there; move it to the pod template",
                "(label of the jobTemplate) has no effect: labels are not read",
                "(of the pod template) does not have the injector's prefix",
                "(label of the pod template) does not have the injector's prefix",
            ],
        );
        check(
            &json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"annotations": own},
                "spec": {"template": {"metadata": {"annotations": own}, "spec": {}}},
            }),
            &["(of the ReplicaSet) has no effect there; move it to the pod template"],
        );
        check(
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": own, "labels": {"app": "x"}}}),
            &[],
        );
        check(
            &json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"annotation": own},
                "spec": {"template": {"metadata": {"Annotations": own}, "annotations": own, "spec": {"annotations": own}}},
            }),
            &[
                "(in metadata.annotation of the Deployment) has no effect there",
                "(in metadata.Annotations of the pod template) has no effect there",
                "(in annotations of the pod template) has no effect there",
            ],
        );
    }
}
