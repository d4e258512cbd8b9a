//! The restart controller with real workloads, as docs/restart.md describes it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    app::{SCRIPT, pods_of, template, wait_for_rollout},
    injection::{APP, prefixed},
    kubectl::wait_for,
    running::AppPod,
    world::World,
};

pub(super) mod applier;
pub(super) mod broken;
pub(super) mod count;
pub(super) mod csi;
pub(super) mod install;
pub(super) mod kinds;
pub(super) mod leader;
pub(super) mod manual;
pub(super) mod native;

/// How long a restart may take from the rotation to the last pod, on a busy machine.
const RESTART: Duration = Duration::from_mins(3);
/// How long other workloads must remain unchanged: longer than debounce, observation and a few decisions of
/// the controller.
const LEFT_ALONE: Duration = Duration::from_secs(25);
/// The annotation of the template that replaces the pods.
const MARKER: &str = "scaivault.scailabs.ai/restarted-for";
/// The prefix of the values of all rotated secrets. No log may contain it.
const VALUE: &str = "restart-value";

/// A Deployment, `StatefulSet` or `DaemonSet` in the namespace of restarts.
struct Workload {
    kind: &'static str,
    name: String,
}

impl Workload {
    fn deployment(name: impl Into<String>) -> Self {
        Self { kind: "Deployment", name: name.into() }
    }

    /// Its manifest; keys of annotations have no prefix.
    fn manifest(&self, replicas: u32, annotations: &Value, mut template: Value) -> Value {
        let Self { kind, name } = self;
        template["metadata"]["labels"][APP] = json!(name);
        template["spec"]["terminationGracePeriodSeconds"] = json!(5);
        let annotations = prefixed(annotations);
        let mut manifest = json!({
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": World::RESTARTS, "annotations": annotations},
            "spec": {"selector": {"matchLabels": {APP: name}}, "template": template},
        });
        if *kind != "DaemonSet" {
            manifest["spec"]["replicas"] = json!(replicas);
        }
        if *kind == "StatefulSet" {
            manifest["spec"]["serviceName"] = json!(name);
        }
        manifest
    }

    /// The object as `KIND/NAME`.
    fn reference(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.name)
    }

    fn object(&self, world: &World<'_>) -> Result<Value> {
        let args = ["get", &self.reference(), "--namespace", World::RESTARTS, "--output=json"];
        world.kubectl.json(&args)
    }

    /// The name of its `RotationRollout`.
    fn record_name(&self) -> String {
        format!("{}-{}", self.kind.to_lowercase(), self.name)
    }

    /// The status of its `RotationRollout`; null without one.
    fn record(&self, world: &World<'_>) -> Result<Value> {
        let records = records(world)?;
        let name = self.record_name();
        let record = records.into_iter().find(|record| record["metadata"]["name"] == *name);
        Ok(record.map_or(Value::Null, |record| record["status"].clone()))
    }

    /// Waits until the status of its `RotationRollout` is as expected.
    fn wait_for_record(
        &self,
        world: &World<'_>,
        what: &str,
        is_expected: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let mut record = Value::Null;
        let seen = wait_for(what, RESTART, || {
            record = self.record(world)?;
            Ok(is_expected(&record).then(|| record.clone()))
        });
        seen.with_context(|| format!("the RotationRollout of {} has the status {record}", self.reference()))
    }

    /// Waits until its pods are ready and the controller has recorded the versions of this number of secrets.
    fn wait_until_known(&self, world: &World<'_>, secrets: usize) -> Result<()> {
        wait_for_rollout(world, World::RESTARTS, &self.reference())?;
        self.wait_for_record(world, "the controller knows the workload", |record| {
            let accepted = record["accepted"].as_array().map_or(0, Vec::len);
            record["phase"] == "Current" && accepted == secrets
        })?;
        Ok(())
    }

    /// Waits until it was successfully restarted this number of times in total.
    fn wait_until_current(&self, world: &World<'_>, restarts: usize) -> Result<Value> {
        self.wait_for_record(world, "the restart is complete", |record| {
            record["phase"] == "Current" && restarts_of(record) == restarts
        })
    }

    /// Its pods that are not being deleted.
    fn pods(&self, world: &World<'_>) -> Result<Vec<Value>> {
        pods_of(world, World::RESTARTS, &self.name)
    }

    /// The uids of its pods.
    fn uids(&self, world: &World<'_>) -> Result<Vec<String>> {
        Ok(self.pods(world)?.iter().map(uid).collect())
    }

    /// The number of its templates so far: one more than rollouts.
    fn templates(&self, world: &World<'_>) -> Result<usize> {
        let kind = if self.kind == "Deployment" { "replicasets" } else { "controllerrevisions" };
        let selector = format!("{APP}={}", self.name);
        let args = [kind, "--namespace", World::RESTARTS, "--selector", &selector];
        Ok(world.kubectl.items(&args)?.len())
    }

    /// Fails if the number of its templates differs.
    fn check_templates(&self, world: &World<'_>, expected: usize) -> Result<()> {
        let templates = self.templates(world)?;
        if templates != expected {
            bail!("{} has had {templates} templates, not {expected}", self.reference());
        }
        Ok(())
    }

    /// Waits until the same number of other pods have replaced these and are ready.
    fn wait_until_replaced(&self, world: &World<'_>, before: &[String]) -> Result<Vec<AppPod>> {
        self.wait_until_replaced_within(RESTART, world, before)
    }

    /// The same with another timeout.
    fn wait_until_replaced_within(
        &self,
        at_most: Duration,
        world: &World<'_>,
        before: &[String],
    ) -> Result<Vec<AppPod>> {
        let what = format!("other pods of {} are ready", self.reference());
        wait_for(&what, at_most, || {
            let pods = self.pods(world)?;
            let is_new = |pod: &Value| is_ready(pod) && !before.contains(&uid(pod));
            Ok((pods.len() == before.len() && pods.iter().all(is_new)).then(|| running(&pods)))
        })
    }
}

/// All `RotationRollouts` of the namespace.
fn records(world: &World<'_>) -> Result<Vec<Value>> {
    world.kubectl.items(&["rotationrollouts", "--namespace", World::RESTARTS])
}

/// How often a workload was restarted, by the status of its `RotationRollout`.
fn restarts_of(record: &Value) -> usize {
    record["restarts"].as_array().map_or(0, Vec::len)
}

fn uid(pod: &Value) -> String {
    pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn running(pods: &[Value]) -> Vec<AppPod> {
    let names = pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str());
    names.map(|name| AppPod { namespace: World::RESTARTS, name: name.to_owned() }).collect()
}

/// The path of a secret that a step rotates.
fn path(name: &str) -> String {
    format!("environments/production/billing/restart-{name}")
}

/// The n-th value of a secret.
fn value(number: u32) -> String {
    format!("{VALUE}-{number}")
}

/// Writes the n-th version of a secret.
fn rotate(world: &World<'_>, path: &str, number: u32) -> Result<()> {
    world.vault.admin.rotate(path, &json!({"password": value(number)}))
}

/// A template with the pattern `init`, whose pods read a secret once.
fn reads_at_start(world: &World<'_>, path: &str, script: &str) -> Value {
    let annotations = json!({"pattern": "init", "inject-secret-db.json": path});
    template(world, &annotations, script)
}

/// The same with the usual script.
fn usual(world: &World<'_>, path: &str) -> Value {
    reads_at_start(world, path, SCRIPT)
}

/// The uids of the pods of each workload.
fn uids<'a>(
    world: &World<'_>,
    workloads: impl IntoIterator<Item = &'a Workload>,
) -> Result<Vec<Vec<String>>> {
    workloads.into_iter().map(|workload| workload.uids(world)).collect()
}

/// Fails if the file of one of the pods does not have the n-th value.
fn check_files(world: &World<'_>, pods: &[AppPod], number: u32) -> Result<()> {
    for pod in pods {
        let file: Value = serde_json::from_str(&pod.file(world, "db.json")?)?;
        if file["password"] != value(number) {
            bail!("the new pod {} has not version {number} of the secret", pod.name);
        }
    }
    Ok(())
}
