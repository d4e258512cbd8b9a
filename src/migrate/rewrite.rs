//! Changes a workload's manifest: adds the injector's annotations, removes native Secrets and
//! annotations of other products.

use std::collections::{BTreeMap, BTreeSet};

use scaivault_contract::names::ANNOTATION_PREFIX;
use scaivault_inject::{Operation, Value as Added};
use scaivault_usage::{ContainerKind, ContainerRef};
use serde_json::Value;

use super::{
    layout::{self, Layout},
    wants::{Wants, containers},
};

/// The pointer of an annotation, relative to the pod.
pub(super) fn annotation_pointer(key: &str) -> String {
    format!("/metadata/annotations/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// The annotations of a migrated pod (template), by full key.
pub(super) fn annotations(pod: &Value, wants: &Wants, layout: &Layout) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut set =
        |key: &str, value: &str| found.insert(format!("{ANNOTATION_PREFIX}{key}"), value.to_owned());
    if let Some(mount_path) = &layout.mount_path {
        set("mount-path", mount_path);
    }
    for (key, value) in &wants.settings {
        set(key, value);
    }
    for file in &layout.files {
        for (key, value) in layout::annotations(file) {
            set(&key, &value);
        }
    }
    for (name, source) in &layout.variables {
        set(&format!("inject-env-{name}"), source);
    }
    for (key, value) in readers(pod, wants, &layout.readers) {
        set(key, &value);
    }
    found
}

/// `containers` and `init-containers`, if they differ or may differ from the default, which omits
/// known sidecars.
fn readers(pod: &Value, wants: &Wants, readers: &BTreeSet<ContainerRef>) -> Vec<(&'static str, String)> {
    let all = containers(pod);
    // vault-k8s mounts its files into the sidecars of other products only because it does not
    // recognize them.
    let is_native = !wants.moved.is_empty();
    let mut found = Vec::new();
    for (key, is_app) in [("containers", true), ("init-containers", false)] {
        let of_kind = |container: &&ContainerRef| (container.kind == ContainerKind::App) == is_app;
        let present: Vec<_> = all.iter().map(|(container, ..)| container).filter(of_kind).collect();
        let reading: Vec<_> = present.iter().filter(|container| readers.contains(**container)).collect();
        if reading.len() < present.len() || is_native && present.len() > 1 {
            found.push((
                key,
                reading.iter().map(|container| container.name.as_str()).collect::<Vec<_>>().join(","),
            ));
        }
    }
    found
}

/// The operations on a pod (template). Lists that become empty are removed with their key.
pub(super) fn operations(
    pod: &Value,
    wants: &Wants,
    annotations: BTreeMap<String, String>,
) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut by_list: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for pointer in &wants.removals {
        let Some((list, index)) = pointer.rsplit_once('/') else { continue };
        match index.parse() {
            Ok(index) if !list.ends_with("/annotations") => {
                by_list.entry(list).or_default().insert(index);
            }
            _ => operations.push(Operation::Remove { path: pointer.clone() }),
        }
    }
    for (list, indices) in by_list {
        let length = pod.pointer(list).and_then(Value::as_array).map_or(0, Vec::len);
        if indices.len() == length {
            operations.push(Operation::Remove { path: list.to_owned() });
        } else {
            let indices = indices.into_iter().rev();
            operations.extend(indices.map(|index| Operation::Remove { path: format!("{list}/{index}") }));
        }
    }
    let text = |(key, value): (String, String)| (key, Added::Text(value));
    let is_object = |pointer: &str| pod.pointer(pointer).is_some_and(Value::is_object);
    if is_object("/metadata/annotations") {
        let added = annotations.into_iter().map(text);
        operations.extend(added.map(|(key, value)| Operation::Add { path: annotation_pointer(&key), value }));
    } else {
        let annotations = Added::Object(annotations.into_iter().map(text).collect());
        operations.push(if is_object("/metadata") {
            Operation::Add { path: "/metadata/annotations".to_owned(), value: annotations }
        } else {
            let metadata = BTreeMap::from([("annotations".to_owned(), annotations)]);
            Operation::Add { path: "/metadata".to_owned(), value: Added::Object(metadata) }
        });
    }
    operations
}
