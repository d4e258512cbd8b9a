//! Writes the status of policies. All replicas do so: each adds the pods that it has counted. A
//! replica whose write conflicts waits for the other's version and tries again.

use std::{ops::Bound, sync::Arc, time::SystemTime};

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use scaivault_cluster::{RETRIED, is_forbidden, reason};
use scaivault_inject::{PolicySet, Settings};
use scaivault_policy::InjectionPolicyStatus;
use scaivault_webhook::{AdmissionContext, Metrics, PolicyState, PolicyWrite};
use serde_json::json;
use tokio::{
    task::spawn_blocking,
    time::{Duration, Instant, sleep},
};

use super::{
    API_VERSION, KIND, PLURAL,
    labels::jitter,
    status::{Overview, desired, is_urgent, without_dispute},
    usage::Counts,
};
use crate::{cluster::ClusterCache, telemetry::LogThrottle};

/// The field manager of the status and of the labels.
pub(super) const FIELD_MANAGER: &str = "scaivault-injector";

/// How often pending status changes are checked for.
const INTERVAL: Duration = Duration::from_secs(3);

/// How often counts of pods are written.
const COUNTS_INTERVAL: Duration = Duration::from_secs(30);

/// The pause after each write: at most ten a second for each replica.
const PAUSE: Duration = Duration::from_millis(100);

/// The maximum number of writes before the pending ones are computed again.
const BATCH: usize = 50;

/// The minimum time between log lines about rejected statuses.
const REMINDER: Duration = Duration::from_mins(5);

/// Keeps the status of all policies up to date, for ever.
pub(in super::super) async fn report_status(
    client: Client,
    memory: Arc<ClusterCache>,
    context: Arc<AdmissionContext>,
    metrics: Arc<Metrics>,
) {
    let resource = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::try_from(&kube::core::TypeMeta {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
        })
        .expect("the version of policies has a group"),
        PLURAL,
    );
    let api = Api::all_with(client, &resource);
    let mut reporter = Reporter {
        api,
        memory,
        context,
        metrics,
        throttle: LogThrottle::new(REMINDER),
        last: None,
        last_pass: LastPass::default(),
    };
    let mut counts_due = Instant::now() + jitter(COUNTS_INTERVAL);
    loop {
        sleep(INTERVAL / 2 + jitter(INTERVAL)).await;
        let with_counts = Instant::now() >= counts_due;
        let is_complete = reporter.pass(with_counts).await;
        if with_counts && is_complete {
            counts_due = Instant::now() + COUNTS_INTERVAL;
        }
    }
}

struct Reporter {
    api: Api<DynamicObject>,
    memory: Arc<ClusterCache>,
    context: Arc<AdmissionContext>,
    metrics: Arc<Metrics>,
    throttle: LogThrottle<Instant>,
    /// Where the last pass ended, if it did not cover all policies.
    last: Option<Arc<str>>,
    last_pass: LastPass,
}

/// The result of the last pass.
#[derive(Clone, Debug, Default)]
struct LastPass {
    overview: Option<Arc<OverviewOf>>,
    /// [`Store::changes`] at the time when no status had to be written.
    ///
    /// [`Store::changes`]: scaivault_cluster::policies::Store::changes
    clean: Option<u64>,
}

/// An overview and its inputs.
#[derive(Debug)]
struct OverviewOf {
    set: Arc<PolicySet>,
    settings: Arc<Settings>,
    /// The version of the cached namespaces.
    namespaces: u64,
    overview: Overview,
}

impl LastPass {
    /// The current overview, recomputed only if an input has changed.
    fn overview(
        &mut self,
        set: Arc<PolicySet>,
        memory: &ClusterCache,
        context: &AdmissionContext,
        metrics: &Metrics,
    ) -> Arc<OverviewOf> {
        let (settings, version) = (context.current_settings(), memory.namespaces.version());
        let is_current = |former: &&Arc<OverviewOf>| {
            Arc::ptr_eq(&former.set, &set)
                && Arc::ptr_eq(&former.settings, &settings)
                && former.namespaces == version
        };
        if let Some(former) = self.overview.as_ref().filter(is_current) {
            return Arc::clone(former);
        }
        let labels_namespaces = memory.features.label_namespaces;
        let namespaces = memory.namespaces.values();
        let overview =
            Overview::new(&set, &namespaces, labels_namespaces, |namespace| settings.excludes(namespace));
        metrics.policies(PolicyState::Conflicted, overview.conflicts());
        let made = Arc::new(OverviewOf { set, settings, namespaces: version, overview });
        *self = Self { overview: Some(Arc::clone(&made)), clean: None };
        made
    }
}

/// A pending write of a status.
struct Write {
    name: Arc<str>,
    uid: String,
    resource_version: String,
    status: InjectionPolicyStatus,
    /// The counts of this replica that it contains.
    counts: Counts,
    /// The hash of the verdict that this replica adds, if it is new.
    verdict: Option<u64>,
}

impl Reporter {
    /// Returns true if it covered all policies without a conflict with another replica.
    async fn pass(&mut self, with_counts: bool) -> bool {
        let last = self.last.take();
        let (memory, context, metrics) =
            (Arc::clone(&self.memory), Arc::clone(&self.context), Arc::clone(&self.metrics));
        let mut last_pass = self.last_pass.clone();
        let found = spawn_blocking(move || {
            let writes = due(&memory, &context, &metrics, &mut last_pass, with_counts, last.as_deref());
            (writes, last_pass)
        });
        let (writes, last_pass) = found.await.unwrap_or_default();
        self.last_pass = last_pass;
        let is_last = writes.len() < BATCH;
        let mut is_complete = is_last;
        for write in writes {
            self.last = (!is_last).then(|| Arc::clone(&write.name));
            is_complete &= self.write(write).await != Some(PolicyWrite::StatusConflict);
            sleep(PAUSE).await;
        }
        is_complete
    }

    async fn write(&mut self, write: Write) -> Option<PolicyWrite> {
        let Write { name, uid, resource_version, status, counts, verdict } = write;
        // The resource version that was read prevents overwriting the counts of another replica.
        let object = json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "metadata": {"name": &*name, "uid": uid, "resourceVersion": resource_version}, "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let result = match self.api.patch_status(&name, &params, &Patch::Apply(object)).await {
            Ok(written) => {
                let version = written.metadata.resource_version.unwrap_or_default();
                let memory = Arc::clone(&self.memory);
                let _ = spawn_blocking(move || {
                    let Some(policies) = &memory.policies else { return };
                    if let Some(usage) = policies.usage.get(&name) {
                        usage.reported(counts);
                    }
                    policies.cache.store().written(&name, &uid, version, status, verdict);
                })
                .await;
                PolicyWrite::Status
            }
            // It was deleted.
            Err(kube::Error::Api(status)) if status.code == 404 => return None,
            // Another replica wrote first; its version arrives through the watch.
            Err(kube::Error::Api(status)) if status.code == 409 => PolicyWrite::StatusConflict,
            Err(error) => {
                self.log(&name, &error);
                PolicyWrite::StatusFailed
            }
        };
        self.metrics.policy_written(result);
        Some(result)
    }

    fn log(&mut self, policy: &str, error: &kube::Error) {
        let now = Instant::now();
        if !self.throttle.is_due(now) {
            return;
        }
        let fix = if is_forbidden(error) {
            "grant the injector's service account patch on injectionpolicies/status"
        } else {
            RETRIED
        };
        tracing::warn!(policy, error = reason(error), fix, "policy status not written");
    }
}

/// The statuses that differ from the desired ones.
fn due(
    memory: &ClusterCache,
    context: &AdmissionContext,
    metrics: &Metrics,
    last_pass: &mut LastPass,
    with_counts: bool,
    last: Option<&str>,
) -> Vec<Write> {
    let Some(policies) = &memory.policies else { return Vec::new() };
    let Some(set) = policies.in_force() else { return Vec::new() };
    let found = last_pass.overview(set, memory, context, metrics);
    let now = memory.clock.now(SystemTime::now());
    let store = policies.cache.store();
    if !with_counts && last.is_none() && last_pass.clean == Some(store.changes()) {
        return Vec::new();
    }
    let behind = (last.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
    let writes = store.range(behind).filter_map(|(name, entry)| {
        let usage = policies.usage.get(name);
        let (counts, refusal) = match &usage {
            Some(usage) if with_counts => (usage.counts(), usage.last_refusal()),
            _ => (Counts::default(), None),
        };
        let status = desired(name, entry, &found.overview, counts, refusal.as_deref(), now);
        let (status, verdict) =
            without_dispute(status, &entry.status, entry.written, Instant::now().into_std());
        // Messages and numbers are not urgent: two releases that exclude different namespaces would
        // otherwise overwrite each other without end.
        let is_due = if with_counts { status != entry.status } else { is_urgent(&entry.status, &status) };
        is_due.then(|| Write {
            name: Arc::clone(name),
            uid: entry.uid.clone(),
            resource_version: entry.resource_version.clone(),
            status,
            counts,
            verdict,
        })
    });
    let writes: Vec<_> = writes.take(BATCH).collect();
    last_pass.clean = (writes.is_empty() && last.is_none()).then(|| store.changes());
    writes
}

#[cfg(test)]
mod tests {
    use scaivault_inject::{KubeVersion, Namespace};
    use serde_json::Value;

    use super::*;
    use crate::cluster::Features;

    fn put(memory: &ClusterCache, path: &str, generation: i64) {
        let policies = memory.policies.as_ref().unwrap();
        let object = json!({
            "metadata": {"name": "billing", "uid": "a", "generation": generation},
            "spec": {"namespaceSelector": {}, "inject": {"secrets": [{"name": "db.json", "path": path}]}},
        });
        let mut store = policies.cache.store();
        store.put(&"billing".into(), &serde_json::from_value(object).unwrap());
        policies.cache.publish(store.set());
    }

    fn namespace(memory: &ClusterCache, name: &str) {
        let namespace = Namespace { name: name.to_owned(), ..Namespace::default() };
        memory.namespaces.insert(&name.into(), Arc::new(namespace));
    }

    #[test]
    fn nothing_is_compared_again_until_something_changes() {
        let memory = ClusterCache::new(Features { policies: true, ..Features::default() });
        let cluster: Arc<ClusterCache> = Arc::clone(&memory);
        let context = AdmissionContext::new(Settings::default(), KubeVersion::OLDEST, cluster);
        let metrics = Metrics::new();
        let mut last_pass = LastPass::default();
        let mut pass = |with_counts| {
            let former = last_pass.overview.clone();
            let writes = due(&memory, &context, &metrics, &mut last_pass, with_counts, None);
            let is_kept =
                former.is_some_and(|former| Arc::ptr_eq(&former, last_pass.overview.as_ref().unwrap()));
            let clean = last_pass.clean.is_some();
            (writes, is_kept, clean)
        };
        put(&memory, "a/b", 1);
        namespace(&memory, "shop");
        let (mut writes, ..) = pass(false);
        let Write { name, uid, status, .. } = writes.pop().unwrap();
        assert_eq!(serde_json::to_value(&status).unwrap()["namespaces"], Value::from(1));
        memory.policies.as_ref().unwrap().cache.store().written(&name, &uid, String::new(), status, None);
        assert!(matches!(pass(false), (writes, true, true) if writes.is_empty()));
        namespace(&memory, "shop");
        assert!(matches!(pass(false), (_, true, true)), "the same namespace");
        namespace(&memory, "web");
        assert!(matches!(pass(false), (writes, false, _) if writes.is_empty()), "numbers can wait");
        assert!(matches!(pass(true), (writes, true, false) if writes.len() == 1));
        put(&memory, "a/c", 2);
        assert!(matches!(pass(false), (writes, false, false) if writes.len() == 1));
        context.replace_settings(Settings::default());
        assert!(matches!(pass(false), (_, false, _)));
    }
}
