//! The sets of annotations that are added to every workload of a corpus, one after the other.

use serde_json::{Map, Value};

/// A set of annotations.
pub(super) struct Variant {
    /// Its name in the table.
    pub(super) name: &'static str,
    /// Keys without the prefix, and values.
    annotations: &'static [(&'static str, &'static str)],
}

/// From the smallest set to one that uses most features.
pub(super) const ALL: &[Variant] = &[
    Variant {
        name: "one secret",
        annotations: &[("inject-secret-db.json", "environments/production/billing/database")],
    },
    Variant {
        name: "sidecar",
        annotations: &[
            ("inject-secret-db.json", "environments/production/billing/database"),
            ("inject-secret-stripe.key", "environments/production/billing/stripe#secret_key"),
            ("inject-dynamic-pg.json", "engine=postgres-prod role=readonly ttl=2h"),
            ("refresh-interval", "1m"),
        ],
    },
    Variant {
        name: "files",
        annotations: &[
            ("inject-secret-db.env", "environments/production/billing/database@3"),
            ("secret-format-db.env", "env"),
            ("secret-file-db.env", "app/db.env"),
            ("secret-mode-db.env", "0440"),
            ("inject-secret-motd", "environments/production/billing/motd"),
            ("secret-template-motd", "{% for k in data %}{{ k }}=$(HOME)\n{% endfor %}"),
            ("mount-path", "/run/secrets/scaivault"),
        ],
    },
    Variant {
        name: "last, as user 10001",
        annotations: &[
            ("inject-secret-db.json", "environments/production/billing/database"),
            ("pattern", "sidecar"),
            ("position", "last"),
            ("start-gate", "probe"),
            ("run-as-user", "10001"),
            ("client-credentials-secret", "scaivault-client"),
            ("ca-configmap", "scaivault-ca"),
        ],
    },
    Variant {
        name: "reload",
        annotations: &[
            ("inject-secret-db.json", "environments/production/billing/database"),
            ("reload-signal", "SIGHUP"),
            ("reload-target", "server"),
        ],
    },
    Variant {
        name: "variables",
        annotations: &[("inject-env-DB_PASSWORD", "environments/production/billing/database#password")],
    },
];

const PREFIX: &str = "scaivault.scailabs.ai/";

impl Variant {
    /// The document with these annotations on the pod (template) at `pointer`.
    pub(super) fn annotate(&self, mut document: Value, pointer: &str) -> Value {
        if let Some(pod) = document.pointer_mut(pointer) {
            let annotations = child(child(pod, "metadata"), "annotations");
            for (key, value) in self.annotations {
                annotations[format!("{PREFIX}{key}")] = Value::from(*value);
            }
        }
        document
    }

    /// Full keys, and values in a notation that is valid in YAML and JSON.
    pub(super) fn entries(&self) -> impl Iterator<Item = (String, String)> {
        self.annotations
            .iter()
            .map(|(key, value)| (format!("{PREFIX}{key}"), Value::from(*value).to_string()))
    }
}

/// The object under `key`, created if it is missing.
fn child<'a>(parent: &'a mut Value, key: &str) -> &'a mut Value {
    let child = &mut parent[key];
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    child
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn annotations_are_added_to_existing_ones() {
        let annotated = ALL[0].annotate(json!({"spec": {"template": {"spec": {}}}}), "/spec/template");
        assert_eq!(
            annotated
                .pointer("/spec/template/metadata/annotations/scaivault.scailabs.ai~1inject-secret-db.json"),
            Some(&json!("environments/production/billing/database"))
        );
        let kept = ALL[0].annotate(json!({"metadata": {"annotations": {"a": "b"}}}), "");
        assert_eq!(kept.pointer("/metadata/annotations/a"), Some(&json!("b")));
    }
}
