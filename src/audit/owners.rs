//! Finds the workload of a pod by owner references.

use std::collections::BTreeMap;

use serde_json::Value;

/// The kinds whose objects create other workloads: owned objects are listed with them and not
/// separately. API group, kind.
const MAKE_WORKLOADS: [(&str, &str); 4] = [
    ("apps", "Deployment"),
    ("batch", "CronJob"),
    ("argoproj.io", "Rollout"),
    ("apps.openshift.io", "DeploymentConfig"),
];

/// The maximum number of owner references to follow. A pod usually has two: ReplicaSet and
/// Deployment.
const CHAIN: usize = 8;

/// The key of an object, consisting of the fields of an owner reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ObjectKey {
    pub(super) namespace: String,
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) name: String,
}

/// Maps each object to its owner.
#[derive(Debug, Default)]
pub(super) struct Owners(BTreeMap<ObjectKey, ObjectKey>);

impl ObjectKey {
    pub(super) fn new(namespace: &str, api_version: &str, kind: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            group: api_version.split_once('/').map_or("", |(group, _)| group).to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The controller in an object's metadata; `None` for a node, which owns its static pods.
    pub(super) fn controller_of(object: &Value) -> Option<(Self, String)> {
        let metadata = object.get("metadata")?;
        let references = metadata.get("ownerReferences")?.as_array()?;
        let owner = references.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
        let text = |key| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        let namespace = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
        let key = Self::new(namespace, text("apiVersion"), text("kind"), text("name"));
        (key.kind != "Node").then(|| (key, text("apiVersion").to_owned()))
    }

    fn makes_workloads(&self) -> bool {
        MAKE_WORKLOADS.contains(&(self.group.as_str(), self.kind.as_str()))
    }
}

impl Owners {
    /// Records an object's owner and returns whether the object is a workload that is listed with
    /// its owner.
    pub(super) fn note(&mut self, object: &Value, key: ObjectKey) -> bool {
        let Some((owner, _)) = ObjectKey::controller_of(object).filter(|(owner, _)| owner.makes_workloads())
        else {
            return false;
        };
        self.0.insert(key, owner);
        true
    }

    /// The workload at the end of the chain of owners.
    pub(super) fn top<'a>(&'a self, mut key: &'a ObjectKey) -> &'a ObjectKey {
        for _ in 0..CHAIN {
            match self.0.get(key) {
                Some(owner) => key = owner,
                None => break,
            }
        }
        key
    }
}
