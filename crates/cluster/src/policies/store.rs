//! Every policy, the version of it that is in force, and what is wrong with the others. Pure.

use std::{
    collections::{BTreeMap, btree_map},
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::core::DynamicObject;
use scaivault_inject::{Policy, PolicySet};
use scaivault_policy::{Condition, InForce, InjectionPolicyStatus, condition};
use serde_json::{Map, Value, json};

use super::{API_VERSION, KIND};

/// The longest policy, bytes of JSON. With the status, in which the version in force may stand besides, it fits into etcd.
const POLICY_BYTES: usize = 256 * 1024;

/// All policies in force together, bytes of JSON.
const ALL_BYTES: usize = 64 * 1024 * 1024;

/// How long a replica waits before it writes once more what another one has overwritten. Doubled each time.
const FIRST_DISPUTE: Duration = Duration::from_mins(1);

/// The longest such wait.
const LONGEST_DISPUTE: Duration = Duration::from_mins(30);

/// The state of a policy by itself, without conflicts with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// The version that the API server has is in force.
    InForce,
    /// It cannot be used, and an older one is in force.
    Kept,
    /// It cannot be used, and no version is in force.
    Rejected,
}

/// What a replica has last written about a policy, but for pods.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    verdict: u64,
    at: Instant,
    /// How long the same is not written again.
    wait: Duration,
}

impl Written {
    /// After this verdict was written, and before it a former one.
    pub fn new(verdict: u64, former: Option<Self>, now: Instant) -> Self {
        let former = former.filter(|former| former.verdict == verdict);
        let wait = former.map_or(FIRST_DISPUTE, |former| (former.wait * 2).min(LONGEST_DISPUTE));
        Self { verdict, at: now, wait }
    }

    /// Whether this verdict was written so recently that it is not written again yet.
    pub fn is_recent(self, verdict: u64, now: Instant) -> bool {
        self.verdict == verdict && now.duration_since(self.at) < self.wait
    }
}

/// One policy.
#[derive(Debug, Default)]
pub struct Entry {
    /// The object's uid.
    pub uid: String,
    /// The version that the API server has.
    pub generation: i64,
    /// The object's resource version.
    pub resource_version: String,
    /// What cannot be used in that version.
    pub problems: Option<String>,
    /// The version that is in force.
    pub in_force: Option<Version>,
    /// As the API server has it.
    pub status: InjectionPolicyStatus,
    /// What this replica wrote there last.
    pub written: Option<Written>,
    /// When the policy was made, Unix seconds.
    created: i64,
    /// What was in force before, until [`Store::settle`] knows whether the present version has room.
    former: Option<Version>,
    /// The present version can be used and has no room.
    waiting: Option<Waiting>,
}

/// A version that has no room among those in force. It is not in memory.
#[derive(Debug)]
struct Waiting {
    bytes: usize,
    /// Others were removed: it has to be read again.
    has_room: bool,
}

/// A version that can be used.
#[derive(Clone, Debug)]
pub struct Version {
    /// The policy.
    pub policy: Policy,
    /// Its `spec`, JSON. Kept for the status, if the next version cannot be used.
    spec: Box<str>,
}

impl Version {
    fn bytes(&self) -> usize {
        self.spec.len()
    }

    /// As the status has it.
    pub fn for_status(&self) -> InForce {
        let spec: Map<String, Value> = serde_json::from_str(&self.spec).unwrap_or_default();
        InForce { api_version: Some(API_VERSION.to_owned()), generation: self.policy.generation(), spec }
    }
}

/// What a version of a policy changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Another set is in force.
    Set,
    /// The same set is in force; the policy is a new one of its name.
    Nothing,
}

/// All policies.
#[derive(Debug)]
pub struct Store {
    entries: BTreeMap<Arc<str>, Entry>,
    /// Of all versions in memory, at most.
    bytes: usize,
    /// How many bytes all versions in force may have.
    limit: usize,
    /// How often something has changed, statuses included.
    changes: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self::with_limit(ALL_BYTES)
    }
}

impl Store {
    /// Empty, for versions of so many bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self { entries: BTreeMap::new(), bytes: 0, limit, changes: 0 }
    }

    /// Takes in what the API server has now.
    pub fn put(&mut self, name: &Arc<str>, object: &DynamicObject) -> Change {
        self.changes += 1;
        let metadata = &object.metadata;
        let uid = metadata.uid.clone().unwrap_or_default();
        let generation = metadata.generation.unwrap_or_default();
        let resource_version = metadata.resource_version.clone().unwrap_or_default();
        let status: InjectionPolicyStatus = object
            .data
            .get("status")
            .and_then(|status| serde_json::from_value(status.clone()).ok())
            .unwrap_or_default();
        let created = metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
        let entry = self.entries.entry(Arc::clone(name)).or_default();
        let is_same_object = entry.uid == uid;
        let is_read_again = entry.waiting.as_ref().is_some_and(|waiting| waiting.has_room);
        if is_same_object && entry.generation == generation && !is_read_again {
            entry.resource_version = resource_version;
            let is_saved = entry.status.in_force != status.in_force;
            entry.status = status;
            return if is_saved && entry.adopt(name, &mut self.bytes, self.limit) {
                Change::Set
            } else {
                Change::Nothing
            };
        }
        // Another policy of the same name: what was in force was deleted.
        let (former, written) =
            if is_same_object { (entry.in_force.take(), entry.written) } else { (None, None) };
        let (problems, in_force, former) = match version(name, generation, &object.data["spec"]) {
            Ok(version) => (None, Some(version), former),
            // What was in force stays. After a start, the status says what that was.
            Err(problems) => (Some(problems), former.or_else(|| from_status(name, &status)), None),
        };
        self.bytes += in_force.as_ref().map_or(0, Version::bytes);
        let waiting = None;
        *entry = Entry {
            uid,
            generation,
            resource_version,
            problems,
            in_force,
            status,
            written,
            created,
            former,
            waiting,
        };
        if self.bytes > 2 * self.limit {
            // What has no room must not fill the memory until all changes are taken in.
            self.settle();
        }
        Change::Set
    }

    /// A policy is gone.
    pub fn remove(&mut self, name: &str) {
        self.changes += 1;
        self.entries.remove(name);
    }

    /// Decides which policies have room, when all changes are taken in. Older policies come first: every replica decides the same,
    /// whatever it has seen in which order, and a new policy takes no other one out of force. Returns those that have room now and
    /// whose text has to be read again.
    pub fn settle(&mut self) -> Vec<Arc<str>> {
        let mut order: Vec<_> = self.entries.iter_mut().collect();
        order.sort_by_key(|(_, entry)| entry.created);
        let mut room = self.limit;
        let mut to_read = Vec::new();
        for (name, entry) in order {
            if entry.settle(name, &mut room) {
                to_read.push(Arc::clone(name));
            }
        }
        self.bytes = self.limit - room;
        to_read
    }

    /// Policies of which a version was in force, as their status says, and of which this replica can use none, with what is wrong.
    /// After an upgrade, these are policies that the former release takes and this one does not.
    pub fn lost(&self) -> impl Iterator<Item = (&Arc<str>, &str)> {
        let lost =
            self.entries.iter().filter(|(_, entry)| entry.in_force.is_none() && was_in_force(&entry.status));
        lost.map(|(name, entry)| (name, entry.problems.as_deref().unwrap_or_default()))
    }

    /// A number that is another one after each change of a policy or its status.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The names of all policies.
    pub fn names(&self) -> btree_map::Keys<'_, Arc<str>, Entry> {
        self.entries.keys()
    }

    /// The unique identifier of a policy.
    pub fn uid(&self, name: &str) -> Option<&str> {
        self.entries.get(name).map(|entry| &*entry.uid)
    }

    /// The policies of these names.
    pub fn range(&self, names: (Bound<&str>, Bound<&str>)) -> btree_map::Range<'_, Arc<str>, Entry> {
        self.entries.range::<str, _>(names)
    }

    /// The status that was just written, with the version of the object that has it, and with what this replica says in it.
    pub fn written(
        &mut self,
        name: &str,
        uid: &str,
        version: String,
        status: InjectionPolicyStatus,
        verdict: Option<u64>,
    ) {
        self.changes += 1;
        if let Some(entry) = self.entries.get_mut(name).filter(|entry| entry.uid == uid) {
            entry.resource_version = version;
            entry.status = status;
            if let Some(verdict) = verdict {
                entry.written = Some(Written::new(verdict, entry.written, Instant::now()));
            }
        }
    }

    /// All versions in force.
    pub fn set(&self) -> PolicySet {
        PolicySet::new(self.in_force().map(|version| version.policy.clone()).collect())
    }

    /// How many policies are in a state that does not depend on others.
    pub fn count(&self, state: PolicyState) -> usize {
        self.entries.values().filter(|entry| entry.state() == state).count()
    }

    fn in_force(&self) -> impl Iterator<Item = &Version> {
        self.entries.values().filter_map(|entry| entry.in_force.as_ref())
    }
}

impl Entry {
    /// Takes its versions out that have no room. True if the present one has room and is not in memory.
    fn settle(&mut self, name: &str, room: &mut usize) -> bool {
        let former = self.former.take();
        if let Some(waiting) = &mut self.waiting {
            waiting.has_room = waiting.bytes <= *room;
            if waiting.has_room {
                *room -= waiting.bytes;
                return true;
            }
        }
        if self.in_force.as_ref().is_some_and(|version| version.bytes() > *room) {
            let version = self.in_force.take();
            if self.problems.is_none() {
                self.problems = Some(no_room());
                self.waiting = version.map(|version| Waiting { bytes: version.bytes(), has_room: false });
                let former = former.or_else(|| from_status(name, &self.status));
                self.in_force = former.filter(|former| former.bytes() <= *room);
            }
        }
        *room -= self.in_force.as_ref().map_or(0, Version::bytes);
        false
    }

    /// Takes the version from the status that another replica has in force, if this one has none.
    fn adopt(&mut self, name: &str, bytes: &mut usize, limit: usize) -> bool {
        if self.in_force.is_none() && self.problems.is_some() {
            let saved = from_status(name, &self.status);
            self.in_force = saved.filter(|version| *bytes + version.bytes() <= limit);
            *bytes += self.in_force.as_ref().map_or(0, Version::bytes);
            return self.in_force.is_some();
        }
        false
    }

    /// Its state, but for conflicts with others.
    pub fn state(&self) -> PolicyState {
        match (&self.problems, &self.in_force) {
            (None, _) => PolicyState::InForce,
            (Some(_), Some(_)) => PolicyState::Kept,
            (Some(_), None) => PolicyState::Rejected,
        }
    }
}

/// The version that was in force when the status was written.
fn from_status(name: &str, status: &InjectionPolicyStatus) -> Option<Version> {
    let InForce { api_version, generation, spec } = status.in_force.as_ref()?;
    let saved = match api_version.as_deref() {
        Some(API_VERSION) => version(name, *generation, &Value::Object(spec.clone())),
        other => Err(format!("inForce.apiVersion is {}, expected {API_VERSION}", other.unwrap_or("not set"))),
    };
    match saved {
        Ok(version) => Some(version),
        Err(problems) => {
            tracing::warn!(
                policy = name,
                generation,
                problems,
                "the version in status.inForce cannot be used by this release"
            );
            None
        }
    }
}

/// Whether the status says that some version is or was in force.
fn was_in_force(status: &InjectionPolicyStatus) -> bool {
    let is_accepted = |found: &Condition| found.type_ == condition::ACCEPTED && found.status == "True";
    status.in_force.is_some() || status.conditions.iter().any(is_accepted)
}

fn no_room() -> String {
    format!(
        "all policies in force together have more than {} MiB; split the others up or delete some",
        ALL_BYTES / 1024 / 1024
    )
}

fn version(name: &str, generation: i64, spec: &Value) -> Result<Version, String> {
    let object = json!({
        "apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name, "generation": generation}, "spec": spec,
    });
    let policy = compile(&object)?;
    Ok(Version { policy, spec: spec.to_string().into() })
}

/// A policy that can be put into force, or everything that is wrong with it.
pub fn compile(object: &Value) -> Result<Policy, String> {
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
