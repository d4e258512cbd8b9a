//! Finds parts of a pod, for assertions.

use serde_json::Value;

/// The entries of `spec.<list>`; empty if it is absent or null.
pub fn entries<'a>(pod: &'a Value, list: &str) -> &'a [Value] {
    pod["spec"][list].as_array().map_or(&[], Vec::as_slice)
}

/// The entry called `name`.
pub fn named<'a>(entries: &'a [Value], name: &str) -> Option<&'a Value> {
    entries.iter().find(|entry| entry["name"] == name)
}

/// The names of the entries, in order.
pub fn names(entries: &[Value]) -> Vec<&str> {
    entries.iter().filter_map(|entry| entry["name"].as_str()).collect()
}

/// The init container (or native sidecar) called `name`.
pub fn init_container<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    named(entries(pod, "initContainers"), name)
}

/// The app container called `name`.
pub fn app_container<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    named(entries(pod, "containers"), name)
}

/// The volume called `name`.
pub fn volume<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    named(entries(pod, "volumes"), name)
}

/// A container's mount of the volume called `volume`.
pub fn mount<'a>(container: &'a Value, volume: &str) -> Option<&'a Value> {
    list(container, "volumeMounts").iter().find(|mount| mount["name"] == volume)
}

/// The volume that a container mounts at exactly `path`.
pub fn volume_at<'a>(container: &'a Value, path: &str) -> Option<&'a str> {
    list(container, "volumeMounts").iter().find(|mount| mount["mountPath"] == path)?["name"].as_str()
}

/// The value of a container's variable.
pub fn env<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    named(list(container, "env"), name)?["value"].as_str()
}

/// The names of a container's variables, in order.
pub fn env_names(container: &Value) -> Vec<&str> {
    names(list(container, "env"))
}

/// The value of the pod's annotation under the injector's prefix.
pub fn injector_annotation<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    pod["metadata"]["annotations"][crate::key(name)].as_str()
}

/// The containers that the injector added: init containers and native sidecars with a reserved name.
pub fn injected_containers(pod: &Value) -> Vec<&Value> {
    entries(pod, "initContainers")
        .iter()
        .filter(|container| crate::users::is_our_container(container))
        .collect()
}

fn list<'a>(container: &'a Value, field: &str) -> &'a [Value] {
    container[field].as_array().map_or(&[], Vec::as_slice)
}
