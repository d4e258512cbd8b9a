//! The keys of native Secrets that the manifests contain, never their values.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::object::Object;

/// The keys of Secrets that are known from manifests.
#[derive(Debug, Default)]
pub(super) struct KnownKeys {
    keys: BTreeMap<(String, String), BTreeSet<String>>,
}

impl KnownKeys {
    /// Records the keys in an object: a Secret itself, or an object from which another product
    /// creates one.
    pub(super) fn note(&mut self, object: &Object<'_>, default_namespace: &str) {
        let in_namespace = |namespace: &str| {
            if namespace.is_empty() { default_namespace.to_owned() } else { namespace.to_owned() }
        };
        if (object.api_version, object.kind) == ("v1", "Secret") {
            let members =
                ["data", "stringData"].into_iter().filter_map(|field| object.value.get(field)?.as_object());
            let keys: BTreeSet<String> = members.flat_map(|members| members.keys().cloned()).collect();
            if !keys.is_empty() {
                let name = object.name().to_owned();
                self.keys.entry((in_namespace(object.namespace()), name)).or_default().extend(keys);
            }
            return;
        }
        for source in scaivault_usage::secret_sources(&with_kind(object)) {
            // Without a key, the source copies all fields of a remote secret.
            let keys: Option<BTreeSet<String>> =
                source.remote.iter().map(|remote| remote.key.clone()).collect();
            if let (Some(namespace), Some(keys)) = (source.namespace, keys.filter(|keys| !keys.is_empty())) {
                self.keys.entry((in_namespace(&namespace), source.secret)).or_default().extend(keys);
            }
        }
    }

    /// The keys of a Secret, if they are known.
    pub(super) fn keys(&self, namespace: &str, name: &str) -> Option<&BTreeSet<String>> {
        self.keys.get(&(namespace.to_owned(), name.to_owned()))
    }
}

/// The object with the `apiVersion` and `kind` that its list implies.
fn with_kind(object: &Object<'_>) -> Value {
    if object.kind.is_empty() { Value::Null } else { object.standalone() }
}
