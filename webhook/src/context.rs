//! The input of an admission decision in addition to the review.

use std::sync::{Arc, LazyLock};

use arc_swap::{ArcSwap, Guard};
use scaivault_inject::{KubeVersion, Namespace, PolicySet, PolicyUse, Problems, Settings};
use tokio::sync::watch;

/// Settings, the Kubernetes version and the cache of cluster objects. The first two can be replaced
/// while requests are being answered: each request sees either the old or the new value, and none
/// waits.
pub struct AdmissionContext {
    settings: ArcSwap<Settings>,
    kube_version: ArcSwap<KubeVersion>,
    cluster: Arc<dyn Cluster>,
}

impl AdmissionContext {
    /// Creates a context.
    pub fn new(settings: Settings, kube_version: KubeVersion, cluster: Arc<dyn Cluster>) -> Self {
        Self {
            settings: ArcSwap::from_pointee(settings),
            kube_version: ArcSwap::from_pointee(kube_version),
            cluster,
        }
    }

    /// Replaces the settings for later requests.
    pub fn replace_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Replaces the Kubernetes version for later requests.
    pub fn replace_kube_version(&self, kube_version: KubeVersion) {
        self.kube_version.store(Arc::new(kube_version));
    }

    /// The Kubernetes version in force.
    pub fn kube_version(&self) -> KubeVersion {
        **self.kube_version.load()
    }

    /// Whether the settings in force exclude a namespace.
    pub fn excludes(&self, namespace: &str) -> bool {
        self.settings.load().excludes(namespace)
    }

    /// The settings in force.
    pub fn current_settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    pub(crate) fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    pub(crate) fn cluster(&self) -> &dyn Cluster {
        &*self.cluster
    }
}

/// The cache of cluster objects. It is queried for every pod that is created, so it must answer
/// from memory.
pub trait Cluster: Send + Sync {
    /// The namespace of this name.
    fn namespace(&self, name: &str) -> Lookup<Arc<Namespace>>;

    /// The annotation `scaikey.scailabs.ai/role` of a service account, if it has one.
    fn service_account_role(&self, namespace: &str, service_account: &str) -> Lookup<Option<Arc<str>>>;

    /// Whether policies are watched at all.
    fn has_policies(&self) -> bool {
        false
    }

    /// The policies in force; the empty set if policies are not watched.
    fn policies(&self) -> Lookup<Policies> {
        Lookup::Known(Policies::none())
    }

    /// Records the effects of policies on a pod that is created; not called for dry runs.
    fn policies_used(&self, usage: &PolicyUsage<'_>) {
        let _ = usage;
    }

    /// Validates an `InjectionPolicy`, given as JSON.
    fn review_policy(&self, object: &str) -> PolicyReview {
        let _ = object;
        PolicyReview::default()
    }

    /// Notifies of changes in the cache. The receiver sees the changes that follow this call.
    fn changes(&self) -> watch::Receiver<()>;
}

/// The policies in force at a given time.
#[derive(Clone, Debug)]
pub struct Policies {
    /// The policies.
    pub set: Arc<PolicySet>,
    /// The time at which expiry of exceptions is checked, Unix seconds.
    pub now: i64,
}

impl Policies {
    /// No policies.
    pub fn none() -> Self {
        static NONE: LazyLock<Arc<PolicySet>> = LazyLock::new(|| Arc::new(PolicySet::new(Vec::new())));
        Self { set: Arc::clone(&NONE), now: 0 }
    }
}

impl PartialEq for Policies {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.set, &other.set) && self.now == other.now
    }
}

/// The effects of policies on one pod. Every client that reaches the port can send a review, so the
/// names are arbitrary.
#[derive(Clone, Copy, Debug)]
pub struct PolicyUsage<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name, or its `generateName`.
    pub pod: &'a str,
    /// The policies that select the pod.
    pub uses: &'a [PolicyUse],
    /// The problems of the pod, also if it is admitted in spite of them.
    pub problems: &'a Problems,
}

/// The result of validating a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyReview {
    /// Why it cannot be used; empty if it can.
    pub problems: Vec<String>,
    /// Shown to the client that applies it.
    pub warnings: Vec<String>,
}

/// The result of a lookup in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// The object exists, and this is the part that matters.
    Known(T),
    /// It is not in the cache (yet).
    Unknown,
}

/// No cluster: every lookup succeeds, with no annotations and no role.
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
