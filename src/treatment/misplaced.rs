//! Keys that were meant for the injector and stand where it does not read them.

use scaivault_inject::{
    annotations::{KeyPlace, misplaced_keys},
    workload::WorkloadKind,
};
use serde_json::{Map, Value};

use crate::object::Object;

/// Warnings of the labels and annotations on the way from an object to its pod template, which is at `pointer`.
pub(crate) fn warnings(object: &Object<'_>, pointer: &str) -> Vec<String> {
    // Of a workload's own annotations under the right prefix, the core says what they do.
    let is_read = WorkloadKind::of(object.api_version, object.kind).is_some();
    let mut warnings = Vec::new();
    let mut say = |place, owner: &str, keys: Option<&Map<String, Value>>| {
        let keys = keys.into_iter().flat_map(Map::keys).map(String::as_str);
        warnings.extend(misplaced_keys(place, owner, keys));
    };
    for end in ends(pointer) {
        let above = &pointer[..end];
        let Some(metadata) = object.value.pointer(above).and_then(|holder| holder.get("metadata")) else {
            continue;
        };
        let members = |field| metadata.get(field).and_then(Value::as_object);
        let (place, owner) = match above {
            _ if end == pointer.len() && end == 0 => (KeyPlace::ReadAnnotations, object.kind),
            _ if end == pointer.len() => (KeyPlace::ReadAnnotations, "pod template"),
            "" if is_read => (KeyPlace::ReadAnnotations, object.kind),
            "" => (KeyPlace::OtherAnnotations, object.kind),
            above => (KeyPlace::OtherAnnotations, above.rsplit('/').next().unwrap_or_default()),
        };
        say(place, owner, members("annotations"));
        say(KeyPlace::Labels, owner, members("labels"));
    }
    warnings
}

/// Where the beginnings of a pointer end that name a place on the way, itself included.
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
        let found = warnings(&objects[0], pointer);
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}\nis not\n{expected}");
        }
    }

    #[test]
    fn every_metadata_on_the_way_to_the_template_is_looked_at() {
        let ours = json!({"scaivault.scailabs.ai/inject-secret-db": "a/b"});
        let misspelt = json!({"scaivalt.scailabs.ai/inject-secret-db": "a/b"});
        check(
            &json!({
                "apiVersion": "batch/v1", "kind": "CronJob",
                "metadata": {"annotations": misspelt},
                "spec": {"jobTemplate": {
                    "metadata": {"annotations": ours, "labels": {"scaivault.scailabs.ai/inject": "true"}},
                    "spec": {"template": {"metadata": {"annotations": misspelt, "labels": misspelt}, "spec": {}}},
                }},
            }),
            &[
                "(of the CronJob) does not have the injector's prefix",
                "(of the jobTemplate) does nothing there; move it to the pod template",
                "(label of the jobTemplate) does nothing: labels are not read",
                "(of the pod template) does not have the injector's prefix",
                "(label of the pod template) does not have the injector's prefix",
            ],
        );
        check(
            &json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"annotations": ours},
                "spec": {"template": {"metadata": {"annotations": ours}, "spec": {}}},
            }),
            &["(of the ReplicaSet) does nothing there; move it to the pod template"],
        );
        check(
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": ours, "labels": {"app": "x"}}}),
            &[],
        );
    }
}
