//! All policies, with the version in force and the problems of the versions that are not. Pure.

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

/// Maximum size of a policy in bytes of JSON. The object must fit into etcd together with its
/// status, which may contain the version in force as well.
const POLICY_BYTES: usize = 256 * 1024;

/// Maximum total size of the policies in force, in bytes of JSON.
const ALL_BYTES: usize = 64 * 1024 * 1024;

/// How long a replica waits before it rewrites a status that another replica has overwritten.
/// Doubled each time.
const FIRST_DISPUTE: Duration = Duration::from_mins(1);

/// The maximum of that wait.
const LONGEST_DISPUTE: Duration = Duration::from_mins(30);

/// The state of a policy by itself, ignoring conflicts with other policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// The current version is in force.
    InForce,
    /// The current version cannot be used, and an older one remains in force.
    Kept,
    /// The current version cannot be used, and no version is in force.
    Rejected,
}

/// What a replica last wrote to a policy's status, without the counts of pods.
#[derive(Clone, Copy, Debug)]
pub struct WrittenStatus {
    verdict: u64,
    at: Instant,
    /// How long the same verdict is not written again.
    wait: Duration,
}

impl WrittenStatus {
    /// Records that `verdict` was written; `former` is the previous record.
    pub fn new(verdict: u64, former: Option<Self>, now: Instant) -> Self {
        let former = former.filter(|former| former.verdict == verdict);
        let wait = former.map_or(FIRST_DISPUTE, |former| (former.wait * 2).min(LONGEST_DISPUTE));
        Self { verdict, at: now, wait }
    }

    /// Whether this verdict was written so recently that it must not be written again yet.
    pub fn is_recent(self, verdict: u64, now: Instant) -> bool {
        self.verdict == verdict && now.duration_since(self.at) < self.wait
    }
}

/// A policy in the store.
#[derive(Debug, Default)]
pub struct Entry {
    /// The object's uid.
    pub uid: String,
    /// The generation of the current version.
    pub generation: i64,
    /// The object's resource version.
    pub resource_version: String,
    /// The problems of the current version; `None` if it can be used.
    pub problems: Option<String>,
    /// The version that is in force.
    pub in_force: Option<Version>,
    /// The status as last read from the API server.
    pub status: InjectionPolicyStatus,
    /// What this replica last wrote to the status.
    pub written: Option<WrittenStatus>,
    /// When the policy was created, in Unix seconds.
    created: i64,
    /// The version that was in force before, until [`Store::settle`] decides whether the current
    /// version fits.
    former: Option<Version>,
    /// Set if the current version can be used and does not fit.
    waiting: Option<OversizedPolicy>,
}

/// A version that exceeds the size limit. Its text is not kept in memory.
#[derive(Debug)]
struct OversizedPolicy {
    bytes: usize,
    /// Other policies were removed, so it fits now and has to be read again.
    has_room: bool,
}

/// A usable version of a policy.
#[derive(Clone, Debug)]
pub struct Version {
    /// The policy.
    pub policy: Policy,
    /// Its `spec` as JSON, kept for the status in case the next version cannot be used.
    spec: Box<str>,
}

impl Version {
    fn bytes(&self) -> usize {
        self.spec.len()
    }

    /// The version in the form of the status.
    pub fn for_status(&self) -> InForce {
        let spec: Map<String, Value> = serde_json::from_str(&self.spec).unwrap_or_default();
        InForce { api_version: Some(API_VERSION.to_owned()), generation: self.policy.generation(), spec }
    }
}

/// The effect of [`Store::put`] on the set in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The set in force changed.
    Set,
    /// The set in force is the same.
    Nothing,
}

/// All policies.
#[derive(Debug)]
pub struct Store {
    entries: BTreeMap<Arc<str>, Entry>,
    /// Total size of the versions in memory, an upper bound.
    bytes: usize,
    /// Maximum total size of the versions in force.
    limit: usize,
    /// Counts the changes, including those of statuses.
    changes: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self::with_limit(ALL_BYTES)
    }
}

impl Store {
    /// An empty store with this size limit in bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self { entries: BTreeMap::new(), bytes: 0, limit, changes: 0 }
    }

    /// Records the current version of a policy.
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
        // A new object of the same name: the one in force was deleted.
        let (former, written) =
            if is_same_object { (entry.in_force.take(), entry.written) } else { (None, None) };
        let (problems, in_force, former) = match version(name, generation, &object.data["spec"]) {
            Ok(version) => (None, Some(version), former),
            // The version in force remains. After a restart, the status has it.
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
            // Versions that do not fit must not fill the memory until all changes have been
            // applied.
            self.settle();
        }
        Change::Set
    }

    /// A policy was deleted.
    pub fn remove(&mut self, name: &str) {
        self.changes += 1;
        self.entries.remove(name);
    }

    /// Decides which policies fit, once all changes have been applied. Older policies come first:
    /// so every replica decides the same regardless of the order of events, and a new policy cannot
    /// displace another. Returns the policies that fit now and have to be read again.
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

    /// The policies, with their problems, that have or had a version in force according to their
    /// status and of which this replica can use none. After an upgrade, these are policies that the
    /// previous release accepts and this one does not.
    pub fn lost(&self) -> impl Iterator<Item = (&Arc<str>, &str)> {
        let lost =
            self.entries.iter().filter(|(_, entry)| entry.in_force.is_none() && was_in_force(&entry.status));
        lost.map(|(name, entry)| (name, entry.problems.as_deref().unwrap_or_default()))
    }

    /// A number that increases with each change of a policy or its status.
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

    /// The policies whose names are in this range.
    pub fn range(&self, names: (Bound<&str>, Bound<&str>)) -> btree_map::Range<'_, Arc<str>, Entry> {
        self.entries.range::<str, _>(names)
    }

    /// Records a status that was just written: the resource version of the object, and the verdict
    /// that it contains.
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
                entry.written = Some(WrittenStatus::new(verdict, entry.written, Instant::now()));
            }
        }
    }

    /// The set of all versions in force.
    pub fn set(&self) -> PolicySet {
        PolicySet::new(self.in_force().map(|version| version.policy.clone()).collect())
    }

    /// The number of policies in a state.
    pub fn count(&self, state: PolicyState) -> usize {
        self.entries.values().filter(|entry| entry.state() == state).count()
    }

    fn in_force(&self) -> impl Iterator<Item = &Version> {
        self.entries.values().filter_map(|entry| entry.in_force.as_ref())
    }
}

impl Entry {
    /// Drops the versions that do not fit. Returns true if the current version fits and is not in
    /// memory.
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
                self.waiting =
                    version.map(|version| OversizedPolicy { bytes: version.bytes(), has_room: false });
                let former = former.or_else(|| from_status(name, &self.status));
                self.in_force = former.filter(|former| former.bytes() <= *room);
            }
        }
        *room -= self.in_force.as_ref().map_or(0, Version::bytes);
        false
    }

    /// Adopts the version that another replica has in force according to the status, if this store
    /// has none.
    fn adopt(&mut self, name: &str, bytes: &mut usize, limit: usize) -> bool {
        if self.in_force.is_none() && self.problems.is_some() {
            let saved = from_status(name, &self.status);
            self.in_force = saved.filter(|version| *bytes + version.bytes() <= limit);
            *bytes += self.in_force.as_ref().map_or(0, Version::bytes);
            return self.in_force.is_some();
        }
        false
    }

    /// Its state, ignoring conflicts with other policies.
    pub fn state(&self) -> PolicyState {
        match (&self.problems, &self.in_force) {
            (None, _) => PolicyState::InForce,
            (Some(_), Some(_)) => PolicyState::Kept,
            (Some(_), None) => PolicyState::Rejected,
        }
    }
}

/// The version in force according to the status.
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

/// Whether the status says that a version is or was in force.
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

/// Compiles a policy, or returns all of its problems.
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
