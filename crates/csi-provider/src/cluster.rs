//! The cache of cluster objects: the pods of this node, the namespaces, and the policies in force.
//!
//! The driver does not report that a volume is unmounted, so leases, logins and subscriptions end when the
//! watch reports that the pod was deleted. The labels of pods and namespaces decide which policies select a
//! pod.

mod kinds;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    error::Error,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use kube::{Client, Config};
use scaivault_cluster::{
    ApiClock, follow,
    policies::{InjectionPolicies, PolicyCache, keep},
};
use scaivault_contract::ObjectName;
use scaivault_inject::{Namespace, PolicySet};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    attributes::Pod,
    failure::{Failure, FailureKind},
    lock,
    metrics::PolicyMetrics,
    pods::PodResources,
};
use kinds::{Namespaces, NodePods, PolicyHost, PolicyObserver, WatchObserver};

/// The user agent in the API server's audit log.
const USER_AGENT: &str = concat!("scaivault-csi-provider/", env!("CARGO_PKG_VERSION"));

/// The cache of cluster objects.
pub(crate) struct Cluster {
    pub(crate) node: ObjectName,
    selector: String,
    resources: PodResources,
    pods: Mutex<Pods>,
    /// Labels as JSON, by name; `None` if there are too many.
    namespaces: Mutex<HashMap<Arc<str>, Option<Box<str>>>>,
    are_namespaces_listed: AtomicBool,
    /// `None` if policies are off.
    policies: Option<Arc<PolicyCache>>,
    clock: ApiClock,
    changes: watch::Sender<()>,
    pub(crate) metrics: PolicyMetrics,
}

#[derive(Default)]
struct Pods {
    /// By `namespace/name`.
    known: HashMap<Arc<str>, Arc<KnownPod>>,
    /// The start of the list request that is being processed.
    list_began: Option<Instant>,
}

/// The cached part of a pod.
#[derive(Debug)]
pub(crate) struct KnownPod {
    uid: String,
    /// Labels and annotations, as JSON of a pod's `metadata`; `None` if there are too many.
    metadata: Option<Box<str>>,
    /// The policies, with their generation, whose warnings were logged: each is logged once, although the
    /// driver calls again every minute.
    logged: Mutex<BTreeSet<(Arc<str>, i64)>>,
}

/// The data that policies and variables need.
pub(crate) struct PodFacts {
    pub(crate) pod: Arc<KnownPod>,
    pub(crate) namespace: Namespace,
    pub(crate) policies: Arc<PolicySet>,
    /// Unix seconds.
    pub(crate) now: i64,
}

/// Why the data of a pod is not available.
enum LookupFailure {
    /// It may become available.
    NotYet(&'static str),
    Never(Failure),
}

impl Cluster {
    /// An empty cache. `resources` are released when their pods are deleted.
    pub(crate) fn new(node: ObjectName, with_policies: bool, resources: PodResources) -> Arc<Self> {
        Arc::new(Self {
            selector: format!("spec.nodeName={node}"),
            node,
            resources,
            pods: Mutex::default(),
            namespaces: Mutex::default(),
            are_namespaces_listed: AtomicBool::new(false),
            policies: with_policies.then(PolicyCache::new),
            clock: ApiClock::default(),
            changes: watch::channel(()).0,
            metrics: PolicyMetrics::default(),
        })
    }

    /// Starts the watches, in the returned tasks, which never end. While the API server cannot be reached,
    /// the cache is kept.
    pub(crate) fn follow(self: &Arc<Self>, client: &Client) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let observer = WatchObserver::for_pods(self);
        tasks.spawn(follow::<NodePods>(client.clone(), Arc::clone(self), observer));
        if let Some(policies) = &self.policies {
            let observer = WatchObserver::for_namespaces(self);
            tasks.spawn(follow::<Namespaces>(client.clone(), Arc::clone(self), observer));
            let observer = PolicyObserver::new(self, policies);
            tasks.spawn(follow::<InjectionPolicies>(client.clone(), Arc::clone(policies), observer));
            tasks.spawn(keep(client.clone(), Arc::clone(policies), PolicyHost(Arc::clone(self))));
        }
        tasks
    }

    /// Whether the policies are known, or not needed.
    pub(crate) fn is_ready(&self) -> bool {
        let are_listed = || self.are_namespaces_listed.load(Ordering::Relaxed);
        self.policies.as_ref().is_none_or(|policies| policies.in_force().is_some() && are_listed())
    }

    /// Whether policies limit mounts.
    pub(crate) fn has_policies(&self) -> bool {
        self.policies.is_some()
    }

    /// The data of a pod. Waits for objects that are not in the cache yet, because nothing may be decided
    /// without the pod's labels.
    pub(crate) async fn facts(&self, pod: &Pod, deadline: Instant) -> Result<PodFacts, Failure> {
        let mut changes = self.changes.subscribe();
        loop {
            let missing = match self.known(pod) {
                Ok(facts) => return Ok(facts),
                Err(LookupFailure::Never(failure)) => return Err(failure),
                Err(LookupFailure::NotYet(missing)) => missing,
            };
            if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return Err(not_known(missing, pod));
            }
        }
    }

    fn known(&self, pod: &Pod) -> Result<PodFacts, LookupFailure> {
        let policies = match &self.policies {
            Some(policies) => policies.in_force().ok_or(LookupFailure::NotYet("the InjectionPolicies"))?,
            None => Arc::default(),
        };
        let key = scaivault_cluster::key(Some(pod.namespace.as_str()), pod.name.as_str());
        let known = self.pods().known.get(&key).filter(|known| known.uid == pod.uid.as_str()).cloned();
        let known = known.ok_or(LookupFailure::NotYet("the pod"))?;
        if known.metadata.is_none() {
            return Err(LookupFailure::Never(too_many_labels("the pod")));
        }
        let namespace = self.namespace(pod.namespace.as_str())?;
        Ok(PodFacts { pod: known, namespace, policies, now: self.clock.now(SystemTime::now()) })
    }

    fn namespace(&self, name: &str) -> Result<Namespace, LookupFailure> {
        let mut namespace = Namespace { name: name.to_owned(), ..Namespace::default() };
        if self.policies.is_none() {
            return Ok(namespace);
        }
        let namespaces = self.namespaces();
        let labels = namespaces.get(name).ok_or(LookupFailure::NotYet("the pod's namespace"))?;
        let labels =
            labels.as_ref().ok_or_else(|| LookupFailure::Never(too_many_labels("the pod's namespace")))?;
        namespace.labels = serde_json::from_str(labels).unwrap_or_default();
        Ok(namespace)
    }

    fn pods(&self) -> MutexGuard<'_, Pods> {
        lock(&self.pods)
    }

    fn namespaces(&self) -> MutexGuard<'_, HashMap<Arc<str>, Option<Box<str>>>> {
        lock(&self.namespaces)
    }

    fn put_pod(&self, key: &Arc<str>, pod: KnownPod) {
        let mut pods = self.pods();
        match pods.known.get(key) {
            // Most changes of a pod are changes of its status.
            Some(former) if former.uid == pod.uid && former.metadata == pod.metadata => return,
            // The previous pod of this name was deleted, and the watch has missed it.
            Some(former) if former.uid != pod.uid => self.resources.end_pod(&former.uid),
            _ => {}
        }
        self.resources.start_pod(&pod.uid);
        pods.known.insert(Arc::clone(key), Arc::new(pod));
        drop(pods);
        self.changes.send_replace(());
    }

    fn remove_pod(&self, key: &Arc<str>) {
        let former = self.pods().known.remove(key);
        if let Some(former) = former {
            self.resources.end_pod(&former.uid);
        }
    }

    /// Called with a complete list of the node's pods: leases of other pods, which an earlier process may
    /// have held, end.
    fn keep_pods(&self, listed: &HashSet<Arc<str>>) {
        let (uids, began) = {
            let mut pods = self.pods();
            pods.known.retain(|key, _| listed.contains(key));
            let uids: BTreeSet<String> = pods.known.values().map(|pod| pod.uid.clone()).collect();
            (uids, pods.list_began)
        };
        if let Some(began) = began {
            self.resources.keep_pods(&uids, began);
        }
    }
}

impl KnownPod {
    /// Labels and annotations, as JSON of a pod's `metadata`.
    pub(crate) fn metadata(&self) -> &str {
        self.metadata.as_deref().unwrap_or("{}")
    }

    /// Whether this warning must be logged: once for each generation of a policy.
    pub(crate) fn must_log(&self, policy: &Arc<str>, generation: i64) -> bool {
        let mut logged = lock(&self.logged);
        logged.insert((Arc::clone(policy), generation))
    }
}

fn not_known(missing: &str, pod: &Pod) -> Failure {
    let text = format!(
        "{missing} of the mount for {}/{} is not known to the provider yet, so no policy can be applied; the kubelet retries. If \
         this stays, check in the provider's log that its service account may list and watch pods, namespaces and injectionpolicies, \
         or that a policy cannot be used",
        pod.namespace, pod.name
    );
    Failure::new(FailureKind::Transient, text)
}

fn too_many_labels(what: &str) -> Failure {
    Failure::invalid(format!(
        "{what} has more than {} bytes of labels, so no policy can be applied; remove labels",
        kinds::LABELS_BYTES
    ))
}

/// A client for the cluster of `KUBECONFIG` or, if there is none, of this pod. Sends no request.
pub(crate) async fn client() -> Result<Client, Box<dyn Error + Send + Sync>> {
    // Only fails if a crypto provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Ok(scaivault_cluster::from_config(Config::infer().await?, USER_AGENT)?)
}
