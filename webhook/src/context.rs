//! What an admission needs to know besides the review.

use std::sync::{Arc, LazyLock};

use arc_swap::{ArcSwap, Guard};
use scaivault_inject::{KubeVersion, Namespace, PolicySet, PolicyUse, Problems, Settings};
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

/// What is known of the cluster's objects. Asked for every pod that is created, so it answers from memory.
pub trait Cluster: Send + Sync {
    /// The namespace of this name.
    fn namespace(&self, name: &str) -> Lookup<Arc<Namespace>>;

    /// The annotation `scaikey.scailabs.ai/role` of a service account, if it has one.
    fn service_account_role(&self, namespace: &str, service_account: &str) -> Lookup<Option<Arc<str>>>;

    /// Whether it follows policies at all.
    fn has_policies(&self) -> bool {
        false
    }

    /// The policies in force. Without policies, the empty set.
    fn policies(&self) -> Lookup<Policies> {
        Lookup::Known(Policies::none())
    }

    /// Takes in what policies did to a pod that is created; not called for dry runs.
    fn policies_used(&self, usage: &PolicyUsage<'_>) {
        let _ = usage;
    }

    /// What is wrong with an `InjectionPolicy`, as JSON.
    fn review_policy(&self, object: &str) -> PolicyReview {
        let _ = object;
        PolicyReview::default()
    }

    /// Tells when something has come into memory; its first news is the first after this call.
    fn changes(&self) -> watch::Receiver<()>;
}

/// The policies in force at a time.
#[derive(Clone, Debug)]
pub struct Policies {
    /// The policies.
    pub set: Arc<PolicySet>,
    /// The time by which exceptions end, Unix seconds.
    pub now: i64,
}

impl Policies {
    /// No policy.
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

/// What policies did to one pod. Anybody who reaches the port can post a review, so names may be anything.
#[derive(Clone, Copy, Debug)]
pub struct PolicyUsage<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name, or what its name will start with.
    pub pod: &'a str,
    /// The policies that select the pod.
    pub uses: &'a [PolicyUse],
    /// What is wrong with the pod; also where it goes through in spite of it.
    pub problems: &'a Problems,
}

/// What is said about a policy that is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyReview {
    /// Why it cannot be used; none where it can.
    pub problems: Vec<String>,
    /// For the person who applies it.
    pub warnings: Vec<String>,
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
