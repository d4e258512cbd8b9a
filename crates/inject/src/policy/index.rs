//! An index of the policies that may match a namespace or a pod.

use std::{collections::BTreeMap, sync::Arc};

use super::{compiled::Policy, labels, labels::PodLabels};

/// Policies by one property that a namespace or pod must have for them to match: the rarest one.
/// Values are indices into the set. Policies without such a property are candidates for every pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    namespace_labels: ByValue,
    pod_labels: ByValue,
    service_accounts: BTreeMap<Arc<str>, Vec<u32>>,
    namespace_keys: BTreeMap<Arc<str>, Vec<u32>>,
    pod_keys: BTreeMap<Arc<str>, Vec<u32>>,
    rest: Vec<u32>,
}

/// By key and value of a label.
type ByValue = BTreeMap<Arc<str>, BTreeMap<Arc<str>, Vec<u32>>>;

/// A property under which a policy can be indexed.
enum Place<'p> {
    NamespaceLabel(&'p str, &'p [String]),
    PodLabel(&'p str, &'p [String]),
    ServiceAccounts(&'p [String]),
}

/// The number of policies that require a value, by kind of property, key and value.
type Counts<'p> = BTreeMap<(u8, &'p str, &'p str), usize>;

impl<'p> Place<'p> {
    /// The keys of this property in [`Counts`].
    fn keys(&self) -> impl Iterator<Item = (u8, &'p str, &'p str)> {
        let (kind, key, values) = match *self {
            Self::NamespaceLabel(key, values) => (0, key, values),
            Self::PodLabel(key, values) => (1, key, values),
            Self::ServiceAccounts(names) => (2, "", names),
        };
        values.iter().map(move |value| (kind, key, value.as_str()))
    }

    /// How many policies share the most common of its values, and how many values it has. Lower is
    /// better.
    fn cost(&self, counts: &Counts<'_>) -> (usize, usize) {
        let most = self.keys().filter_map(|key| counts.get(&key)).max();
        (most.copied().unwrap_or(0), self.keys().count())
    }
}

impl Index {
    pub(super) const fn new() -> Self {
        Self {
            namespace_labels: BTreeMap::new(),
            pod_labels: BTreeMap::new(),
            service_accounts: BTreeMap::new(),
            namespace_keys: BTreeMap::new(),
            pod_keys: BTreeMap::new(),
            rest: Vec::new(),
        }
    }

    /// Indexes policies by properties of a namespace.
    pub(super) fn by_namespace(policies: &[Policy]) -> Self {
        Self::build(&numbered(policies).collect::<Vec<_>>(), false)
    }

    /// Indexes the policies with an environment by properties of a namespace.
    pub(super) fn by_environment(policies: &[Policy]) -> Self {
        let with_environment = numbered(policies).filter(|(_, policy)| policy.environment().is_some());
        Self::build(&with_environment.collect::<Vec<_>>(), false)
    }

    /// Indexes policies by properties of a pod, its service account or its namespace.
    pub(super) fn by_pod(policies: &[Policy]) -> Self {
        Self::build(&numbered(policies).collect::<Vec<_>>(), true)
    }

    fn build(policies: &[(u32, &Policy)], with_pods: bool) -> Self {
        let mut counts = Counts::new();
        for place in policies.iter().flat_map(|(_, policy)| places(policy, with_pods)) {
            for key in place.keys() {
                *counts.entry(key).or_default() += 1;
            }
        }
        let mut index = Self::new();
        for (at, policy) in policies.iter().copied() {
            match places(policy, with_pods).min_by_key(|place| place.cost(&counts)) {
                Some(Place::NamespaceLabel(key, values)) => {
                    insert_values(&mut index.namespace_labels, key, values, at);
                }
                Some(Place::PodLabel(key, values)) => insert_values(&mut index.pod_labels, key, values, at),
                Some(Place::ServiceAccounts(names)) => {
                    for name in names {
                        insert(&mut index.service_accounts, name, at);
                    }
                }
                None => index.insert_by_key(policy, with_pods, at),
            }
        }
        index
    }

    fn insert_by_key(&mut self, policy: &Policy, with_pods: bool, at: u32) {
        let parts = policy.parts();
        if let Some(key) = labels::required_key(&parts.namespaces) {
            insert(&mut self.namespace_keys, key, at);
        } else if let Some(key) = with_pods.then(|| labels::required_key(&parts.pods)).flatten() {
            insert(&mut self.pod_keys, key, at);
        } else {
            self.rest.push(at);
        }
    }

    /// The indices of the policies that may match, in the order of the set.
    pub(super) fn candidates(
        &self,
        namespace: &BTreeMap<String, String>,
        pod: &PodLabels<'_>,
        service_account: &str,
    ) -> Vec<u32> {
        let mut found = self.rest.clone();
        let mut add = |list: Option<&Vec<u32>>| found.extend(list.into_iter().flatten());
        for (key, value) in namespace {
            add(self.namespace_labels.get(key.as_str()).and_then(|values| values.get(value.as_str())));
            add(self.namespace_keys.get(key.as_str()));
        }
        if !self.pod_labels.is_empty() || !self.pod_keys.is_empty() {
            for (key, value) in pod.iter() {
                add(self.pod_labels.get(key).and_then(|values| values.get(value)));
                add(self.pod_keys.get(key));
            }
        }
        add(self.service_accounts.get(service_account));
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Policies with their indices in the set.
fn numbered(policies: &[Policy]) -> impl Iterator<Item = (u32, &Policy)> {
    (0..).zip(policies)
}

fn places(policy: &Policy, with_pods: bool) -> impl Iterator<Item = Place<'_>> {
    let parts = policy.parts();
    let namespaces =
        labels::equalities(&parts.namespaces).map(|(key, values)| Place::NamespaceLabel(key, values));
    let pods = labels::equalities(&parts.pods).map(|(key, values)| Place::PodLabel(key, values));
    let names = parts.service_accounts.as_slice();
    let is_exact = !names.is_empty() && !names.iter().any(|name| name.contains(['*', '?']));
    let service_accounts = is_exact.then_some(Place::ServiceAccounts(names));
    namespaces.chain(pods.chain(service_accounts).filter(move |_| with_pods))
}

fn insert_values(index: &mut ByValue, key: &str, values: &[String], at: u32) {
    let by_value = match index.get_mut(key) {
        Some(by_value) => by_value,
        None => index.entry(key.into()).or_default(),
    };
    for value in values {
        insert(by_value, value, at);
    }
}

fn insert(index: &mut BTreeMap<Arc<str>, Vec<u32>>, key: &str, at: u32) {
    match index.get_mut(key) {
        Some(list) => list.push(at),
        None => {
            index.insert(key.into(), vec![at]);
        }
    }
}
