use scaivault_inject::{Context, KubeVersion, Namespace};
use scaivault_usage::SECRETS_STORE;
use serde_json::json;

use super::{delivery_counts::NAMESPACE_SECRETS_MAX, template::NAMESPACE_TEXT_MAX, unused::SOURCES_KEPT, *};
use crate::{
    Agreement, Doubt, MARKER, MarkedVersions, NotFollowed, Phase, RotationRolloutSpec, Settings, Step, Wait,
    decide,
};

struct Fixture {
    catalog: Catalog,
    settings: scaivault_inject::Settings,
    namespace: Namespace,
}

impl Fixture {
    fn new() -> Self {
        Self {
            catalog: Catalog::new(Defaults { mode: Mode::Auto, with_reloader: true, without_vault: false }),
            settings: scaivault_inject::Settings::default(),
            namespace: Namespace { name: "team".to_owned(), ..Namespace::default() },
        }
    }

    fn put(&mut self, annotations: &Value, template: &Value) {
        let object = json!({
            "metadata": {"namespace": "team", "name": "web", "uid": "u", "resourceVersion": "5", "annotations": annotations},
            "spec": {"replicas": 1, "template": template},
            "status": {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
        });
        self.put_object(Kind::Deployment, &object);
    }

    fn put_object(&mut self, kind: Kind, object: &Value) {
        let context = Context::new(&self.settings, &self.namespace, KubeVersion::OLDEST);
        self.catalog.put_workload(kind, object, &context);
    }

    /// The delivered sources, as markers name them.
    #[track_caller]
    fn check(&mut self, expected: &[&str]) {
        let world = self.catalog.world();
        let deliveries = world.workloads[&key()].deliveries.iter();
        let found: Vec<_> =
            deliveries.map(|delivery| world.sources.name(delivery.source).to_string()).collect();
        assert_eq!(found, expected);
    }

    /// Decides, and keeps the ledger as if it were written. Returns whether the workload is restarted.
    fn decide(&mut self, now: i64) -> bool {
        let settings = Settings { jitter: 0, ..Settings::default() };
        let step = decide(now, self.catalog.world(), &settings).steps.pop();
        let (is_restart, ledger) = match step {
            Some(Step::Restart { ledger, .. }) => (true, ledger),
            Some(Step::Record { ledger, .. }) => (false, ledger),
            None => return false,
        };
        self.catalog.put_ledger(&key(), Some(*ledger), "");
        is_restart
    }

    fn ledger(&mut self) -> Ledger {
        self.workload().ledger.unwrap()
    }

    fn workload(&mut self) -> Workload {
        (*self.catalog.world().workloads[&key()]).clone()
    }
}

fn key() -> WorkloadKey {
    WorkloadKey { namespace: "team".into(), kind: Kind::Deployment, name: "web".into() }
}

#[expect(clippy::needless_pass_by_value, reason = "callers write JSON in place")]
fn template(annotations: Value) -> Value {
    json!({
        "metadata": {"annotations": annotations},
        "spec": {
            "containers": [{"name": "app", "image": "a", "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "a"}}}]}],
            "imagePullSecrets": [{"name": "registry"}],
            "volumes": [{"name": "v", "csi": {"driver": SECRETS_STORE, "volumeAttributes": {"secretProviderClass": "files"}}}],
        },
    })
}

#[expect(clippy::needless_pass_by_value, reason = "callers write JSON in place")]
fn native(name: &str, annotations: Value) -> Value {
    json!({"metadata": {"namespace": "team", "name": name, "annotations": annotations,
           "creationTimestamp": "2026-09-21T14:13:20Z"}})
}

fn running(name: &str) -> Value {
    json!({
        "metadata": {
            "namespace": "team", "name": name, "creationTimestamp": "2026-09-21T14:13:20Z",
            "labels": {"pod-template-hash": "5d"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d", "controller": true}],
        },
        "status": {"phase": "Running"},
    })
}

fn class_status_of(pod: &str, version: &str, generation: i64) -> Value {
    json!({
        "metadata": {"namespace": "team", "name": format!("{pod}-team-files"), "generation": generation},
        "status": {"podName": pod, "secretProviderClassName": "files", "objects": [{"id": "a", "version": version}]},
    })
}

/// Like one `helm upgrade`: the Secret and the pods are created within the same second.
#[test]
fn within_a_second_the_order_of_writes_decides() {
    let second = "2026-09-21T15:00:00Z";
    let check = |secret: u64, pod_seen: &[(u64, bool)], is_restarted: bool| {
        let mut fixture = Fixture::new();
        let asks = json!({"scaivault.scailabs.ai/restart": "auto"});
        fixture.catalog.put_secret(&native("db", asks.clone()), 0);
        fixture.put(&json!({}), &template(json!({})));
        assert!(!fixture.decide(1_790_010_000));
        for (revision, is_scheduled) in pod_seen {
            let mut pod = running("web-5d-1");
            pod["metadata"]["creationTimestamp"] = second.into();
            pod["metadata"]["resourceVersion"] = revision.to_string().into();
            if *is_scheduled {
                pod["spec"]["nodeName"] = "node".into();
            }
            fixture.catalog.put_pod(&pod);
        }
        let mut rotated = native("db", asks);
        rotated["metadata"]["creationTimestamp"] = second.into();
        rotated["metadata"]["resourceVersion"] = secret.to_string().into();
        fixture.catalog.put_secret(&rotated, 1_790_010_000);
        let restarts = (1..100).filter(|second| fixture.decide(1_790_010_000 + second)).count();
        assert_eq!(restarts, usize::from(is_restarted), "{secret} {pod_seen:?}");
    };
    check(10, &[(11, false), (15, true)], false);
    check(10, &[(9, false), (15, true)], true);
    // Whether it was changed before it was first seen is not known.
    check(10, &[(15, true)], true);
    check(12, &[(11, false), (15, false)], true);
}

#[test]
fn a_rollout_delivers_the_secrets_of_its_workload_ref() {
    let mut fixture = Fixture::new();
    let secret = |path: &str| template(json!({"scaivault.scailabs.ai/inject-secret-a": path}));
    let rollout_key = WorkloadKey { kind: Kind::Rollout, ..key() };
    let put = |fixture: &mut Fixture, annotations: Value| {
        let object = json!({
            "metadata": {"namespace": "team", "name": "web", "uid": "r", "annotations": annotations},
            "spec": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
            "status": {"phase": "Healthy"},
        });
        fixture.put_object(Kind::Rollout, &object);
    };
    let rollout = |fixture: &mut Fixture| {
        let world = fixture.catalog.world();
        let Workload { mode, is_canary, deliveries, .. } = &*world.workloads[&rollout_key];
        let names = deliveries.iter().map(|delivery| world.sources.name(delivery.source).to_string());
        (names.collect::<Vec<_>>(), *mode, *is_canary)
    };
    // The objects may arrive in any order.
    put(&mut fixture, json!({"scaivault.scailabs.ai/restart-canary": "true"}));
    assert_eq!(rollout(&mut fixture), (vec![], Mode::Auto, true));
    fixture.put(&json!({}), &secret("a/b"));
    assert_eq!(rollout(&mut fixture), (vec!["scaivault:a/b".to_owned()], Mode::Auto, true));
    let mut manual = secret("a/c");
    manual["metadata"]["annotations"]["scaivault.scailabs.ai/restart"] = "manual".into();
    fixture.put(&json!({"scaivault.scailabs.ai/restart": "off"}), &manual);
    assert_eq!(rollout(&mut fixture), (vec!["scaivault:a/c".to_owned()], Mode::Manual, true));
    put(&mut fixture, json!({"scaivault.scailabs.ai/restart": "auto"}));
    assert_eq!(rollout(&mut fixture), (vec!["scaivault:a/c".to_owned()], Mode::Auto, false));
    fixture.catalog.remove_workload(&key());
    assert_eq!(rollout(&mut fixture).0, Vec::<String>::new());
}

#[test]
fn secrets_of_scaivault_need_no_opt_in() {
    let mut fixture = Fixture::new();
    fixture.put(&json!({}), &template(json!({"scaivault.scailabs.ai/inject-secret-a": "a/b"})));
    fixture.check(&["scaivault:a/b"]);
    assert_eq!(fixture.catalog.paths().into_iter().collect::<Vec<_>>(), ["a/b".into()]);
}

#[test]
fn sidecars_secrets_are_not_followed_unless_requested() {
    let mut fixture = Fixture::new();
    let sidecar = template(json!({
        "scaivault.scailabs.ai/inject-secret-a": "a/b", "scaivault.scailabs.ai/pattern": "sidecar"}));
    fixture.put(&json!({}), &sidecar);
    fixture.check(&[]);
    fixture.put(&json!({"scaivault.scailabs.ai/restart": "auto"}), &sidecar);
    fixture.check(&["scaivault:a/b"]);
}

#[test]
fn native_secrets_need_an_opt_in_of_either_side() {
    let mut fixture = Fixture::new();
    fixture.catalog.put_secret(&native("db", json!({})), 0);
    fixture.catalog.put_secret(&native("other", json!({})), 0);
    fixture.put(&json!({}), &template(json!({})));
    fixture.check(&[]);
    // A changed annotation of a Secret affects the workloads that use it.
    fixture.catalog.put_secret(&native("db", json!({"scaivault.scailabs.ai/restart": "auto"})), 0);
    fixture.check(&["secret:db"]);
    fixture.catalog.put_secret(&native("db", json!({})), 0);
    fixture.check(&[]);
    fixture.put(&json!({"scaivault.scailabs.ai/restart-secrets": "all"}), &template(json!({})));
    fixture.check(&["secret:db"]);
    fixture.put(&json!({"secret.reloader.stakater.com/reload": "other"}), &template(json!({})));
    fixture.check(&["secret:other"]);
}

#[test]
fn a_class_of_scaivault_waits_until_all_pods_agree() {
    let mut fixture = Fixture::new();
    fixture.put(&json!({}), &template(json!({})));
    fixture.check(&[]);
    let class =
        json!({"metadata": {"namespace": "team", "name": "files"}, "spec": {"provider": "scaivault"}});
    fixture.catalog.put_class(&class);
    fixture.check(&["class:files"]);
    for name in ["web-1", "web-2"] {
        fixture.catalog.put_pod(&running(name));
        fixture.catalog.put_class_status(&class_status_of(name, "1", 1));
    }
    let agreement = |fixture: &mut Fixture| fixture.workload().deliveries[0].agreement;
    let first = agreement(&mut fixture);
    assert!(matches!(first, Agreement::Agreed(_)));
    fixture.catalog.put_class_status(&class_status_of("web-1", "2", 2));
    assert!(matches!(agreement(&mut fixture), Agreement::Disagreeing(_)));
    fixture.catalog.put_class_status(&class_status_of("web-2", "2", 2));
    let second = agreement(&mut fixture);
    assert!(matches!(second, Agreement::Agreed(_)) && second != first);
    assert!(fixture.workload().pods.iter().all(|pod| pod.has_changed_files));
    // A pod without a status of the driver.
    fixture.catalog.put_pod(&running("web-3"));
    assert!(matches!(agreement(&mut fixture), Agreement::Disagreeing(_)));
    fixture.catalog.remove_pod("team", "web-3");
    assert_eq!(agreement(&mut fixture), second);
}

#[test]
fn objects_may_arrive_in_any_order() {
    let mut fixture = Fixture::new();
    let mut record = RotationRollout::new(
        "deployment-web",
        RotationRolloutSpec { kind: "Deployment".into(), name: "web".into() },
    );
    record.metadata.namespace = Some("team".into());
    record.metadata.resource_version = Some("77".into());
    record.status = Some(
        serde_json::from_value(
            json!({"accepted": [{"kind": "ScaiVault", "name": "a/b", "version": "3@50"}]}),
        )
        .unwrap(),
    );
    fixture.catalog.put_record(&record);
    fixture.catalog.put_pod(&running("web-1"));
    fixture.catalog.put_version("a/b", Version::Numbered { time: 60, number: 4 }, None, 100);
    assert!(fixture.catalog.world().workloads[&key()].deliveries.is_empty());
    let marked = json!({"scaivault.scailabs.ai/inject-secret-a": "a/b", MARKER: "scaivault:a/b=3@50"});
    fixture.put(&json!({}), &template(marked));
    fixture.check(&["scaivault:a/b"]);
    let workload = fixture.workload();
    let source = workload.deliveries[0].source;
    let known = Version::Numbered { time: 50, number: 3 };
    assert_eq!(workload.ledger.unwrap().accepted(source).unwrap().version, known);
    assert_eq!(workload.marker.unwrap().version(source), Some(known));
    assert_eq!(workload.pods.len(), 1);
    // A step contains the versions that it is based on.
    let decision = decide(200, fixture.catalog.world(), &Settings::default());
    let seen = crate::ObservedVersions { workload: "5".into(), record: "77".into() };
    assert_eq!(decision.steps.iter().map(Step::seen).collect::<Vec<_>>(), [&seen]);
}

#[test]
fn a_deleted_workload_is_forgotten_with_its_record() {
    let mut fixture = Fixture::new();
    fixture.put(&json!({}), &template(json!({})));
    fixture.catalog.put_ledger(&key(), Some(Ledger::default()), "");
    fixture.catalog.world();
    fixture.catalog.remove_workload(&key());
    assert!(fixture.catalog.world().workloads[&key()].deliveries.is_empty());
    fixture.catalog.remove_record(&key());
    assert!(fixture.catalog.world().workloads.is_empty());
}

#[test]
fn undelivered_secrets_are_no_sources() {
    let mut fixture = Fixture::new();
    for number in 0..100 {
        fixture.catalog.put_secret(&native(&format!("other-{number}"), json!({})), 0);
    }
    fixture.put(&json!({}), &template(json!({})));
    assert_eq!(fixture.catalog.world().sources.len(), 0);
    // Once it is delivered, it has the version and the time that were seen before.
    fixture.catalog.put_secret(&native("db", json!({})), 7);
    fixture.catalog.put_secret(&native("db", json!({"scaivault.scailabs.ai/restart": "auto"})), 9);
    fixture.check(&["secret:db"]);
    let source = fixture.workload().deliveries[0].source;
    assert_eq!(fixture.catalog.world().sources.observed(source).seen_at, 7);
}

#[test]
fn an_older_version_of_a_workload_is_ignored() {
    let mut fixture = Fixture::new();
    let secret = json!({"scaivault.scailabs.ai/inject-secret-a": "a/b"});
    fixture.put(&json!({}), &template(secret));
    let mut older = json!({
        "metadata": {"namespace": "team", "name": "web", "uid": "u", "resourceVersion": "4"},
        "spec": {"template": template(json!({}))},
    });
    fixture.put_object(Kind::Deployment, &older);
    fixture.check(&["scaivault:a/b"]);
    // Another workload of the same name.
    older["metadata"]["uid"] = "v".into();
    fixture.put_object(Kind::Deployment, &older);
    fixture.check(&[]);
}

#[test]
fn a_status_of_the_driver_is_removed_by_its_name() {
    let mut fixture = Fixture::new();
    fixture.put(&json!({"scaivault.scailabs.ai/restart-classes": "all"}), &template(json!({})));
    fixture.catalog.put_pod(&running("web-1"));
    fixture.catalog.put_class_status(&class_status_of("web-1", "1", 1));
    assert!(matches!(fixture.workload().deliveries[0].agreement, Agreement::Agreed(_)));
    let names: Vec<String> = fixture.catalog.class_statuses().into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["web-1-team-files"]);
    fixture.catalog.remove_class_status("team", "web-team-files");
    assert!(matches!(fixture.workload().deliveries[0].agreement, Agreement::Agreed(_)));
    fixture.catalog.remove_class_status("team", "web-1-team-files");
    assert!(matches!(fixture.workload().deliveries[0].agreement, Agreement::Disagreeing(_)));
}

#[test]
fn a_repeated_object_changes_nothing() {
    let mut fixture = Fixture::new();
    fixture.put(&json!({}), &template(json!({})));
    fixture.catalog.put_pod(&running("web-1"));
    fixture.catalog.put_secret(&native("db", json!({})), 0);
    fixture.catalog.put_class_status(&class_status_of("web-1", "1", 1));
    assert!(fixture.catalog.is_changed());
    fixture.catalog.world();
    fixture.catalog.put_pod(&running("web-1"));
    fixture.catalog.put_secret(&native("db", json!({})), 1);
    fixture.catalog.put_class_status(&class_status_of("web-1", "1", 1));
    assert!(!fixture.catalog.is_changed());
    fixture.catalog.remove_pod("team", "web-1");
    assert!(fixture.catalog.is_changed());
}

/// A pod that was created so many seconds after the Secret of [`native`].
fn running_since(name: &str, seconds: i64) -> Value {
    let mut pod = running(name);
    let created = jiff::Timestamp::from_second(1_790_000_000 + seconds).unwrap();
    pod["metadata"]["creationTimestamp"] = created.to_string().into();
    pod
}

#[test]
fn pods_created_just_after_their_secret_have_it() {
    for (seconds, is_restarted) in [(103, false), (101, false), (100, true), (99, true)] {
        let mut fixture = Fixture::new();
        fixture.catalog.put_secret(&native("db", json!({})), 0);
        fixture.put(&json!({"scaivault.scailabs.ai/restart-secrets": "all"}), &template(json!({})));
        fixture.catalog.put_pod(&running_since("web-1", 0));
        fixture.decide(1_790_000_050);
        // One release writes the Secret and the template.
        let mut written = native("db", json!({}));
        written["metadata"]["managedFields"] =
            json!([{"time": "2026-09-21T14:15:00Z", "fieldsV1": {"f:data": {}}}]);
        fixture.catalog.put_secret(&written, 1_790_000_100);
        fixture.catalog.remove_pod("team", "web-1");
        fixture.catalog.put_pod(&running_since("web-2", seconds));
        let restarts = (0..50).filter(|round| fixture.decide(1_790_000_110 + round * 20)).count();
        assert_eq!(restarts, usize::from(is_restarted), "{seconds}");
    }
}

#[test]
fn paths_have_changed_only_if_a_workload_delivers_others() {
    let mut fixture = Fixture::new();
    let annotations = json!({"scaivault.scailabs.ai/inject-secret-a": "a/b"});
    let mut changes = 0;
    let mut check = |fixture: &Fixture, is_changed: bool, expected: &[&str]| {
        let now = fixture.catalog.path_changes();
        assert_eq!(std::mem::replace(&mut changes, now) != now, is_changed, "{expected:?}");
        assert!(fixture.catalog.paths().iter().map(|path| &**path).eq(expected.iter().copied()));
    };
    fixture.put(&json!({}), &template(annotations.clone()));
    check(&fixture, true, &["a/b"]);
    fixture.put(&json!({"scaivault.scailabs.ai/restart": "manual"}), &template(annotations));
    check(&fixture, false, &["a/b"]);
    fixture.put(&json!({}), &template(json!({"scaivault.scailabs.ai/inject-secret-a": "a/c"})));
    check(&fixture, true, &["a/c"]);
    fixture.catalog.remove_workload(&key());
    check(&fixture, true, &[]);
    fixture.catalog.remove_workload(&key());
    check(&fixture, false, &[]);
}

#[test]
fn a_pod_with_another_owner_leaves_the_first_one() {
    let mut fixture = Fixture::new();
    fixture.put(&json!({}), &template(json!({})));
    fixture.catalog.put_pod(&running("web-1"));
    assert_eq!(fixture.workload().pods.len(), 1);
    let mut adopted = running("web-1");
    adopted["metadata"]["ownerReferences"] =
        json!([{"kind": "DaemonSet", "name": "web", "controller": true}]);
    fixture.catalog.put_pod(&adopted);
    assert!(fixture.workload().pods.is_empty());
    assert_eq!(fixture.catalog.pods(), [("team".into(), "web-1".into())]);
    fixture.catalog.put_pod(&running("web-1"));
    assert_eq!(fixture.workload().pods.len(), 1);
    fixture.catalog.remove_pod("team", "web-1");
    assert!(fixture.workload().pods.is_empty() && fixture.catalog.pods().is_empty());
}

/// A workload with two pods that have the first version of a class.
fn with_class() -> Fixture {
    let mut fixture = Fixture::new();
    let class =
        json!({"metadata": {"namespace": "team", "name": "files"}, "spec": {"provider": "scaivault"}});
    fixture.catalog.put_class(&class);
    fixture.put(&json!({}), &template(json!({})));
    for name in ["web-1", "web-2"] {
        fixture.catalog.put_pod(&running(name));
        fixture.catalog.put_class_status(&class_status_of(name, "1", 1));
    }
    fixture.decide(1_790_000_050);
    assert_eq!(fixture.ledger().phase, Phase::Current);
    fixture
}

#[test]
fn a_pending_pod_does_not_delay_a_restart() {
    let mut fixture = with_class();
    let mut starting = running("web-3");
    starting["status"]["phase"] = "Pending".into();
    fixture.catalog.put_pod(&starting);
    assert!(matches!(fixture.workload().deliveries[0].agreement, Agreement::Agreed(_)));
}

#[test]
fn a_version_that_reaches_some_pods_waits_and_is_released() {
    let mut fixture = with_class();
    fixture.catalog.put_class_status(&class_status_of("web-1", "2", 2));
    for round in 0..50 {
        assert!(!fixture.decide(1_790_000_100 + round * 20));
    }
    let ledger = fixture.ledger();
    assert_eq!(ledger.phase, Phase::Waiting(Wait::Agreement { pod: "web-2".into() }));
    let pending = ledger.pending.clone().unwrap();
    assert_eq!((pending.since, pending.versions.len()), (1_790_000_100, 1));
    let said = ledger.phase.message(&ledger, &fixture.catalog.world().sources);
    assert!(said.contains("the pod web-2; pending: class:files"), "{said}");
    fixture.put(&json!({"scaivault.scailabs.ai/restart-release": "now"}), &template(json!({})));
    assert!(fixture.decide(1_790_002_000));
}

#[test]
fn a_label_of_an_old_marker_is_no_restart() {
    let mut fixture = with_class();
    let marked = template(json!({MARKER: "class:files=#0000000000000001"}));
    fixture.put(&json!({}), &marked);
    fixture.decide(1_790_000_100);
    let ledger = fixture.ledger();
    assert!(ledger.rollout.is_none() && ledger.restarts.is_empty(), "{ledger:?}");
}

#[test]
fn unused_sources_are_forgotten() {
    let mut fixture = Fixture::new();
    let path = |number: usize| format!("environments/production/secret-{number}");
    let version = Version::Numbered { time: 20, number: 2 };
    for number in 0..3 * SOURCES_KEPT {
        let annotations = json!({"scaivault.scailabs.ai/inject": "true", "scaivault.scailabs.ai/inject-secret-a": path(number)});
        fixture.put(&json!({}), &template(annotations));
        fixture.catalog.put_version(&path(number), version, None, 100);
    }
    let last = path(3 * SOURCES_KEPT - 1);
    fixture.catalog.put_version("environments/production/unknown", version, None, 100);
    assert!(fixture.catalog.world().sources.len() <= SOURCES_KEPT + 1);
    let source = fixture.workload().deliveries[0].source;
    let sources = &fixture.catalog.world().sources;
    assert_eq!((&*sources.name(source).name, sources.observed(source).current), (&*last, Some(version)));
}

#[test]
fn sources_in_a_ledger_are_kept() {
    let mut fixture = Fixture::new();
    let spec = RotationRolloutSpec { kind: "Deployment".into(), name: "web".into() };
    let mut record = RotationRollout::new("deployment-web", spec);
    record.metadata.namespace = Some("team".into());
    let accepted = json!({"accepted": [{"kind": "ScaiVault", "name": "first", "version": "3@50"}]});
    record.status = Some(serde_json::from_value(accepted).unwrap());
    fixture.catalog.put_record(&record);
    let source =
        fixture.catalog.world.sources.find("", &SourceRef::new(SourceKind::ScaiVault, "first")).unwrap();
    for number in 0..=SOURCES_KEPT {
        fixture.catalog.world.sources.intern("", &SourceRef::new(SourceKind::ScaiVault, &number.to_string()));
    }
    fixture.put(&json!({}), &template(json!({})));
    let sources = &fixture.catalog.world().sources;
    assert!(sources.is_known(source) && sources.len() <= 3);
}

#[test]
fn a_namespace_has_so_many_secrets_followed() {
    let mut fixture = Fixture::new();
    let put = |fixture: &mut Fixture, workload: usize, count: usize| {
        let secret = |number: usize| {
            (format!("scaivault.scailabs.ai/inject-secret-s{number}"), format!("a/{workload}/{number}"))
        };
        let annotations: BTreeMap<_, _> = (0..count).map(secret).collect();
        let object = json!({
            "metadata": {"namespace": "team", "name": format!("web-{workload}"), "uid": "u"},
            "spec": {"template": template(json!(annotations))},
        });
        fixture.put_object(Kind::Deployment, &object);
    };
    let each = 64;
    let workloads = NAMESPACE_SECRETS_MAX / each;
    // The same again, too: it takes no more place.
    for _ in 0..2 {
        (0..workloads).for_each(|workload| put(&mut fixture, workload, each));
    }
    let followed = |fixture: &mut Fixture| {
        fixture.catalog.world();
        (fixture.catalog.paths().len(), fixture.catalog.not_followed())
    };
    assert_eq!(followed(&mut fixture), (NAMESPACE_SECRETS_MAX, 0));
    put(&mut fixture, workloads, 3);
    assert_eq!(followed(&mut fixture), (NAMESPACE_SECRETS_MAX, 3));
    put(&mut fixture, 0, each - 2);
    put(&mut fixture, workloads, 3);
    assert_eq!(followed(&mut fixture), (NAMESPACE_SECRETS_MAX, 1));
    let first = WorkloadKey { name: "web-1".into(), ..key() };
    fixture.catalog.remove_workload(&first);
    put(&mut fixture, workloads, 3);
    assert_eq!(followed(&mut fixture), (NAMESPACE_SECRETS_MAX - each + 1, 0));
}

impl Fixture {
    /// A Deployment that uses these Secrets.
    fn put_using(&mut self, name: &str, secrets: &[String], annotations: &Value) {
        let sources: Vec<_> = secrets.iter().map(|name| json!({"secretRef": {"name": name}})).collect();
        let template = json!({"spec": {"containers": [{"name": "app", "image": "a", "envFrom": sources}]}});
        let object = json!({
            "metadata": {"namespace": "team", "name": name, "uid": "u", "annotations": annotations},
            "spec": {"template": template},
        });
        self.put_object(Kind::Deployment, &object);
    }
}

#[test]
fn a_pattern_selects_among_the_secrets_that_pods_use() {
    for annotations in [
        json!({"scaivault.scailabs.ai/restart-secrets": "d*,x-1"}),
        json!({"secret.reloader.stakater.com/reload": "d[a-c]+,x-1,d.*"}),
    ] {
        let mut fixture = Fixture::new();
        fixture.put(&annotations, &template(json!({})));
        for number in 0..1000 {
            fixture.catalog.put_secret(&native(&format!("d-{number}"), json!({})), 0);
            fixture.catalog.put_secret(&native(&format!("x-{number}"), json!({})), 0);
        }
        fixture.catalog.put_secret(&native("db", json!({})), 0);
        fixture.check(&["secret:db", "secret:x-1"]);
        // A Secret that no workload names affects none.
        fixture.catalog.put_secret(&native("x-1000", json!({})), 0);
        let names = &fixture.catalog.changed_names["team"];
        assert!(!fixture.catalog.templates[&key()].concerns(names));
    }
}

#[test]
fn used_secrets_are_followed_first_in_any_order_of_events() {
    let used: Vec<String> = (0..255).map(|number| format!("z-{number:03}")).collect();
    let annotations = json!({"scaivault.scailabs.ai/restart-secrets": "z-*,a-3,a-2,a-1"});
    let mut all: Vec<String> =
        ["a-1", "a-2", "a-3"].map(str::to_owned).into_iter().chain(used.clone()).collect();
    for is_reversed in [false, true] {
        let mut fixture = Fixture::new();
        if is_reversed {
            all.reverse();
            fixture.put_using("web", &used, &annotations);
        }
        for name in &all {
            fixture.catalog.put_secret(&native(name, json!({})), 0);
            fixture.catalog.world();
        }
        fixture.put_using("web", &used, &annotations);
        let workload = fixture.workload();
        let sources = &fixture.catalog.world().sources;
        let delivered: BTreeSet<String> = workload
            .deliveries
            .iter()
            .map(|delivery| sources.name(delivery.source).name.to_string())
            .collect();
        let expected: BTreeSet<String> = used.iter().cloned().chain(["a-1".to_owned()]).collect();
        assert_eq!(delivered, expected);
        let first = Some(SourceRef::new(SourceKind::Secret, "a-2"));
        assert_eq!(workload.not_followed, NotFollowed { count: 2, first });
        assert_eq!(fixture.catalog.not_followed(), 2);
        fixture.decide(1_790_000_100);
        let ledger = fixture.ledger();
        assert_eq!(ledger.phase, Phase::Unknown(Doubt::NotFollowed(workload.not_followed)));
        let message = ledger.phase.message(&ledger, &fixture.catalog.world().sources);
        assert!(message.starts_with("2 secrets are not followed, such as secret:a-2: "), "{message}");
    }
}

#[test]
fn a_status_event_reads_the_state_alone() {
    let mut fixture = Fixture::new();
    let object = |generation: i64, version: &str, path: &str, asks: &str| {
        json!({
            "metadata": {"namespace": "team", "name": "web", "uid": "u", "resourceVersion": version,
                         "generation": generation, "annotations": {"scaivault.scailabs.ai/restart": asks}},
            "spec": {"paused": version == "2", "template": template(json!({"scaivault.scailabs.ai/inject-secret-a": path}))},
        })
    };
    fixture.put_object(Kind::Deployment, &object(1, "1", "a/b", "auto"));
    // The same generation with another template: it cannot be, so it shows what is read.
    fixture.put_object(Kind::Deployment, &object(1, "2", "a/c", "auto"));
    fixture.check(&["scaivault:a/b"]);
    let workload = fixture.workload();
    assert!(workload.is_paused && &*workload.resource_version == "2");
    fixture.put_object(Kind::Deployment, &object(1, "3", "a/c", "manual"));
    fixture.check(&["scaivault:a/c"]);
    assert_eq!(fixture.workload().mode, Mode::Manual);
    fixture.put_object(Kind::Deployment, &object(2, "4", "a/d", "manual"));
    fixture.check(&["scaivault:a/d"]);
    // A policy has changed.
    fixture.catalog.read_again(|namespace| namespace == &*key().namespace);
    fixture.put_object(Kind::Deployment, &object(2, "4", "a/e", "manual"));
    fixture.check(&["scaivault:a/e"]);
}

#[test]
fn the_texts_of_a_namespace_have_a_budget() {
    let mut fixture = Fixture::new();
    let all = json!({"scaivault.scailabs.ai/restart-secrets": "all"});
    let secrets = |workload: usize| -> Vec<String> {
        (0..200).map(|number| format!("{workload}-{number:0>240}")).collect()
    };
    let fitting = NAMESPACE_TEXT_MAX / (200 * 242);
    for workload in 0..fitting + 5 {
        fixture.put_using(&format!("web-{workload}"), &secrets(workload), &all);
    }
    assert!(fixture.catalog.texts["team"] <= NAMESPACE_TEXT_MAX);
    let last = WorkloadKey { name: format!("web-{}", fitting + 4).as_str().into(), ..key() };
    let workload = fixture.catalog.world().workloads[&last].clone();
    assert!(workload.deliveries.is_empty() && workload.problem.contains("too many Secrets"), "{workload:?}");
    assert_eq!(workload.not_followed.count, 200);
    // Other namespaces have their own.
    let first = WorkloadKey { name: "web-0".into(), ..key() };
    assert_eq!(fixture.catalog.world().workloads[&first].deliveries.len(), 200);
    fixture.catalog.remove_workload(&first);
    fixture.put_using(&last.name, &secrets(fitting + 4), &all);
    assert_eq!(fixture.catalog.world().workloads[&last].deliveries.len(), 200);
    for workload in 0..fitting + 5 {
        let name = format!("web-{workload}").as_str().into();
        fixture.catalog.remove_workload(&WorkloadKey { name, ..key() });
    }
    assert!(fixture.catalog.texts.is_empty());
}

#[test]
fn annotations_that_are_too_long_are_not_kept() {
    let mut fixture = Fixture::new();
    let long = "x".repeat(100_000);
    let marked = template(json!({MARKER: long, "scaivault.scailabs.ai/restart-secrets": long}));
    fixture.put(&json!({}), &marked);
    let Template { marker, text_bytes, shared, .. } = &*fixture.catalog.templates[&key()];
    assert_eq!((marker.as_ref(), shared.bytes()), (Some(&MarkedVersions::parse(&long)), 0));
    assert!(*text_bytes < 1000, "{text_bytes}");
    assert!(
        fixture.workload().problem.contains("have 100037 bytes; allowed: 32768"),
        "{:?}",
        fixture.workload().problem
    );
    // Nor is it known what a Rollout with this template is to do.
    let rollout = |name: &str| {
        json!({
            "metadata": {"namespace": "team", "name": name, "uid": "r"},
            "spec": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
        })
    };
    fixture.put_object(Kind::Rollout, &rollout("web"));
    let rollout_key = WorkloadKey { kind: Kind::Rollout, ..key() };
    let problem = &fixture.catalog.world().workloads[&rollout_key].problem;
    assert!(problem.ends_with("Deployment team/web are too long"), "{problem}");
}

#[test]
fn so_many_rollouts_use_the_template_of_a_workload() {
    let mut fixture = Fixture::new();
    let rollouts = 12;
    for number in 0..rollouts {
        let object = json!({
            "metadata": {"namespace": "team", "name": format!("web-{number}"), "uid": "r"},
            "spec": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
        });
        fixture.put_object(Kind::Rollout, &object);
        fixture.put_object(Kind::Rollout, &object);
    }
    fixture.put(&json!({}), &template(json!({"scaivault.scailabs.ai/inject-secret-a": "a/b"})));
    let world = fixture.catalog.world();
    let with = world
        .workloads
        .iter()
        .filter(|(key, workload)| key.kind == Kind::Rollout && !workload.deliveries.is_empty());
    assert_eq!(with.count(), 8);
    for number in 0..rollouts {
        let name = format!("web-{number}").as_str().into();
        fixture.catalog.remove_workload(&WorkloadKey { kind: Kind::Rollout, name, ..key() });
    }
    assert!(fixture.catalog.references.is_empty());
}

#[test]
fn a_secret_without_a_version_is_not_called_current() {
    let mut fixture = Fixture::new();
    fixture.put(&json!({}), &template(json!({"scaivault.scailabs.ai/inject-secret-a": "a/b"})));
    fixture.decide(1_790_000_100);
    assert_eq!(fixture.ledger().phase, Phase::Current, "it was not asked for yet");
    fixture.catalog.put_unreadable("a/b");
    assert!(fixture.catalog.is_changed());
    fixture.decide(1_790_000_101);
    let ledger = fixture.ledger();
    let source = fixture.workload().deliveries[0].source;
    assert_eq!(ledger.phase, Phase::Unknown(Doubt::NoVersion(source)));
    let status = crate::RotationRolloutStatus::new(&ledger, &fixture.catalog.world().sources, 0, &[]);
    let condition = &status.conditions[0];
    assert_eq!((&*condition.status, &*condition.reason), ("Unknown", "VersionUnknown"));
    assert!(condition.message.starts_with("the version of scaivault:a/b is not known"), "{condition:?}");
    assert_eq!(fixture.catalog.workload_with("a/b"), Some(&key()));
    fixture.catalog.put_version("a/b", Version::Numbered { time: 5, number: 1 }, None, 1_790_000_102);
    fixture.decide(1_790_000_102);
    assert_eq!(fixture.ledger().phase, Phase::Current);
    // An outage does not remove the known version.
    fixture.catalog.put_unreadable("a/b");
    assert!(!fixture.catalog.is_changed());
    // A missing native Secret.
    fixture.put(&json!({"scaivault.scailabs.ai/restart-secrets": "all"}), &template(json!({})));
    fixture.decide(1_790_000_103);
    let ledger = fixture.ledger();
    let message = ledger.phase.message(&ledger, &fixture.catalog.world().sources);
    assert!(
        message.starts_with("the version of secret:db is not known: there is no such Secret"),
        "{message}"
    );
}

#[test]
fn without_scaivault_its_secrets_are_not_followed() {
    let mut fixture = Fixture::new();
    fixture.catalog = Catalog::new(Defaults { without_vault: true, ..Defaults::default() });
    fixture.put(&json!({}), &template(json!({"scaivault.scailabs.ai/inject-secret-a": "a/b"})));
    fixture.check(&[]);
}
