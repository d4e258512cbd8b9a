//! `RotationRollout`, the custom resource that stores a [`Ledger`]. The controller creates one for each
//! workload, in its namespace and owned by it; it has no other writer.

use jiff::Timestamp;
use kube_derive::{CustomResource, KubeSchema};
use scaivault_policy::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    ledger::{AcceptedVersion, Ledger, Outcome, PendingRestart, Phase, RolloutRecord, Start, Trial},
    source::{SourceId, SourceKind, SourceRef, Sources, Version, digest},
    text,
    workload::{Kind, WorkloadKey},
};

/// The workload whose restarts are recorded.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "scaivault.scailabs.ai",
    version = "v1alpha1",
    kind = "RotationRollout",
    plural = "rotationrollouts",
    shortname = "rr",
    category = "scaivault",
    namespaced,
    status = "RotationRolloutStatus",
    derive = "PartialEq",
    doc = "The restarts of one workload after rotations of its secrets. Written by the restart controller.",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.kind"),
    printcolumn(name = "Workload", type_ = "string", json_path = ".spec.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Pending since", type_ = "date", json_path = ".status.pending.since"),
    printcolumn(name = "Restarted", type_ = "date", json_path = ".status.rollout.since"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[x_kube(
    crates(kube_core = "::kube_core"),
    validation = ::kube_core::Rule::new("self == oldSelf").message("must not change; delete the object instead")
)]
#[serde(rename_all = "camelCase")]
pub struct RotationRolloutSpec {
    /// The workload's kind: `Deployment`, `StatefulSet`, `DaemonSet` or `Rollout`.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// The workload's name.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// The state of the workload's restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RotationRolloutStatus {
    /// `Current`, `Waiting`, `Restarting` or `Failed`.
    #[schemars(length(max = 32))]
    pub phase: String,
    /// The reason, as one word.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// The reason, as a message.
    #[schemars(length(max = 4096))]
    pub message: String,
    /// The pending restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingStatus>,
    /// The last restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// The times of recent restarts.
    #[schemars(length(max = 1024), inner(length(max = 64)))]
    pub restarts: Vec<String>,
    /// The versions for which no restart is needed.
    #[schemars(length(max = 1024))]
    pub accepted: Vec<VersionStatus>,
    /// The last release (`restart-release`) that was used.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub released: String,
    /// `UpToDate`: the pods have the current versions. `Succeeded`: the last restart was successful.
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
}

/// A pending restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PendingStatus {
    /// When it became pending.
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
    /// Whether it waits for a release, because the mode was `manual` when the newest version arrived.
    pub manual: bool,
    /// Whether all pods were available when the newest version arrived.
    pub was_healthy: bool,
    /// The versions for which the workload will be restarted.
    #[schemars(length(max = 1024))]
    pub versions: Vec<VersionStatus>,
}

/// The last restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// When the template was patched.
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
    /// When all pods were replaced and available.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub finished: Option<String>,
    /// The reason of its failure, as one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub failure: Option<String>,
    /// Its cause: empty if the controller began it itself, `Released` by a user, or `Adopted` from the
    /// annotation of the template.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 32))]
    pub start: String,
    /// Whether all pods were available before it. Only then a failure stops other workloads.
    pub was_healthy: bool,
    /// Since when the workload has been well after a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub well_since: Option<String>,
    /// The number of ready pods that it created, updated a few times during a rollout.
    #[schemars(extend("format" = "int32"))]
    pub replaced: u32,
    /// When that number was updated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub progressed: Option<String>,
}

/// A version of a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each can be true by itself")]
#[serde(rename_all = "camelCase", default)]
pub struct VersionStatus {
    /// `ScaiVault`, `Secret` or `SecretProviderClass`.
    #[schemars(length(max = 32))]
    pub kind: String,
    /// The path, or the object's name.
    #[schemars(length(max = 512))]
    pub name: String,
    /// The version: number and time, or a label of the driver. It contains neither a value nor a hash of
    /// one.
    #[schemars(length(max = 64))]
    pub version: String,
    /// Whether the workload was restarted for it.
    #[serde(skip_serializing_if = "is_false")]
    pub restarted: bool,
    /// Whether the last restart was for it, so that a failure counts against the version.
    #[serde(skip_serializing_if = "is_false")]
    pub tried: bool,
    /// Whether the workload failed with it and has not recovered, so that others of the namespace wait.
    #[serde(skip_serializing_if = "is_false")]
    pub failed: bool,
    /// Whether the failure does not count in other namespaces, because the controller did not begin the
    /// restart itself.
    #[serde(skip_serializing_if = "is_false")]
    pub failed_here: bool,
}

/// The types and statuses of conditions.
const CONDITIONS: [&str; 2] = ["UpToDate", "Succeeded"];
const STATUSES: [&str; 3] = ["True", "False", "Unknown"];

/// The status of a condition and the time of its last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConditionState {
    condition: &'static str,
    status: &'static str,
    /// Unix seconds.
    since: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The maximum length of a message in characters.
const MESSAGE_MAX: usize = 4096;
/// The longest list.
const LIST_MAX: usize = 1024;
/// The longest name of an object.
const NAME_MAX: usize = 253;

/// The workload of the `RotationRollout` with this name. It is wrong if [`object_name`] truncated the name.
pub fn workload_of(namespace: &str, object_name: &str) -> Option<WorkloadKey> {
    let name = |kind: Kind| object_name.strip_prefix(&*kind.name().to_ascii_lowercase())?.strip_prefix('-');
    let (kind, name) = Kind::ALL.into_iter().find_map(|kind| Some((kind, name(kind)?)))?;
    Some(WorkloadKey { namespace: namespace.into(), kind, name: name.into() })
}

/// The name of a workload's `RotationRollout`.
pub fn object_name(workload: &WorkloadKey) -> String {
    let name = format!("{}-{}", workload.kind.name().to_ascii_lowercase(), workload.name);
    if name.len() <= NAME_MAX {
        return name;
    }
    let digest = format!("-{:016x}", digest(&[&name]));
    let kept =
        name.char_indices().map(|(index, _)| index).take_while(|index| *index <= NAME_MAX - digest.len());
    let kept = kept.last().unwrap_or_default();
    // A name must not have a dot or hyphen next to the other hyphen.
    format!("{}{digest}", name[..kept].trim_end_matches(['.', '-']))
}

impl RotationRollout {
    /// The workload of the object, if the controller wrote it.
    pub fn workload(&self) -> Option<WorkloadKey> {
        let key = WorkloadKey {
            namespace: self.metadata.namespace.as_deref()?.into(),
            kind: Kind::from_name(&self.spec.kind)?,
            name: self.spec.name.as_str().into(),
        };
        (self.metadata.name.as_deref() == Some(&*object_name(&key))).then_some(key)
    }
}

impl RotationRolloutStatus {
    /// The status for a ledger. `previous` are the current conditions, whose times are kept if nothing
    /// changes.
    pub fn new(ledger: &Ledger, sources: &Sources, now: i64, previous: &[ConditionState]) -> Self {
        let version = |source: SourceId, version: Version, trial: Trial| {
            let SourceRef { kind, name } = sources.name(source);
            VersionStatus {
                kind: kind.resource_kind().to_owned(),
                name: name.to_string(),
                version: version.to_string(),
                restarted: trial != Trial::None,
                tried: trial == Trial::Running,
                failed: matches!(trial, Trial::Failed { .. }),
                failed_here: trial == Trial::Failed { is_scheduled: false },
            }
        };
        let accepted = ledger.accepted.iter().filter(|entry| sources.is_known(entry.source));
        let pending = ledger.pending.as_ref().map(|pending| PendingStatus {
            since: text::time(pending.since),
            manual: pending.is_manual,
            was_healthy: pending.was_healthy,
            versions: pending
                .versions
                .iter()
                .filter(|(id, _)| sources.is_known(*id))
                .map(|(id, found)| version(*id, *found, Trial::None))
                .collect(),
        });
        let message: String = ledger.phase.message(ledger, sources).chars().take(MESSAGE_MAX).collect();
        Self {
            phase: ledger.phase.word().to_owned(),
            reason: ledger.phase.reason().to_owned(),
            pending,
            rollout: ledger.rollout.map(RolloutStatus::from),
            restarts: ledger
                .restarts
                .iter()
                .rev()
                .take(LIST_MAX)
                .rev()
                .map(|time| text::time(*time))
                .collect(),
            accepted: accepted.map(|entry| version(entry.source, entry.version, entry.trial)).collect(),
            released: ledger.released.to_string(),
            conditions: conditions(ledger, &message, now, previous),
            message,
        }
    }

    /// The status of each condition and when it began. Conditions that the controller did not write are
    /// ignored.
    pub fn condition_states(&self) -> Box<[ConditionState]> {
        let known = |words: &[&'static str], word: &str| words.iter().find(|known| **known == word).copied();
        let states = self.conditions.iter().filter_map(|found| {
            let condition = known(&CONDITIONS, &found.type_)?;
            let status = known(&STATUSES, &found.status)?;
            Some(ConditionState { condition, status, since: seconds(&found.last_transition_time)? })
        });
        states.collect()
    }

    /// The ledger, with interned sources of the workload's namespace. Malformed entries are ignored, because
    /// the controller did not write them. The next call of [`crate::decide()`] sets the phase.
    pub fn ledger(&self, namespace: &str, sources: &mut Sources) -> Ledger {
        let mut read = |entry: &VersionStatus| {
            let kind = SourceKind::ALL.into_iter().find(|kind| kind.resource_kind() == entry.kind)?;
            let version = entry.version.parse().ok()?;
            Some((sources.intern(namespace, &SourceRef::new(kind, &entry.name)), version))
        };
        let mut ledger = Ledger {
            restarts: self.restarts.iter().filter_map(|time| seconds(time)).collect(),
            released: self.released.as_str().into(),
            ..Ledger::default()
        };
        for entry in &self.accepted {
            if let Some((source, version)) = read(entry) {
                ledger.accept(AcceptedVersion { source, version, trial: entry.trial() });
            }
        }
        ledger.pending = self.pending.as_ref().and_then(|pending| {
            let mut versions: Vec<_> = pending.versions.iter().filter_map(&mut read).collect();
            versions.sort_unstable();
            let (is_manual, was_healthy) = (pending.manual, pending.was_healthy);
            Some(PendingRestart { since: seconds(&pending.since)?, is_manual, was_healthy, versions })
        });
        ledger.rollout = self.rollout.as_ref().and_then(RolloutStatus::record);
        ledger.restarts.sort_unstable();
        ledger
    }
}

impl VersionStatus {
    fn trial(&self) -> Trial {
        match self {
            Self { failed: true, failed_here, .. } => Trial::Failed { is_scheduled: !failed_here },
            Self { tried: true, .. } => Trial::Running,
            Self { restarted: true, .. } => Trial::Ended,
            _ => Trial::None,
        }
    }
}

fn seconds(time: &str) -> Option<i64> {
    time.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

impl From<RolloutRecord> for RolloutStatus {
    fn from(rollout: RolloutRecord) -> Self {
        let RolloutRecord { since, start, was_healthy, replaced, progressed, well_since, outcome } = rollout;
        let (finished, failure) = match outcome {
            Outcome::Running => (None, None),
            Outcome::Succeeded { at } => (Some(text::time(at)), None),
            Outcome::Failed(failure) => (None, Some(failure.reason().to_owned())),
        };
        let progressed = (progressed != since).then(|| text::time(progressed));
        let (since, start, well_since) =
            (text::time(since), start.word().to_owned(), well_since.map(text::time));
        Self { since, finished, failure, start, was_healthy, well_since, replaced, progressed }
    }
}

impl RolloutStatus {
    fn record(&self) -> Option<RolloutRecord> {
        let outcome = match (&self.finished, &self.failure) {
            (Some(finished), _) => Outcome::Succeeded { at: seconds(finished)? },
            (None, Some(failure)) => Outcome::Failed(Failure::from_reason(failure)?),
            (None, None) => Outcome::Running,
        };
        let since = seconds(&self.since)?;
        Some(RolloutRecord {
            since,
            start: Start::from_word(&self.start),
            was_healthy: self.was_healthy,
            well_since: self.well_since.as_deref().and_then(seconds),
            replaced: self.replaced,
            progressed: self.progressed.as_deref().and_then(seconds).unwrap_or(since),
            outcome,
        })
    }
}

impl Start {
    /// The word in a `RotationRollout`.
    const fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "",
            Self::Released => "Released",
            Self::Adopted => "Adopted",
        }
    }

    fn from_word(word: &str) -> Self {
        let starts = [Self::Scheduled, Self::Released, Self::Adopted];
        // An unknown word counts as an unknown cause.
        starts.into_iter().find(|start| start.word() == word).unwrap_or(Self::Adopted)
    }
}

fn conditions(ledger: &Ledger, message: &str, now: i64, previous: &[ConditionState]) -> Vec<Condition> {
    let is_current = match ledger.phase {
        Phase::Current => "True",
        Phase::Unknown(_) => "Unknown",
        Phase::Waiting(_) | Phase::Restarting | Phase::Failed(_) => "False",
    };
    let mut conditions =
        vec![condition("UpToDate", is_current, ledger.phase.reason(), message, now, previous)];
    if let Some(rollout) = ledger.rollout {
        let (status, reason) = match rollout.outcome {
            Outcome::Running => ("Unknown", "Restarting"),
            Outcome::Succeeded { .. } => ("True", "Succeeded"),
            Outcome::Failed(failure) => ("False", failure.reason()),
        };
        conditions.push(condition("Succeeded", status, reason, "", now, previous));
    }
    conditions
}

fn condition(
    type_: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: i64,
    previous: &[ConditionState],
) -> Condition {
    let same = previous.iter().find(|state| state.condition == type_ && state.status == status);
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: text::time(same.map_or(now, |same| same.since)),
        observed_generation: None,
    }
}

#[cfg(test)]
mod tests;
