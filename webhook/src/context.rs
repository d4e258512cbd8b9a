//! What an admission needs to know besides the review.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use scaivault_inject::{KubeVersion, Namespace, Settings};
use tokio::sync::watch;

/// Settings, the Kubernetes version and what is known of the cluster. The first two can be replaced while requests are
/// answered: each request sees one or the other, and none waits.
pub struct AdmissionContext {
    settings: ArcSwap<Settings>,
    kube_version: ArcSwap<KubeVersion>,
    cluster: Arc<dyn Cluster>,
}

impl AdmissionContext {
    /// A context of these parts.
    pub fn new(settings: Settings, kube_version: KubeVersion, cluster: Arc<dyn Cluster>) -> Self {
        Self {
            settings: ArcSwap::from_pointee(settings),
            kube_version: ArcSwap::from_pointee(kube_version),
            cluster,
        }
    }

    /// Decides by other settings from now on.
    pub fn replace_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Decides for another version from now on.
    pub fn replace_kube_version(&self, kube_version: KubeVersion) {
        self.kube_version.store(Arc::new(kube_version));
    }

    /// What is decided for now.
    pub fn kube_version(&self) -> KubeVersion {
        **self.kube_version.load()
    }

    pub(crate) fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    pub(crate) fn cluster(&self) -> &dyn Cluster {
        &*self.cluster
    }
}

/// What is known of the cluster's objects. Asked for every pod that is created, so it answers from memory.
pub trait Cluster: Send + Sync {
    /// The namespace of this name.
    fn namespace(&self, name: &str) -> Lookup<Arc<Namespace>>;

    /// The annotation `scaikey.scailabs.ai/role` of a service account, if it has one.
    fn service_account_role(&self, namespace: &str, service_account: &str) -> Lookup<Option<Arc<str>>>;

    /// Tells when something has come into memory; its first news is the first after this call.
    fn changes(&self) -> watch::Receiver<()>;
}

/// What is known about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// It exists, and this is what matters of it.
    Known(T),
    /// It is not in memory (yet).
    Unknown,
}

/// No cluster at all: every namespace and service account exists and says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCluster;

impl Cluster for NoCluster {
    fn namespace(&self, name: &str) -> Lookup<Arc<Namespace>> {
        Lookup::Known(Arc::new(Namespace { name: name.to_owned(), ..Namespace::default() }))
    }

    fn service_account_role(&self, _namespace: &str, _service_account: &str) -> Lookup<Option<Arc<str>>> {
        Lookup::Known(None)
    }

    fn changes(&self) -> watch::Receiver<()> {
        watch::channel(()).1
    }
}
