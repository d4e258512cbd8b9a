//! What an admission needs to know besides the review.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use scaivault_inject::{KubeVersion, Namespace, Settings};

/// Settings, namespaces and the Kubernetes version. Read without a lock; settings and version can be replaced
/// while requests are answered, each request sees one state of them.
pub struct AdmissionContext {
    current: ArcSwap<Current>,
    namespaces: Arc<dyn Namespaces>,
}

/// The part that is replaced as a whole.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) settings: Arc<Settings>,
    pub(crate) kube_version: KubeVersion,
}

impl AdmissionContext {
    /// A context of these parts.
    pub fn new(settings: Settings, kube_version: KubeVersion, namespaces: Arc<dyn Namespaces>) -> Self {
        Self {
            current: ArcSwap::from_pointee(Current { settings: Arc::new(settings), kube_version }),
            namespaces,
        }
    }

    /// Requests from now on are decided by these settings.
    pub fn replace_settings(&self, settings: Settings) {
        let settings = Arc::new(settings);
        self.current.rcu(|current| Current { settings: Arc::clone(&settings), ..Current::clone(current) });
    }

    /// Requests from now on are decided for this version: the older of API server and oldest kubelet.
    pub fn replace_kube_version(&self, kube_version: KubeVersion) {
        self.current.rcu(|current| Current { kube_version, ..Current::clone(current) });
    }

    pub(crate) fn current(&self) -> Guard<Arc<Current>> {
        self.current.load()
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
