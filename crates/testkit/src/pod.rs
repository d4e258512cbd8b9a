//! Builds pods.

use serde_json::{Map, Value, json};

use crate::key;

/// A pod with one container `app`, as a user writes it: `metadata.annotations`, `spec.volumes` and
/// everything else are absent.
pub fn pod() -> PodBuilder {
    PodBuilder {
        pod: json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "billing", "namespace": "billing"},
            "spec": {"containers": [container("app")]},
        }),
    }
}

/// A container with only a name and an image.
pub fn container(name: &str) -> Value {
    json!({"name": name, "image": format!("registry.invalid/{name}:1")})
}

/// Builds a pod step by step.
#[derive(Clone, Debug)]
pub struct PodBuilder {
    pod: Value,
}

impl PodBuilder {
    /// Starts with an existing pod.
    pub fn from(pod: Value) -> Self {
        Self { pod }
    }

    /// Sets an annotation of the injector, named without its prefix.
    #[must_use]
    pub fn annotate(self, name: &str, value: &str) -> Self {
        self.annotation(&key(name), value)
    }

    /// Sets any annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.metadata_map("annotations").insert(key.to_owned(), value.into());
        self
    }

    /// Removes an annotation of the injector.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.metadata_map("annotations").remove(&key(name));
        self
    }

    /// Sets a field of `spec`.
    #[must_use]
    pub fn spec(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.spec_map().insert(field.to_owned(), value.into());
        self
    }

    /// Appends an app container.
    #[must_use]
    pub fn container(self, container: Value) -> Self {
        self.push("containers", container)
    }

    /// Appends an init container.
    #[must_use]
    pub fn init_container(self, container: Value) -> Self {
        self.push("initContainers", container)
    }

    /// Appends a volume.
    #[must_use]
    pub fn volume(self, volume: Value) -> Self {
        self.push("volumes", volume)
    }

    /// Sets a field of the app container at `index`.
    #[must_use]
    pub fn app_field(mut self, index: usize, field: &str, value: impl Into<Value>) -> Self {
        self.pod["spec"]["containers"][index][field] = value.into();
        self
    }

    /// The pod.
    pub fn json(self) -> Value {
        self.pod
    }

    fn push(mut self, list: &str, entry: Value) -> Self {
        self.spec_map()
            .entry(list)
            .or_insert_with(|| json!([]))
            .as_array_mut()
            .expect("the builder starts from a list or from nothing")
            .push(entry);
        self
    }

    fn spec_map(&mut self) -> &mut Map<String, Value> {
        self.pod["spec"].as_object_mut().expect("every pod of the builder has a spec")
    }

    fn metadata_map(&mut self, field: &str) -> &mut Map<String, Value> {
        self.pod["metadata"]
            .as_object_mut()
            .expect("every pod of the builder has metadata")
            .entry(field)
            .or_insert_with(|| json!({}))
            .as_object_mut()
            .expect("annotations and labels are objects")
    }
}
