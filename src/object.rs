//! The Kubernetes objects of a document, and what matters of them here.

use scaivault_contract::names::ANNOTATION_PREFIX;
use scaivault_inject::manifest;
use serde_json::Value;

/// An object: the document itself or an item of a `List`.
#[derive(Clone, Debug)]
pub(crate) struct Object<'a> {
    /// RFC 6901 pointer to it in its document; empty for the document itself.
    pub(crate) pointer: String,
    /// `apiVersion`.
    pub(crate) api_version: &'a str,
    /// `kind`.
    pub(crate) kind: &'a str,
    /// All of it.
    pub(crate) value: &'a Value,
}

/// The objects of a document in order, with lists opened. Empty if the document is no Kubernetes object.
pub(crate) fn objects(document: &Value) -> Vec<Object<'_>> {
    let mut found = Vec::new();
    collect(document, String::new(), &mut found);
    found
}

fn collect<'a>(value: &'a Value, pointer: String, found: &mut Vec<Object<'a>>) {
    let text = |key| value.get(key).and_then(Value::as_str);
    let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
        return;
    };
    match value.get("items") {
        Some(Value::Array(items)) if kind.ends_with("List") => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{pointer}/items/{index}"), found);
            }
        }
        _ => found.push(Object { pointer, api_version, kind, value }),
    }
}

impl<'a> Object<'a> {
    /// `metadata.name`, or `metadata.generateName`, or empty.
    pub(crate) fn name(&self) -> &'a str {
        let name = self.metadata("name");
        if name.is_empty() { self.metadata("generateName") } else { name }
    }

    /// `metadata.namespace`; empty where the manifest leaves it to whoever applies it.
    pub(crate) fn namespace(&self) -> &'a str {
        self.metadata("namespace")
    }

    /// The annotation of that full key; none if it is absent or not a string.
    pub(crate) fn annotation(&self, key: &str) -> Option<&'a str> {
        self.value.get("metadata")?.get("annotations")?.get(key)?.as_str()
    }

    /// Full key and value of the annotations under the injector's prefix. What is no string is left out.
    pub(crate) fn our_annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.value
            .pointer("/metadata/annotations")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter(|(key, _)| key.starts_with(ANNOTATION_PREFIX))
            .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// The pointer to the pod (template) in this object; none for kinds without one.
    pub(crate) fn pod_pointer(&self) -> Option<&'static str> {
        manifest::pod_pointer(self.api_version, self.kind)
    }

    /// Whether the object makes pods rather than being one.
    pub(crate) fn is_workload(&self) -> bool {
        self.pod_pointer().is_some_and(|pointer| !pointer.is_empty())
    }

    /// The service account that a pod (template) runs as. `serviceAccount` is its name before Kubernetes 1.0,
    /// which the API server still takes.
    pub(crate) fn service_account(pod: &Value) -> &str {
        ["serviceAccountName", "serviceAccount"]
            .into_iter()
            .filter_map(|field| pod.get("spec")?.get(field)?.as_str())
            .find(|name| !name.is_empty())
            .unwrap_or("default")
    }

    fn metadata(&self, field: &str) -> &'a str {
        self.value.get("metadata").and_then(|metadata| metadata.get(field)?.as_str()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_opened() {
        let document = json!({
            "apiVersion": "v1",
            "kind": "List",
            "items": [
                {"apiVersion": "v1", "kind": "Pod"},
                {"not": "an object"},
                {"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "apps/v1", "kind": "Deployment"}]},
            ],
        });
        let found: Vec<_> = objects(&document).into_iter().map(|o| (o.pointer, o.kind)).collect();
        assert_eq!(found, [("/items/0".to_owned(), "Pod"), ("/items/2/items/0".to_owned(), "Deployment")]);
    }

    #[test]
    fn what_has_no_kind_is_no_object() {
        for document in [json!(null), json!([]), json!("text"), json!({"kind": "Pod"}), json!({"kind": 1})] {
            assert!(objects(&document).is_empty(), "{document}");
        }
    }

    #[test]
    fn a_service_account_is_found_under_both_names() {
        for (spec, expected) in [
            (json!({}), "default"),
            (json!({"serviceAccountName": "billing"}), "billing"),
            (json!({"serviceAccount": "old"}), "old"),
            (json!({"serviceAccountName": "", "serviceAccount": "old"}), "old"),
            (json!({"serviceAccountName": "new", "serviceAccount": "old"}), "new"),
        ] {
            assert_eq!(Object::service_account(&json!({"spec": spec})), expected);
        }
    }
}
