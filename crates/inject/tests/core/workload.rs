//! Workloads: their annotations are validated when they are applied, and their `mutation-mode` is
//! carried over to their pods.

mod adjust;
mod laws;
mod validate;

use scaivault_inject::workload::{
    Adjustment, Former, Validation, WorkloadKind, WorkloadView, adjust, validate,
};
use scaivault_testkit::{apply, container, key};
use serde_json::{Value, json};

use crate::support::{Cluster, DATABASE};

/// A Deployment with one secret, as the API server sends it.
fn deployment() -> Workload {
    Workload {
        kind: WorkloadKind::Deployment,
        json: json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "billing", "namespace": "billing", "annotations": {}},
            "spec": {"replicas": 2, "template": {
                "metadata": {"labels": {"app": "billing"}, "annotations": {"other.example/team": "billing"}},
                "spec": {"containers": [container("app")]},
            }},
        }),
    }
    .wish("inject-secret-db.json", DATABASE)
}

/// Likewise as a Job that is suspended and has not run.
fn suspended_job() -> Workload {
    let Workload { mut json, .. } = deployment();
    json["spec"]["suspend"] = true.into();
    Workload { kind: WorkloadKind::Job, json }
}

/// Likewise as a Job that is running.
fn job() -> Workload {
    suspended_job().spec("suspend", false).field("status", json!({"startTime": "2026-01-01T00:00:00Z"}))
}

#[derive(Clone, Debug)]
struct Workload {
    kind: WorkloadKind,
    json: Value,
}

impl Workload {
    /// Sets an annotation of the injector in the template.
    fn wish(mut self, name: &str, value: &str) -> Self {
        self.json["spec"]["template"]["metadata"]["annotations"][key(name)] = value.into();
        self
    }

    /// Removes an annotation of the injector from the template.
    fn without(mut self, name: &str) -> Self {
        let annotations = self.json["spec"]["template"]["metadata"]["annotations"].as_object_mut().unwrap();
        annotations.remove(&key(name));
        self
    }

    /// Sets an annotation of the injector on the workload itself.
    fn own(mut self, name: &str, value: &str) -> Self {
        self.json["metadata"]["annotations"][key(name)] = value.into();
        self
    }

    /// Sets `mutation-mode` on the workload itself.
    fn mode(mut self, mode: Option<&str>) -> Self {
        let annotations = self.json["metadata"]["annotations"].as_object_mut().unwrap();
        annotations.remove(&key("mutation-mode"));
        annotations.extend(mode.map(|mode| (key("mutation-mode"), mode.into())));
        self
    }

    /// Sets the mode that the template carries.
    fn carrying(self, mode: Option<&str>) -> Self {
        match mode {
            Some(mode) => self.wish("workload-mutation-mode", mode),
            None => self.without("workload-mutation-mode"),
        }
    }

    fn field(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.json[field] = value.into();
        self
    }

    fn spec(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.json["spec"][field] = value.into();
        self
    }

    fn metadata(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.json["metadata"][field] = value.into();
        self
    }

    /// The mode that the template carries.
    fn carries(&self) -> Option<&str> {
        let pointer = self.kind.template_pointer();
        self.json
            .pointer(pointer)?
            .get("metadata")?
            .get("annotations")?
            .get(key("workload-mutation-mode"))?
            .as_str()
    }

    fn created(&self) -> (Self, Adjustment) {
        self.adjusted(|workload| adjust(workload, Former::Nothing))
    }

    /// The workload after the injector handled the update from `former`.
    fn updated(&self, former: &Self) -> (Self, Adjustment) {
        let former = former.json.to_string();
        let former = WorkloadView::parse(self.kind, &former).unwrap();
        self.adjusted(|workload| adjust(workload, Former::Workload(&former)))
    }

    fn adjusted(&self, adjust: impl Fn(&WorkloadView<'_>) -> Adjustment) -> (Self, Adjustment) {
        let text = self.json.to_string();
        let adjustment = adjust(&WorkloadView::parse(self.kind, &text).unwrap());
        let patch = serde_json::to_value(&adjustment.patch).unwrap();
        let json = apply(&self.json, &patch).unwrap_or_else(|error| panic!("{error}: {patch}"));
        (Self { json, ..*self }, adjustment)
    }

    fn validated(&self, former: Option<&Self>, cluster: &Cluster) -> Validation {
        let text = self.json.to_string();
        let workload = WorkloadView::parse(self.kind, &text).unwrap();
        let former = former.map(|former| former.json.to_string());
        let former = former.as_deref().map(|former| WorkloadView::parse(self.kind, former).unwrap());
        let former = former.as_ref().map_or(Former::Nothing, Former::Workload);
        validate(&workload, former, &cluster.context())
    }
}
