//! Every policy, the version of it that is in force, and what is wrong with the others. Pure.

use std::{
    collections::{BTreeMap, btree_map},
    ops::Bound,
    sync::Arc,
};

use kube::core::DynamicObject;
use scaivault_inject::{Policy, PolicySet};
use scaivault_policy::{InForce, InjectionPolicyStatus};
use scaivault_webhook::PolicyState;
use serde_json::{Map, Value, json};

use super::{API_VERSION, KIND};

/// The longest policy, bytes of JSON. With the status, in which the version in force may stand besides, it fits into etcd.
const POLICY_BYTES: usize = 256 * 1024;

/// All policies in force together, bytes of JSON.
const ALL_BYTES: usize = 64 * 1024 * 1024;

/// One policy.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) uid: String,
    /// The version that the API server has.
    pub(super) generation: i64,
    pub(super) resource_version: String,
    /// What cannot be used in that version.
    pub(super) problems: Option<String>,
    pub(super) in_force: Option<Version>,
    /// As the API server has it.
    pub(super) status: InjectionPolicyStatus,
}

/// A version that can be used.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) policy: Policy,
    /// Its `spec`, JSON. Kept for the status, if the next version cannot be used.
    spec: Box<str>,
}

impl Version {
    /// As the status has it.
    pub(super) fn for_status(&self) -> InForce {
        let spec: Map<String, Value> = serde_json::from_str(&self.spec).unwrap_or_default();
        InForce { generation: self.policy.generation(), spec }
    }
}

/// What a version of a policy changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Another set is in force.
    Set,
    /// The same set is in force; the policy is a new one of its name.
    Nothing,
}

/// All policies.
#[derive(Debug, Default)]
pub(super) struct Store {
    entries: BTreeMap<Arc<str>, Entry>,
    /// Of all versions in force.
    bytes: usize,
}

impl Store {
    /// Takes in what the API server has now.
    pub(super) fn put(&mut self, name: &Arc<str>, object: &DynamicObject) -> Change {
        let metadata = &object.metadata;
        let uid = metadata.uid.clone().unwrap_or_default();
        let generation = metadata.generation.unwrap_or_default();
        let resource_version = metadata.resource_version.clone().unwrap_or_default();
        let status: InjectionPolicyStatus = object
            .data
            .get("status")
            .and_then(|status| serde_json::from_value(status.clone()).ok())
            .unwrap_or_default();
        let entry = self.entries.entry(Arc::clone(name)).or_default();
        let is_same_object = entry.uid == uid;
        if is_same_object && entry.generation == generation {
            entry.resource_version = resource_version;
            entry.status = status;
            return Change::Nothing;
        }
        if !is_same_object {
            // Another policy of the same name: what was in force was deleted.
            self.bytes -= entry.in_force.take().map_or(0, |version| version.spec.len());
        }
        let former = entry.in_force.take();
        let former_bytes = former.as_ref().map_or(0, |version| version.spec.len());
        let room = ALL_BYTES.saturating_sub(self.bytes - former_bytes);
        let (problems, version) = match version(name, generation, &object.data["spec"], room) {
            Ok(version) => (None, Some(version)),
            // What was in force stays. After a start, the status says what that was.
            Err(problems) => (Some(problems), former.or_else(|| from_status(name, &status, room))),
        };
        self.bytes = self.bytes - former_bytes + version.as_ref().map_or(0, |version| version.spec.len());
        *entry = Entry { uid, generation, resource_version, problems, in_force: version, status };
        Change::Set
    }

    /// A policy is gone.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(entry) = self.entries.remove(name) {
            self.bytes -= entry.in_force.map_or(0, |version| version.spec.len());
        }
    }

    /// The names of all policies.
    pub(super) fn names(&self) -> btree_map::Keys<'_, Arc<str>, Entry> {
        self.entries.keys()
    }

    /// The unique identifier of a policy.
    pub(super) fn uid(&self, name: &str) -> Option<&str> {
        self.entries.get(name).map(|entry| &*entry.uid)
    }

    /// The policies of these names.
    pub(super) fn range(&self, names: (Bound<&str>, Bound<&str>)) -> btree_map::Range<'_, Arc<str>, Entry> {
        self.entries.range::<str, _>(names)
    }

    /// The status that was just written, with the version of the object that has it.
    pub(super) fn written(&mut self, name: &str, uid: &str, version: String, status: InjectionPolicyStatus) {
        if let Some(entry) = self.entries.get_mut(name).filter(|entry| entry.uid == uid) {
            entry.resource_version = version;
            entry.status = status;
        }
    }

    /// All versions in force.
    pub(super) fn set(&self) -> PolicySet {
        PolicySet::new(self.in_force().map(|version| version.policy.clone()).collect())
    }

    /// How many policies are in a state that does not depend on others.
    pub(super) fn count(&self, state: PolicyState) -> usize {
        self.entries.values().filter(|entry| entry.state() == state).count()
    }

    fn in_force(&self) -> impl Iterator<Item = &Version> {
        self.entries.values().filter_map(|entry| entry.in_force.as_ref())
    }
}

impl Entry {
    /// Its state, but for conflicts with others.
    pub(super) fn state(&self) -> PolicyState {
        match (&self.problems, &self.in_force) {
            (None, _) => PolicyState::InForce,
            (Some(_), Some(_)) => PolicyState::Kept,
            (Some(_), None) => PolicyState::Rejected,
        }
    }
}

/// The version that was in force when the status was written.
fn from_status(name: &str, status: &InjectionPolicyStatus, room: usize) -> Option<Version> {
    let InForce { generation, spec } = status.in_force.as_ref()?;
    version(name, *generation, &Value::Object(spec.clone()), room).ok()
}

fn version(name: &str, generation: i64, spec: &Value, room: usize) -> Result<Version, String> {
    let object = json!({
        "apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name, "generation": generation}, "spec": spec,
    });
    let policy = compile(&object)?;
    let spec = spec.to_string();
    if spec.len() > room {
        return Err(format!(
            "all policies in force together have more than {} MiB; split the others up or delete some",
            ALL_BYTES / 1024 / 1024
        ));
    }
    Ok(Version { policy, spec: spec.into() })
}

/// A policy that can be put into force, or everything that is wrong with it.
pub(super) fn compile(object: &Value) -> Result<Policy, String> {
    let bytes = object["spec"].to_string().len();
    if bytes > POLICY_BYTES {
        return Err(format!(
            "the policy has {bytes} bytes of JSON, and {POLICY_BYTES} are allowed; split it up into several"
        ));
    }
    scaivault_policy::compile(object).map_err(|problems| problems.to_string())
}

#[cfg(test)]
mod tests;
