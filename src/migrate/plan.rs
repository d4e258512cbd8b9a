//! The rollout order of migrated workloads, and the commands of each batch.
//!
//! A command is a list of arguments, never a shell command line, because names come from untrusted
//! manifests.

mod commands;
mod markdown;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::work::{MigratedWorkload, Migration};

pub(super) use self::markdown::markdown;

/// The batches, and the steps after the last one.
#[derive(Debug, Serialize)]
pub(super) struct Plan {
    pub(super) version: u8,
    pub(super) batches: Vec<Batch>,
    /// The workloads that are not migrated, with the reasons.
    pub(super) left: Vec<Left>,
    /// Native Secrets that the manifests no longer use.
    pub(super) finish: Vec<Step>,
}

/// Workloads that are rolled out together.
#[derive(Debug, Serialize)]
pub(super) struct Batch {
    pub(super) number: usize,
    pub(super) workloads: Vec<PlannedWorkload>,
    pub(super) steps: Vec<Step>,
    pub(super) rollback: Vec<Step>,
}

/// A workload of a batch.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PlannedWorkload {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Its manifest in the directories `apply` and `rollback` of the batch.
    pub(super) file: String,
    /// The name of the Job that compares values; `None` if nothing can be compared.
    pub(super) job: Option<String>,
    pub(super) has_sidecar: bool,
    #[serde(skip)]
    pub(super) selector: Option<String>,
    /// Its index in the migration's workloads.
    #[serde(skip)]
    pub(super) index: usize,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    pub(super) phase: Phase,
    pub(super) title: String,
    pub(super) command: Vec<String>,
}

/// The purpose of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    Compare,
    Baseline,
    Apply,
    Rollout,
    Verify,
    Latency,
    Rollback,
    Finish,
}

/// A workload that is not migrated.
#[derive(Debug, Serialize)]
pub(super) struct Left {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) workload: String,
    pub(super) reasons: Vec<String>,
}

impl Plan {
    /// Orders the workloads. The first batch is one workload, as a trial; then at most `size` each.
    /// Namespaces named in `first` come first; the others are ordered by the environment that their
    /// names suggest, small ones first.
    pub(super) fn new(migration: &Migration, size: usize, first: &[String]) -> Self {
        let Migration { workloads, report, still_used, .. } = migration;
        let mut order: Vec<usize> = (0..workloads.len()).collect();
        order.sort_by_cached_key(|index| {
            let workload = &workloads[*index];
            let given = first.iter().position(|namespace| *namespace == workload.namespace);
            let number = workloads.iter().filter(|other| other.namespace == workload.namespace).count();
            let rank = (given.unwrap_or(first.len()), environment(&workload.namespace), number);
            (rank, workload.namespace.clone(), kind_rank(&workload.kind), workload.name.clone())
        });
        let (canary, rest) = order.split_at(order.len().min(1));
        // A batch has workloads of one environment only: staging is complete before production
        // starts.
        let environment_of = |index: &usize| environment(&workloads[*index].namespace);
        let of_environments = rest.chunk_by(|a, b| environment_of(a) == environment_of(b));
        let chunks = canary.chunks(1).chain(of_environments.flat_map(|part| part.chunks(size.max(1))));
        let batches =
            chunks.enumerate().map(|(number, indices)| batch(number + 1, indices, workloads)).collect();
        let left = report.left().map(|entry| Left {
            file: entry.file.clone(),
            line: entry.line,
            workload: match entry.namespace.as_str() {
                "" => entry.display_name(),
                namespace => format!("{namespace}/{}", entry.display_name()),
            },
            reasons: entry.reasons(),
        });
        Self { version: 1, batches, left: left.collect(), finish: finish(workloads, still_used) }
    }

    /// Whether nothing is migrated.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

fn batch(number: usize, indices: &[usize], workloads: &[MigratedWorkload]) -> Batch {
    let mut taken = BTreeSet::new();
    let planned: Vec<_> =
        indices.iter().map(|index| planned(*index, &workloads[*index], &mut taken)).collect();
    let (steps, rollback) = commands::of_batch(number, &planned);
    Batch { number, workloads: planned, steps, rollback }
}

fn planned(index: usize, workload: &MigratedWorkload, taken: &mut BTreeSet<String>) -> PlannedWorkload {
    let MigratedWorkload { kind, namespace, name, labels, has_sidecar, job, .. } = workload;
    let parts = [namespace.as_str(), &kind.to_lowercase(), name.as_str()];
    let stem: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).map(file_name).collect();
    let stem = stem.join("-");
    let names = std::iter::once(stem.clone()).chain((2..).map(|number| format!("{stem}-{number}")));
    let file =
        names.map(|name| format!("{name}.yaml")).find(|file| !taken.contains(file)).unwrap_or_default();
    taken.insert(file.clone());
    let selector: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    PlannedWorkload {
        kind: kind.clone(),
        namespace: namespace.clone(),
        name: name.clone(),
        file,
        job: job
            .as_ref()
            .and_then(|job| job.pointer("/metadata/name"))
            .and_then(Value::as_str)
            .map(str::to_owned),
        has_sidecar: *has_sidecar,
        selector: (!selector.is_empty()).then(|| selector.join(",")),
        index,
    }
}

/// A safe component of a file name.
fn file_name(text: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let text: String = text.chars().map(|c| if is_allowed(c) { c } else { '-' }).collect();
    text.chars().take(100).collect()
}

/// The rank of a namespace's environment, from its name: development, staging, unknown, production.
fn environment(namespace: &str) -> u8 {
    let words: Vec<&str> = namespace.split(['-', '.', '_']).collect();
    let has = |names: &[&str]| words.iter().any(|word| names.contains(word));
    if has(&["preprod", "qa", "stage", "staging", "uat"]) {
        1
    } else if has(&["live", "prd", "prod", "production"]) {
        3
    } else if has(&["ci", "demo", "dev", "development", "playground", "sandbox", "test", "testing"]) {
        0
    } else {
        2
    }
}

/// Workloads with interchangeable pods and rolling updates come first.
fn kind_rank(kind: &str) -> u8 {
    match kind {
        "Deployment" => 0,
        "CronJob" => 1,
        "StatefulSet" => 2,
        "DaemonSet" => 3,
        _ => 4,
    }
}

fn finish(workloads: &[MigratedWorkload], still_used: &BTreeSet<(String, String)>) -> Vec<Step> {
    let unused: BTreeSet<(String, String)> = workloads
        .iter()
        .flat_map(|workload| {
            workload.secrets.iter().map(|secret| (workload.namespace.clone(), secret.clone()))
        })
        .filter(|used| !still_used.contains(used))
        .collect();
    unused.iter().map(|(namespace, secret)| commands::delete_secret(namespace, secret)).collect()
}

#[cfg(test)]
mod tests;
