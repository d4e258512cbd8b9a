//! Separates the user's part of a pod from the injector's, without the product's own detach.

use serde_json::{Map, Value};

const OUR_CONTAINERS: [&str; 2] = ["scaivault-init", "scaivault-sidecar"];
const OUR_VOLUMES: &str = "scaivault-";
const OUR_ANNOTATIONS: [&str; 2] = ["scaivault.scailabs.ai/status", "scaivault.scailabs.ai/receipt"];

pub(crate) fn is_our_container(container: &Value) -> bool {
    container["name"].as_str().is_some_and(|name| OUR_CONTAINERS.contains(&name))
}

/// The pod without the injector's additions: its init containers, volumes, mounts, variables and
/// annotations, all found by name. A setting that cannot be attributed without the original
/// (`shareProcessNamespace`) is kept.
#[must_use]
pub fn strip_ours(pod: &Value) -> Value {
    let mut pod = pod.clone();
    if let Some(annotations) = pod.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.retain(|key, _| !OUR_ANNOTATIONS.contains(&key.as_str()));
    }
    let Some(spec) = pod.pointer_mut("/spec").and_then(Value::as_object_mut) else {
        return pod;
    };
    retain(spec, "volumes", |volume| !names_our_volume(&volume["name"]));
    retain(spec, "initContainers", |container| !is_our_container(container));
    for list in ["initContainers", "containers"] {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            retain(container, "volumeMounts", |mount| !names_our_volume(&mount["name"]));
            retain(container, "env", |variable| {
                !names_our_volume(&variable["valueFrom"]["fileKeyRef"]["volumeName"])
            });
        }
    }
    pod
}

/// The part that an injection must not change: the stripped pod, with absent, null and empty
/// parents made equal, because an injection may fill them. Compare `users_content(original)` with
/// `users_content(injected)`.
///
/// `shareProcessNamespace` is omitted if it is absent, null or true, because an injection may
/// switch it on.
#[must_use]
pub fn users_content(pod: &Value) -> Value {
    let mut pod = strip_ours(pod);
    if let Some(metadata) = pod.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        drop_empty(metadata, &["annotations"]);
    }
    if let Some(pod) = pod.as_object_mut() {
        drop_empty(pod, &["metadata"]);
    }
    let Some(spec) = pod.pointer_mut("/spec").and_then(Value::as_object_mut) else {
        return pod;
    };
    drop_empty(spec, &["volumes", "initContainers"]);
    if !matches!(spec.get("shareProcessNamespace"), Some(Value::Bool(false))) {
        spec.remove("shareProcessNamespace");
    }
    for list in ["initContainers", "containers"] {
        if let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) {
            for container in containers.iter_mut().filter_map(Value::as_object_mut) {
                drop_empty(container, &["volumeMounts", "env"]);
            }
        }
    }
    pod
}

/// The first path in `patch` that the injector must not change; `None` if all are allowed.
pub fn path_not_allowed(patch: &Value) -> Option<&str> {
    let operations = patch.as_array().map_or(&[][..], Vec::as_slice);
    operations
        .iter()
        .map(|operation| operation["path"].as_str().unwrap_or_default())
        .find(|path| !is_allowed(path))
}

fn is_allowed(path: &str) -> bool {
    let segments: Vec<_> = path.split('/').skip(1).collect();
    match segments.as_slice() {
        ["metadata"]
        | ["metadata", "annotations"]
        | ["spec", "volumes" | "initContainers" | "shareProcessNamespace"] => true,
        ["metadata", "annotations", key] => key.starts_with("scaivault.scailabs.ai~1"),
        ["spec", "volumes" | "initContainers", entry] => is_entry(entry),
        ["spec", "containers" | "initContainers", container, "volumeMounts" | "env"] => is_index(container),
        ["spec", "containers" | "initContainers", container, "volumeMounts" | "env", entry] => {
            is_index(container) && is_entry(entry)
        }
        _ => false,
    }
}

fn is_entry(segment: &str) -> bool {
    segment == "-" || is_index(segment)
}

fn is_index(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit())
}

fn names_our_volume(name: &Value) -> bool {
    name.as_str().is_some_and(|name| name.starts_with(OUR_VOLUMES))
}

fn retain(object: &mut Map<String, Value>, list: &str, keep: impl Fn(&Value) -> bool) {
    if let Some(entries) = object.get_mut(list).and_then(Value::as_array_mut) {
        entries.retain(|entry| keep(entry));
    }
}

fn drop_empty(object: &mut Map<String, Value>, fields: &[&str]) {
    for field in fields {
        let empty = match object.get(*field) {
            Some(Value::Null) => true,
            Some(Value::Array(entries)) => entries.is_empty(),
            Some(Value::Object(members)) => members.is_empty(),
            _ => false,
        };
        if empty {
            object.remove(*field);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strips_by_name_and_keeps_the_order() {
        let pod = json!({
            "metadata": {"annotations": {"scaivault.scailabs.ai/status": "injected", "scaivault.scailabs.ai/role": "r"}},
            "spec": {
                "volumes": [{"name": "a"}, {"name": "scaivault-token"}, {"name": "b"}],
                "initContainers": [{"name": "scaivault-init"}, {"name": "migrate", "volumeMounts": [{"name": "scaivault-secrets"}]}],
                "containers": [{"name": "app", "env": [
                    {"name": "X", "valueFrom": {"fileKeyRef": {"volumeName": "scaivault-env"}}},
                    {"name": "Y", "value": "1"},
                ]}],
            },
        });
        assert_eq!(
            strip_ours(&pod),
            json!({
                "metadata": {"annotations": {"scaivault.scailabs.ai/role": "r"}},
                "spec": {
                    "volumes": [{"name": "a"}, {"name": "b"}],
                    "initContainers": [{"name": "migrate", "volumeMounts": []}],
                    "containers": [{"name": "app", "env": [{"name": "Y", "value": "1"}]}],
                },
            })
        );
    }

    #[test]
    fn a_lost_field_of_the_user_is_detected() {
        let original = json!({"spec": {"containers": [{"name": "app", "brandNewField": 1}]}});
        let lossy =
            json!({"spec": {"containers": [{"name": "app"}], "volumes": [{"name": "scaivault-secrets"}]}});
        assert_ne!(users_content(&original), users_content(&lossy));
        let explicit = json!({"spec": {"shareProcessNamespace": false}});
        assert_ne!(
            users_content(&explicit),
            users_content(&json!({"spec": {"shareProcessNamespace": true}}))
        );
    }

    #[test]
    fn paths_outside_the_allow_list() {
        for path in [
            "",
            "/metadata/labels",
            "/metadata/annotations/other.example~1key",
            "/spec/containers/0",
            "/spec/containers/-",
            "/spec/containers/0/image",
            "/spec/volumes/first",
            "/spec/securityContext",
            "/spec/initContainers/0/volumeMounts/-/name",
        ] {
            let patch = json!([{"op": "add", "path": path, "value": 1}]);
            assert_eq!(path_not_allowed(&patch), Some(path));
        }
        let patch = json!([
            {"op": "add", "path": "/metadata/annotations/scaivault.scailabs.ai~1status", "value": ""},
            {"op": "add", "path": "/spec/containers/10/env/0", "value": {}},
            {"op": "remove", "path": "/spec/initContainers/0"},
        ]);
        assert_eq!(path_not_allowed(&patch), None);
    }
}
