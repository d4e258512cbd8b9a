//! A simulated cluster: the state of the API server and of ScaiVault, and controllers that may lose all other
//! state.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Agreement, Delivery, Kind, Ledger, MarkedVersions, Mode, NotFollowed, Pod, Progress, Refusal, Settings,
    SourceId, SourceKind, SourceRef, Sources, Step, Version, Workload, WorkloadKey, World, decide, digest,
};

/// How long a rollout takes.
const ROLLOUT_SECONDS: i64 = 20;

/// The workload in the API server.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that an object can be")]
pub(super) struct Object {
    pub(super) secrets: Vec<&'static str>,
    pub(super) mode: Mode,
    pub(super) is_canary: bool,
    pub(super) is_paused: bool,
    pub(super) is_on_delete: bool,
    pub(super) release: &'static str,
    pub(super) refusal: Option<Refusal>,
    pub(super) problem: &'static str,
    /// The number of pods that its status says it has.
    pub(super) replicas: u32,
    /// After so many seconds its own controller gives up a rollout without progress.
    pub(super) deadline: Option<u32>,
    /// The versions that its pods report for its secrets.
    pub(super) agreement: Agreement,
    pub(super) is_partitioned: bool,
    /// How long its rollouts take.
    pub(super) rollout_seconds: i64,
    /// Whether new pods of this workload crash.
    pub(super) crashes: bool,
    /// Whether new pods of this workload run, but never become ready.
    pub(super) is_never_ready: bool,
    pub(super) marker: Option<String>,
    pub(super) pods: Vec<Pod>,
    pub(super) ledger: Option<Ledger>,
    /// The number of template changes, which is that of `ReplicaSet`s of a Deployment.
    pub(super) rollouts: usize,
    pub(super) resource_version: u64,
    /// When the current rollout ends.
    pub(super) rollout_ends: Option<i64>,
}

/// The cluster and ScaiVault. Times are those of the API server.
pub(super) struct Cluster {
    pub(super) now: i64,
    /// How far ScaiVault's clock is ahead.
    pub(super) vault_ahead: i64,
    pub(super) objects: BTreeMap<WorkloadKey, Object>,
    versions: BTreeMap<&'static str, (u32, i64)>,
    /// When the previous version stops working.
    pub(super) old_ends: Option<i64>,
}

/// A controller with its clock and memory.
pub(super) struct Controller {
    pub(super) ahead: i64,
    pub(super) settings: Settings,
    sources: Sources,
    /// The cluster at the last decision, for a controller with lagging caches.
    pub(super) stale_view: Option<BTreeMap<WorkloadKey, Object>>,
    /// Whether it stops between the patch of a template and the write of the ledger.
    pub(super) dies_after_patch: bool,
}

pub(super) fn key(name: &str) -> WorkloadKey {
    let (namespace, name) = name.split_once('/').unwrap_or(("team", name));
    WorkloadKey { namespace: namespace.into(), kind: Kind::Deployment, name: name.into() }
}

impl Cluster {
    pub(super) fn new() -> Self {
        Self {
            now: 1_790_000_000,
            vault_ahead: 0,
            objects: BTreeMap::new(),
            versions: BTreeMap::new(),
            old_ends: None,
        }
    }

    pub(super) fn add(&mut self, name: &str, secrets: &[&'static str]) -> &mut Object {
        for secret in secrets {
            self.versions.entry(secret).or_insert((1, self.now - 100_000));
        }
        let pods = vec![Pod { created: self.now - 50_000, is_ready: true, ..Pod::default() }; 2];
        let object = Object {
            secrets: secrets.to_vec(),
            mode: Mode::Auto,
            is_canary: false,
            is_paused: false,
            is_on_delete: false,
            release: "",
            refusal: None,
            problem: "",
            replicas: 2,
            deadline: Some(600),
            agreement: Agreement::NotAsked,
            is_partitioned: false,
            rollout_seconds: ROLLOUT_SECONDS,
            crashes: false,
            is_never_ready: false,
            marker: None,
            pods,
            ledger: None,
            rollouts: 0,
            resource_version: 1,
            rollout_ends: None,
        };
        self.objects.entry(key(name)).or_insert(object)
    }

    pub(super) fn object(&mut self, name: &str) -> &mut Object {
        self.objects.get_mut(&key(name)).unwrap()
    }

    /// A new version of a secret, at the time of ScaiVault's clock.
    pub(super) fn rotate(&mut self, secret: &'static str) {
        let version = self.versions.get_mut(secret).unwrap();
        *version = (version.0 + 1, self.now + self.vault_ahead);
    }

    /// Sets the version that ScaiVault returns, regardless of the previous one.
    pub(super) fn set_version(&mut self, secret: &'static str, number: u32, time: i64) {
        self.versions.insert(secret, (number, time));
    }

    pub(super) fn rollouts(&self) -> usize {
        self.objects.values().map(|object| object.rollouts).sum()
    }

    pub(super) fn rollouts_of(&self, name: &str) -> usize {
        self.objects[&key(name)].rollouts
    }

    /// The number of workloads whose pods are being replaced.
    pub(super) fn running(&self) -> usize {
        self.objects.values().filter(|object| object.rollout_ends.is_some()).count()
    }

    /// Advances the time.
    pub(super) fn advance(&mut self, seconds: i64) {
        self.now += seconds;
        for object in self.objects.values_mut() {
            if object.rollout_ends.is_some_and(|ends| ends <= self.now) && !object.is_paused {
                object.rollout_ends = None;
                let marker = object.marker.as_deref().map_or(0, |text| digest(&[text]));
                let pod = Pod {
                    created: self.now,
                    marker,
                    is_failing: object.crashes,
                    is_ready: !object.is_never_ready,
                    ..Pod::default()
                };
                object.pods = vec![pod; object.pods.len()];
            }
        }
    }

    /// Patches a template as server-side apply does: a no-op if nothing changes.
    pub(super) fn patch(&mut self, key: &WorkloadKey, marker: Option<String>) {
        let now = self.now;
        let object = self.objects.get_mut(key).unwrap();
        if object.marker != marker {
            object.marker = marker;
            object.rollouts += 1;
            object.resource_version += 1;
            object.rollout_ends = Some(now + object.rollout_seconds);
        }
    }
}

impl Controller {
    pub(super) fn new(settings: Settings) -> Self {
        Self { ahead: 0, settings, sources: Sources::default(), stale_view: None, dies_after_patch: false }
    }

    /// Replaces the process by a new one.
    pub(super) fn forget(&mut self) {
        self.sources = Sources::default();
    }

    /// Decides and executes the steps. A write to an object that has changed since the decision fails.
    pub(super) fn run(&mut self, cluster: &mut Cluster) {
        let now = cluster.now + self.ahead;
        let objects = self.stale_view.clone().unwrap_or_else(|| cluster.objects.clone());
        let world = self.world(cluster, &objects, now);
        for step in decide(now, &world, &self.settings).steps {
            let key = step.workload().clone();
            if cluster.objects[&key].resource_version != objects[&key].resource_version {
                continue;
            }
            let ledger = match step {
                Step::Restart { marker, ledger, .. } => {
                    cluster.patch(&key, Some(marker));
                    if self.dies_after_patch {
                        self.dies_after_patch = false;
                        self.forget();
                        return;
                    }
                    ledger
                }
                Step::Record { ledger, .. } => ledger,
            };
            let object = cluster.objects.get_mut(&key).unwrap();
            // Each process assigns new identifiers to the sources, here in the same order.
            object.ledger = Some(*ledger);
            object.resource_version += 1;
        }
        self.sources = world.sources;
    }

    /// The workloads of the next steps.
    pub(super) fn steps(&self, cluster: &Cluster) -> Vec<WorkloadKey> {
        let world = self.world(cluster, &cluster.objects, cluster.now);
        let decision = decide(cluster.now, &world, &self.settings);
        decision.steps.iter().map(|step| step.workload().clone()).collect()
    }

    fn world(&self, cluster: &Cluster, objects: &BTreeMap<WorkloadKey, Object>, now: i64) -> World {
        let mut sources = self.sources.clone();
        for (name, (number, time)) in &cluster.versions {
            let id = sources.intern("", &SourceRef::new(SourceKind::ScaiVault, name));
            sources.observe(id, Version::Numbered { time: *time, number: *number }, cluster.old_ends, now);
        }
        let workloads =
            objects.iter().map(|(key, object)| (key.clone(), Box::new(workload(key, object, &sources))));
        let workloads = workloads.collect();
        World { sources, workloads }
    }
}

fn workload(key: &WorkloadKey, object: &Object, sources: &Sources) -> Workload {
    let find = |name: &&str| sources.find("", &SourceRef::new(SourceKind::ScaiVault, name)).unwrap();
    let ids: Vec<SourceId> = object.secrets.iter().map(find).collect();
    let delivery = |source: &SourceId| Delivery { source: *source, agreement: object.agreement };
    let is_unavailable = object.pods.iter().any(|pod| pod.is_failing || !pod.is_ready);
    Workload {
        uid: digest(&[&key.namespace, &key.name]),
        resource_version: object.resource_version.to_string().into(),
        mode: object.mode,
        is_canary: object.is_canary,
        deliveries: ids.iter().map(delivery).collect(),
        not_followed: NotFollowed::default(),
        marker: object
            .marker
            .as_deref()
            .map(|text| MarkedVersions::parse(text).delivered(ids.iter().copied(), sources)),
        is_paused: object.is_paused,
        is_on_delete: object.is_on_delete,
        is_partitioned: object.is_partitioned,
        deadline: object.deadline,
        awaited_pod: Box::default(),
        progress: match object.rollout_ends {
            Some(_) => Progress::Progressing,
            None if is_unavailable => Progress::Unavailable,
            None => Progress::Complete,
        },
        replicas: object.replicas,
        windows: None,
        are_pods_marked: true,
        problem: object.problem.into(),
        release: object.release.into(),
        refusal: object.refusal.clone(),
        pods: object.pods.clone().into(),
        record_version: Box::default(),
        ledger: object.ledger.clone(),
    }
}

/// Settings without delays, for tests of other settings.
pub(super) fn quick() -> Settings {
    Settings {
        debounce: 2,
        max_wait: 10,
        jitter: 0,
        minimum_interval: 30,
        breaker_restarts: 1000,
        concurrency: 1000,
        namespace_concurrency: 1000,
        canaries: 1000,
        clock_skew: 120,
        wave_pause: 10,
        ..Settings::default()
    }
}

/// Lets the controllers work for some time, in steps of `step` seconds.
pub(super) fn run(cluster: &mut Cluster, controllers: &mut [&mut Controller], seconds: i64, step: i64) {
    for _ in 0..seconds / step {
        cluster.advance(step);
        for controller in &mut *controllers {
            controller.run(cluster);
        }
    }
}

/// A cluster with `count` workloads of one shared secret, which the controller has recorded.
pub(super) fn shared(count: usize, settings: Settings) -> (Cluster, Controller) {
    let mut cluster = Cluster::new();
    for index in 0..count {
        cluster.add(&format!("w{index:03}"), &["shared"]);
    }
    let mut controller = Controller::new(settings);
    run(&mut cluster, &mut [&mut controller], 30, 5);
    assert_eq!(cluster.rollouts(), 0, "first sight restarts nothing");
    (cluster, controller)
}

/// The message of a waiting restart.
pub(super) fn phase(cluster: &Cluster, name: &str) -> crate::Phase {
    cluster.objects[&key(name)].ledger.clone().unwrap().phase
}

pub(super) fn text(value: &str) -> Arc<str> {
    value.into()
}
