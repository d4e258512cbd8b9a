//! The Kubernetes objects of a document and their relevant fields.

use scaivault_contract::names::{ANNOTATION_PREFIX, SERVICE_ACCOUNT_ROLE_ANNOTATION};
use scaivault_inject::{Layer, Problems, annotations::not_text_problems, manifest};
use serde_json::{Map, Value};

/// An object: the document itself or an item of a list. `kind` is empty for a value that is not an
/// object.
#[derive(Clone, Debug)]
pub(crate) struct Object<'a> {
    /// RFC 6901 pointer to it in its document; empty for the document itself.
    pub(crate) pointer: String,
    /// `apiVersion`; if an item omits it, that of its list.
    pub(crate) api_version: &'a str,
    /// `kind`; if an item omits it, that of its list.
    pub(crate) kind: &'a str,
    /// The complete value.
    pub(crate) value: &'a Value,
}

/// The objects of a document in order, with lists expanded. Every value is part of one of them; a
/// document without content has none.
pub(crate) fn objects(document: &Value) -> Vec<Object<'_>> {
    let mut found = Vec::new();
    if !document.is_null() {
        collect(document, String::new(), ("", ""), &mut found);
    }
    found
}

/// `implied` has the items' `apiVersion` and `kind` according to the list: in a typed list, such as
/// the API server's `DeploymentList`, the items have neither.
fn collect<'a>(value: &'a Value, pointer: String, implied: (&'a str, &'a str), found: &mut Vec<Object<'a>>) {
    let text = |key, implied| match value.get(key) {
        None | Some(Value::Null) => implied,
        Some(written) => written.as_str().unwrap_or_default(),
    };
    let api_version = text("apiVersion", implied.0);
    let kind = text("kind", implied.1);
    if let Some(items) = list_items(value, kind) {
        let implied = match kind.strip_suffix("List") {
            Some(kind) if !kind.is_empty() => (api_version, kind),
            _ => ("", ""),
        };
        for (index, item) in items.iter().enumerate() {
            collect(item, format!("{pointer}/items/{index}"), implied, found);
        }
    } else if api_version.is_empty() || kind.is_empty() {
        found.push(Object { pointer, api_version: "", kind: "", value });
    } else {
        found.push(Object { pointer, api_version, kind, value });
    }
}

/// The items, if the value is a list. A custom resource whose kind ends in `List` has a name, which
/// a list never has.
fn list_items<'a>(value: &'a Value, kind: &str) -> Option<&'a [Value]> {
    let is_list = kind == "List" || (kind.ends_with("List") && value.pointer("/metadata/name").is_none());
    value.get("items")?.as_array().filter(|_| is_list).map(Vec::as_slice)
}

impl<'a> Object<'a> {
    /// The object as a standalone one, with the `apiVersion` and `kind` that its list implies.
    pub(crate) fn standalone(&self) -> Value {
        let says = |key| self.value.get(key).is_some_and(|value| !value.is_null());
        let Value::Object(fields) = self.value else { return self.value.clone() };
        if self.kind.is_empty() || says("apiVersion") && says("kind") {
            return self.value.clone();
        }
        let mut standalone = Map::new();
        standalone.insert("apiVersion".to_owned(), self.api_version.into());
        standalone.insert("kind".to_owned(), self.kind.into());
        let others =
            fields.iter().filter(|(key, _)| !["apiVersion", "kind"].contains(&key.as_str()) || says(key));
        standalone.extend(others.map(|(key, value)| (key.clone(), value.clone())));
        Value::Object(standalone)
    }

    /// `metadata.name`, or `metadata.generateName`, or empty.
    pub(crate) fn name(&self) -> &'a str {
        let name = self.metadata("name");
        if name.is_empty() { self.metadata("generateName") } else { name }
    }

    /// `metadata.namespace`; empty if it is chosen when the manifest is applied.
    pub(crate) fn namespace(&self) -> &'a str {
        self.metadata("namespace")
    }

    /// The annotation with that full key; `None` if it is absent or not a string.
    pub(crate) fn annotation(&self, key: &str) -> Option<&'a str> {
        self.value.get("metadata")?.get("annotations")?.get(key)?.as_str()
    }

    /// Full key and value of its annotations, except values that are not strings.
    pub(crate) fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.value
            .pointer("/metadata/annotations")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// The annotations under the injector's prefix.
    pub(crate) fn our_annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.annotations().filter(|(key, _)| key.starts_with(ANNOTATION_PREFIX))
    }

    /// The labels, except values that are not strings.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let labels = self.value.pointer("/metadata/labels").and_then(Value::as_object);
        labels.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// Problems about annotations of its own metadata that concern the injector and whose values
    /// are not strings.
    pub(crate) fn not_text_problems(&self) -> Problems {
        let layer = match (self.api_version, self.kind) {
            ("v1", "Namespace") => Layer::Namespace,
            ("v1", "ServiceAccount") => Layer::ServiceAccount,
            _ if self.pod_pointer().is_some() => Layer::Workload,
            _ => Layer::Pod,
        };
        let annotations = self.value.pointer("/metadata/annotations").and_then(Value::as_object);
        let relevant = annotations.into_iter().flatten().filter_map(|(key, value)| {
            let key = match key.as_str() {
                // The value of this key is the setting `role` of the pods.
                SERVICE_ACCOUNT_ROLE_ANNOTATION if layer == Layer::ServiceAccount => {
                    format!("{ANNOTATION_PREFIX}role")
                }
                key if key.starts_with(ANNOTATION_PREFIX) => key.to_owned(),
                _ => return None,
            };
            Some((key, value.clone()))
        });
        let relevant: Map<_, _> = relevant.collect();
        not_text_problems(&Value::Object(relevant).to_string(), &layer)
    }

    /// The pointer to the pod (template) in this object; `None` for kinds without one.
    pub(crate) fn pod_pointer(&self) -> Option<&'static str> {
        manifest::pod_pointer(self.api_version, self.kind)
    }

    /// The service account of a pod (template). `serviceAccount` is the name of the field before
    /// Kubernetes 1.0, which the API server still accepts.
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
        assert_eq!(
            found,
            [
                ("/items/0".to_owned(), "Pod"),
                ("/items/1".to_owned(), ""),
                ("/items/2/items/0".to_owned(), "Deployment"),
            ]
        );
    }

    #[test]
    fn a_typed_list_determines_the_kind_of_its_items() {
        let document = json!({
            "apiVersion": "apps/v1",
            "kind": "DeploymentList",
            "metadata": {"resourceVersion": "1"},
            "items": [{"kind": null, "metadata": {"name": "a"}}, {"kind": "Pod", "apiVersion": "v1"}, {"kind": 1}],
        });
        let found = objects(&document);
        let kinds: Vec<_> = found.iter().map(|object| (object.api_version, object.kind)).collect();
        assert_eq!(kinds, [("apps/v1", "Deployment"), ("v1", "Pod"), ("", "")]);
        assert_eq!(
            found[0].standalone(),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}})
        );
        assert_eq!(found[1].standalone().to_string(), r#"{"kind":"Pod","apiVersion":"v1"}"#, "in its order");
    }

    #[test]
    fn a_resource_whose_kind_ends_like_a_list_is_one_object() {
        let document = json!({"apiVersion": "example.com/v1", "kind": "AccessList", "metadata": {"name": "a"},
            "items": ["10.0.0.0/8"]});
        let found = objects(&document);
        assert_eq!((found.len(), found[0].kind), (1, "AccessList"));
    }

    #[test]
    fn a_document_without_a_kind_is_kept() {
        for document in [json!([]), json!("text"), json!({"kind": "Pod"}), json!({"kind": 1})] {
            let found = objects(&document);
            assert_eq!((found.len(), found[0].kind), (1, ""), "{document}");
            assert_eq!(found[0].standalone(), document);
        }
        assert!(objects(&json!(null)).is_empty());
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
