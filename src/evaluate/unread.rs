//! Finds the injector's keys in places where they are not read, or where that is unknown.

use scaivault_contract::names::ANNOTATION_PREFIX;
use serde_json::{Map, Value};

use crate::{apply::escape, object::Object};

/// The maximum depth at which annotations are searched for.
const MAX_DEPTH: usize = 32;

/// A warning for each place outside the pod templates where an object of an unknown kind has keys
/// of the injector. A namespace's own annotations are read.
pub(super) fn unread_keys(object: &Object<'_>, templates: &[&str]) -> Vec<String> {
    if (object.api_version, object.kind) == ("v1", "Namespace") {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    // For keys between an object and its template, [`super::misplaced`] reports where they belong.
    let places = if templates.is_empty() { &["/metadata/annotations", "/metadata/labels"][..] } else { &[] };
    for place in places {
        let mut keys =
            object.value.pointer(place).and_then(Value::as_object).map(our_keys).unwrap_or_default();
        if is_source(object) {
            keys.retain(|key| {
                !matches!(key.strip_prefix(ANNOTATION_PREFIX), Some("restart" | "restart-match"))
            });
        }
        if object.kind == "ServiceAccount" {
            // Reported by [`super::defaults`].
            keys.retain(|key| key.strip_prefix(ANNOTATION_PREFIX) != Some("role"));
        }
        if !keys.is_empty() {
            warnings.push(format!(
                "{} has no effect in {}: keys take effect in the annotations of a pod template",
                keys.join(", "),
                place.trim_start_matches('/').replace('/', ".")
            ));
        }
    }
    for (key, value) in object.value.as_object().into_iter().flatten() {
        if key != "metadata" && key != "status" {
            deeper(value, &format!("/{key}"), templates, 0, &mut warnings);
        }
    }
    warnings
}

/// Whether the restart controller restarts workloads for it, and reads what it says about that.
fn is_source(object: &Object<'_>) -> bool {
    matches!(
        (object.api_version, object.kind),
        ("v1", "Secret")
            | (
                "secrets-store.csi.x-k8s.io/v1" | "secrets-store.csi.x-k8s.io/v1alpha1",
                "SecretProviderClass"
            )
    )
}

fn deeper(value: &Value, pointer: &str, templates: &[&str], depth: usize, warnings: &mut Vec<String>) {
    if depth > MAX_DEPTH || templates.contains(&pointer) {
        return;
    }
    match value {
        Value::Object(map) => {
            let keys = if pointer.ends_with("/annotations") { our_keys(map) } else { Vec::new() };
            if !keys.is_empty() {
                warnings.push(format!(
                    "not checked: {} in {}: there is no pod template with containers; the keys take effect if they are copied to pods",
                    keys.join(", "),
                    pointer.trim_start_matches('/')
                ));
            }
            for (key, value) in map {
                deeper(value, &format!("{pointer}/{}", escape(key)), templates, depth + 1, warnings);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                deeper(item, &format!("{pointer}/{index}"), templates, depth + 1, warnings);
            }
        }
        _ => {}
    }
}

fn our_keys(map: &Map<String, Value>) -> Vec<&str> {
    map.keys().map(String::as_str).filter(|key| key.starts_with(ANNOTATION_PREFIX)).collect()
}
