//! What an admission needs to know besides the review.

use std::{collections::BTreeMap, sync::Arc};

use scaivault_inject::{KubeVersion, Namespace, Settings};

/// Settings, namespaces and the Kubernetes version.
pub struct AdmissionContext {
    pub(crate) settings: Settings,
    pub(crate) kube_version: KubeVersion,
    namespaces: Arc<dyn Namespaces>,
}

impl AdmissionContext {
    /// A context of these parts.
    pub fn new(settings: Settings, kube_version: KubeVersion, namespaces: Arc<dyn Namespaces>) -> Self {
        Self { settings, kube_version, namespaces }
    }

    pub(crate) fn namespace(&self, name: &str) -> Lookup {
        self.namespaces.lookup(name)
    }
}

/// Where namespaces are known from. Called for every pod that is created, so it answers from memory.
pub trait Namespaces: Send + Sync {
    /// The namespace of this name.
    fn lookup(&self, name: &str) -> Lookup;
}

/// What is known about a namespace.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// It exists, with these annotations.
    Known(Arc<Namespace>),
    /// It is not in memory (yet).
    Unknown,
}

/// Every namespace exists and has no annotations: for use without a cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyNamespace;

impl Namespaces for AnyNamespace {
    fn lookup(&self, name: &str) -> Lookup {
        Lookup::Known(Arc::new(Namespace { name: name.to_owned(), annotations: BTreeMap::new() }))
    }
}
