//! Strict validation of an object against the `OpenAPI` document of a Kubernetes release.

use std::collections::HashMap;

use serde_json::Value;

/// The API of one release of Kubernetes.
pub(crate) struct Api {
    document: Value,
    /// The definitions' names by group, version and kind, `apps/v1 Deployment`.
    kinds: HashMap<String, String>,
}

impl Api {
    /// Parses `swagger.json`, the document that Kubernetes publishes with its source.
    pub(crate) fn new(text: &str) -> Self {
        let document: Value = serde_json::from_str(text).unwrap();
        let mut kinds = HashMap::new();
        for (name, definition) in document["definitions"].as_object().unwrap() {
            for kind in definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
                let [group, version, kind] =
                    ["group", "version", "kind"].map(|key| kind[key].as_str().unwrap());
                let api_version =
                    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
                kinds.insert(format!("{api_version} {kind}"), name.clone());
            }
        }
        Self { document, kinds }
    }

    /// All problems of an object in this release: unknown fields, wrong types, missing fields.
    pub(crate) fn problems(&self, object: &Value) -> Vec<String> {
        let [version, kind] = ["apiVersion", "kind"].map(|key| object[key].as_str().unwrap_or_default());
        match self.kinds.get(&format!("{version} {kind}")) {
            Some(definition) => {
                let mut check = Check { api: self, problems: Vec::new() };
                check.definition(definition, object, kind);
                check.problems
            }
            None => vec![format!("{version} {kind}: no such kind")],
        }
    }
}

/// The validation of one object.
struct Check<'a> {
    api: &'a Api,
    problems: Vec<String>,
}

impl Check<'_> {
    fn say(&mut self, path: &str, what: &str) {
        self.problems.push(format!("{path}: {what}"));
    }

    fn definition(&mut self, name: &str, value: &Value, path: &str) {
        // The schema says string; the API server also accepts a number, but not every string.
        if name == "io.k8s.apimachinery.pkg.api.resource.Quantity" {
            if !is_quantity(value) {
                self.say(path, &format!("{value} is no quantity"));
            }
            return;
        }
        let definition = &self.api.document["definitions"][name];
        assert!(definition.is_object(), "{path}: the document has no {name}");
        self.schema(definition, value, path);
    }

    fn schema(&mut self, schema: &Value, value: &Value, path: &str) {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.strip_prefix("#/definitions/").expect("the document refers to itself alone");
            self.definition(name, value, path);
            return;
        }
        match (schema["type"].as_str(), schema["format"].as_str()) {
            // Any JSON, such as a default in the schema of a custom resource.
            (None, _) => {}
            (Some("object"), _) => self.object(schema, value, path),
            (Some("array"), _) => match value.as_array() {
                Some(items) => {
                    for (index, item) in items.iter().enumerate() {
                        self.schema(&schema["items"], item, &format!("{path}[{index}]"));
                    }
                }
                None => self.say(path, &format!("{value} is no array")),
            },
            (Some(kind), format) => {
                if !is_scalar(kind, format, value) {
                    self.say(path, &format!("{value} is no {}", format.unwrap_or(kind)));
                }
            }
        }
    }

    fn object(&mut self, schema: &Value, value: &Value, path: &str) {
        let Some(fields) = value.as_object() else {
            self.say(path, &format!("{value} is no object"));
            return;
        };
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(required) {
                self.say(path, &format!("{required} is missing"));
            }
        }
        let (known, others) = (schema["properties"].as_object(), schema.get("additionalProperties"));
        for (name, value) in fields {
            let path = format!("{path}.{name}");
            match (known.and_then(|known| known.get(name)), others) {
                (Some(schema), _) | (None, Some(schema)) => self.schema(schema, value, &path),
                // An object without a schema may have any fields.
                (None, None) if known.is_none() => {}
                (None, None) => self.say(&path, "no such field"),
            }
        }
    }
}

fn is_scalar(kind: &str, format: Option<&str>, value: &Value) -> bool {
    match (kind, format) {
        ("string", Some("int-or-string")) => value.is_string() || value.is_i64(),
        ("string", _) => value.is_string(),
        ("integer", Some("int32")) => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        ("integer", _) => value.is_i64(),
        ("number", _) => value.is_number(),
        ("boolean", _) => value.is_boolean(),
        _ => panic!("unknown type {kind}"),
    }
}

/// A number, or a string of a number with a suffix: `128Mi`, `50m`, `1e3`.
fn is_quantity(value: &Value) -> bool {
    const SUFFIXES: [&str; 16] =
        ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "n", "u", "m", "k", "M", "G", "T", "P", "E", ""];
    let Some(text) = value.as_str() else { return value.is_number() };
    let number = SUFFIXES.iter().find_map(|suffix| text.strip_suffix(suffix)).unwrap_or(text);
    number.chars().all(|character| character.is_ascii_digit() || "+-.eE".contains(character))
        && number.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A small document in Kubernetes' format.
    fn api() -> Api {
        let string = || json!({"type": "string"});
        let definitions = json!({
            "v1.Thing": {
                "type": "object",
                "required": ["spec"],
                "properties": {
                    "apiVersion": string(),
                    "kind": string(),
                    "metadata": {"type": "object", "additionalProperties": string()},
                    "spec": {"$ref": "#/definitions/v1.Spec"},
                },
                "x-kubernetes-group-version-kind": [{"group": "example.com", "version": "v1", "kind": "Thing"}],
            },
            "v1.Spec": {
                "type": "object",
                "properties": {
                    "port": {"type": "string", "format": "int-or-string"},
                    "count": {"type": "integer", "format": "int32"},
                    "on": {"type": "boolean"},
                    "limits": {"type": "object", "additionalProperties":
                        {"$ref": "#/definitions/io.k8s.apimachinery.pkg.api.resource.Quantity"}},
                    "names": {"type": "array", "items": string()},
                    "anything": {"type": "object"},
                },
            },
            "io.k8s.apimachinery.pkg.api.resource.Quantity": string(),
        });
        Api::new(&json!({"definitions": definitions}).to_string())
    }

    #[track_caller]
    fn check(spec: &Value, expected: &[&str]) {
        let thing =
            json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec});
        assert_eq!(api().problems(&thing), expected, "{spec}");
    }

    #[test]
    fn known_fields_with_their_types_are_accepted() {
        check(&json!({}), &[]);
        check(&json!({"port": 1, "count": 2, "on": true, "names": ["a"], "anything": {"at": ["all"]}}), &[]);
        check(
            &json!({"port": "https", "limits": {"cpu": "50m", "memory": "128Mi", "pods": 1, "hours": "1.5e3"}}),
            &[],
        );
    }

    #[test]
    fn unknown_and_mistyped_fields_are_named() {
        check(&json!({"prot": 1}), &["Thing.spec.prot: no such field"]);
        check(&json!({"port": true}), &["Thing.spec.port: true is no int-or-string"]);
        check(&json!({"count": "2"}), &["Thing.spec.count: \"2\" is no int32"]);
        check(&json!({"count": 4_294_967_296_u64}), &["Thing.spec.count: 4294967296 is no int32"]);
        check(&json!({"on": null}), &["Thing.spec.on: null is no boolean"]);
        check(&json!({"names": "a"}), &["Thing.spec.names: \"a\" is no array"]);
        check(&json!({"names": ["a", 1]}), &["Thing.spec.names[1]: 1 is no string"]);
        check(&json!([]), &["Thing.spec: [] is no object"]);
        for wrong in ["50 m", "", "Mi", "1Xi", "inf", "many"] {
            check(
                &json!({"limits": {"cpu": wrong}}),
                &[&format!("Thing.spec.limits.cpu: {wrong:?} is no quantity")],
            );
        }
    }

    #[test]
    fn kinds_and_required_fields_are_checked() {
        let [thing, other] =
            ["Thing", "Other"].map(|kind| json!({"apiVersion": "example.com/v1", "kind": kind}));
        assert_eq!(api().problems(&thing), ["Thing: spec is missing"]);
        assert_eq!(api().problems(&other), ["example.com/v1 Other: no such kind"]);
    }
}
