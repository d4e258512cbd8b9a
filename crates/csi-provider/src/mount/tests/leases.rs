//! The number of leases of dynamic credentials, and their end.

use std::collections::BTreeMap;

use super::*;
use crate::{
    leases::{LeaseKey, StoredLeases},
    serve::stop_listening,
};

pub(super) const DYNAMIC: &str = "[{engine: postgres, role: readonly, ttl: 30m, file: db.json}]";

impl Node {
    /// Starts the actions that are due after this time.
    fn due_after(&self, later: Duration) {
        self.provider.leases().unwrap().start_due(Instant::now() + later, SystemTime::now() + later);
    }

    fn state_file(&self) -> PathBuf {
        self.dir.path().join("leases.json")
    }

    /// Changes the entries of the state file.
    fn edit_state(&self, edit: impl FnOnce(&mut Vec<Value>)) {
        let mut entries = serde_json::from_slice(&std::fs::read(self.state_file()).unwrap()).unwrap();
        edit(&mut entries);
        std::fs::write(self.state_file(), Value::from(entries).to_string()).unwrap();
    }

    /// Moves the only lease to two thirds of its term and makes it not renewable.
    fn age_lease(&self) {
        self.edit_state(|entries| {
            let lease = &mut entries[0]["lease"];
            let earlier = lease["issued"].as_u64().unwrap() - 1500;
            *lease = json!({
                "id": lease["id"], "credentials": lease["credentials"], "issued": earlier, "renewed": earlier,
                "ends": earlier + 1800, "last_end": null, "is_renewable": false,
            });
        });
    }

    /// Makes the state file unwritable, also for root.
    fn block_state(&self) -> PathBuf {
        let blocked = self.dir.path().join("leases.new");
        std::fs::create_dir(&blocked).unwrap();
        blocked
    }

    fn generated(&self) -> u64 {
        self.vault.requests(Route::Generate)
    }
}

/// An object with dynamic credentials for this number of minutes. Different terms are different credentials.
fn lasting(minutes: usize) -> String {
    format!("{{engine: postgres, role: readonly, ttl: {minutes}m, file: f-{minutes}}}")
}

fn lasting_each(minutes: std::ops::Range<usize>) -> String {
    format!("[{}]", minutes.map(lasting).collect::<Vec<_>>().join(", "))
}

/// A mount of another volume of the pod.
fn volume(attributes: Map<String, Value>, name: &str) -> MountRequest {
    MountRequest { target_path: name.to_owned(), ..request(attributes) }
}

async fn mount_by(provider: &Provider, attributes: Map<String, Value>) -> Result<MountResponse, Status> {
    provider.mount(Request::new(request(attributes))).await.map(Response::into_inner)
}

#[tokio::test]
async fn one_lease_for_each_pod() {
    let node = Node::new().await;
    let attributes = node.attributes(("web-0", "u-0"), DYNAMIC);
    let mounts: Vec<_> = (0..16).map(|_| node.mount(attributes.clone())).collect();
    let answers = stream::iter(mounts).buffer_unordered(16).collect::<Vec<_>>().await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap() == first));
    assert!(contents(first, "db.json").contains("\"username\":"));
    let other = node.mount(node.attributes(("web-1", "u-1"), DYNAMIC)).await.unwrap();
    assert_ne!(contents(&other, "db.json"), contents(first, "db.json"));
    assert_eq!((node.vault.live_leases(), node.vault.requests(Route::Generate)), (2, 2));
}

#[tokio::test]
async fn the_leases_of_a_deleted_pod_are_revoked() {
    let node = Node::new().await;
    let leases = node.provider.leases().unwrap();
    for pod in [("web-0", "u-0"), ("web-1", "u-1"), ("web-2", "u-2")] {
        node.mount(node.attributes(pod, DYNAMIC)).await.unwrap();
    }
    leases.end_pod("u-0");
    node.due_after(Duration::ZERO);
    node.vault.requested(Route::Revoke, 1).await;
    leases.keep_pods(&["u-2".to_owned()].into());
    node.due_after(Duration::ZERO);
    node.vault.requested(Route::Revoke, 2).await;
    until(|| node.vault.live_leases() == 1 && leases.count() == 1).await;
}

#[tokio::test]
async fn a_restart_generates_nothing_twice() {
    let node = Node::new().await;
    let attributes = node.attributes(("web-0", "u-0"), DYNAMIC);
    let first = node.mount(attributes.clone()).await.unwrap();
    node.mount(node.attributes(("web-1", "u-1"), DYNAMIC)).await.unwrap();
    let restarted = node.restarted();
    assert_eq!(mount_by(&restarted, attributes).await.unwrap(), first);
    assert_eq!(node.vault.requests(Route::Generate), 2);
    // Pods that were deleted meanwhile.
    let leases = restarted.leases().unwrap();
    leases.keep_pods(&BTreeSet::new());
    leases.start_due(Instant::now(), SystemTime::now());
    until(|| node.vault.live_leases() == 0).await;
}

#[tokio::test]
async fn a_lease_that_is_due_is_renewed_once() {
    let node = Node::new().await;
    let first = node.mount_objects(DYNAMIC).await.unwrap();
    // The term is 30 min: nothing is due before two thirds of it.
    node.due_after(Duration::from_mins(10));
    assert_eq!(node.vault.requests(Route::Renew), 0);
    node.due_after(Duration::from_mins(21));
    node.due_after(Duration::from_mins(21));
    node.vault.requested(Route::Renew, 1).await;
    assert_eq!(node.mount_objects(DYNAMIC).await.unwrap(), first);
    assert_eq!((node.vault.requests(Route::Renew), node.vault.requests(Route::Generate)), (1, 1));
}

#[tokio::test]
async fn a_generation_that_fails_is_not_repeated_at_once() {
    let node = Node::new().await;
    node.vault.add_fault(Fault::always(Route::Generate, "internal_error"));
    for _ in 0..5 {
        let status = node.mount_objects(DYNAMIC).await.unwrap_err();
        assert!(status.message().contains("engine=postgres role=readonly"), "{status}");
        assert!(!is_harmful(status.code()), "{status}");
    }
    assert_eq!(node.vault.requests(Route::Generate), 1);
}

#[tokio::test]
async fn leases_follow_the_pods_of_the_node() {
    let node = Node::new().await;
    for pod in [("web-0", "u-0"), ("web-1", "u-1"), ("web-2", "u-2")] {
        node.mount(node.attributes(pod, DYNAMIC)).await.unwrap();
    }
    let leases = node.provider.leases().unwrap();
    // A pod that was deleted before the list, one deleted during the watch, and one that exists.
    let mut api = ApiServer::start().await;
    let cluster = Cluster::new("node-a".parse().unwrap(), false, node.resources());
    let following = cluster.follow(&api.client());
    let pod = |uid: &str| json!({"metadata": {"namespace": "billing", "name": format!("pod-of-{uid}"), "uid": uid}});
    let listed = json!({"metadata": {"resourceVersion": "7"}, "items": [pod("u-1"), pod("u-2")]});
    api.answer("/api/v1/pods?&fieldSelector=spec.nodeName%3Dnode-a&limit=500", &listed).await;
    let watch =
        api.watch("/api/v1/pods?&watch=true&timeoutSeconds=290&fieldSelector=spec.nodeName%3Dnode-a").await;
    watch.send("DELETED", &pod("u-1")).await;
    let renewing = tokio::spawn(leases.clone().run());
    until(|| node.vault.live_leases() == 1 && leases.count() == 1).await;
    let last = node.mount(node.attributes(("web-2", "u-2"), DYNAMIC)).await.unwrap();
    assert_eq!((last.files.len(), node.generated()), (1, 3));
    // The kubelet may continue to publish the volumes of a pod that was deleted by force.
    for pod in [("web-0", "u-0"), ("web-1", "u-1")] {
        eventually(LIMIT, "the end of its leases", async || {
            let status = node.mount(node.attributes_of_unknown(pod, DYNAMIC)).await.unwrap_err();
            assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
            // Before that, its leases are being revoked.
            status.message().contains("is not known to the provider").then_some(())
        })
        .await;
    }
    watch.send("ADDED", &pod("u-3")).await;
    eventually(LIMIT, "the new pod", async || {
        node.mount(node.attributes_of_unknown(("web-3", "u-3"), DYNAMIC)).await.ok()
    })
    .await;
    assert_eq!((node.vault.live_leases(), node.generated()), (2, 4));
    drop((following, watch));
    renewing.abort();
}

#[tokio::test]
async fn a_lease_waits_until_its_pod_is_known() {
    let patient = Deadlines { facts: Duration::from_mins(1), mount: Duration::from_mins(1), ..DEADLINES };
    let node = Node::with_deadlines(SEED, patient).await;
    let attributes = node.attributes_of_unknown(("web-0", "u-0"), DYNAMIC);
    let leases = node.provider.leases().unwrap();
    let known = async {
        until(|| leases.waiting() > 0).await;
        leases.start_pod("u-0");
    };
    let (answer, ()) = tokio::join!(node.mount(attributes), known);
    assert_eq!((answer.unwrap().files.len(), node.generated()), (1, 1));
}

#[tokio::test]
async fn a_lease_that_is_not_saved_is_not_handed_out() {
    let node = Node::new().await;
    let blocked = node.block_state();
    let attributes = node.attributes(("web-0", "u-0"), DYNAMIC);
    for _ in 0..3 {
        let status = node.mount(attributes.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status}");
        assert!(status.message().contains("cannot keep leases"), "{status}");
    }
    std::fs::remove_dir(blocked).unwrap();
    let first = node.mount(attributes.clone()).await.unwrap();
    assert_eq!(mount_by(&node.restarted(), attributes).await.unwrap(), first);
    assert_eq!(node.generated(), 1);
}

#[tokio::test]
async fn a_full_disk_does_not_hide_usable_credentials() {
    let node = Node::new().await;
    let attributes = node.attributes(("web-0", "u-0"), DYNAMIC);
    let first = node.mount(attributes.clone()).await.unwrap();
    node.age_lease();
    let restarted = node.restarted();
    node.vault.add_fault(Fault::always(Route::Generate, "internal_error"));
    node.block_state();
    assert_eq!(mount_by(&restarted, attributes).await.unwrap(), first);
    assert_eq!(node.generated(), 2);
}

#[tokio::test]
async fn a_full_disk_keeps_the_old_lease_in_use() {
    let node = Node::new().await;
    let attributes = node.attributes(("web-0", "u-0"), DYNAMIC);
    let first = node.mount(attributes.clone()).await.unwrap();
    node.age_lease();
    let restarted = node.restarted();
    let blocked = node.block_state();
    for _ in 0..2 {
        assert_eq!(mount_by(&restarted, attributes.clone()).await.unwrap(), first);
    }
    std::fs::remove_dir(blocked).unwrap();
    assert_ne!(mount_by(&restarted, attributes).await.unwrap(), first);
    assert_eq!((node.generated(), node.vault.live_leases()), (2, 2));
}

#[tokio::test]
async fn a_refused_generation_keeps_its_reason() {
    let node = Node::new().await;
    node.vault.add_fault(Fault::always(Route::Generate, "access_denied"));
    for _ in 0..2 {
        let status = node.mount_objects(DYNAMIC).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        assert!(status.message().contains("policy in ScaiVault"), "{status}");
        assert!(!status.message().contains("database user"), "{status}");
    }
    node.vault.clear_faults();
    // The failure has created no user, so the backoff does not grow.
    eventually(LIMIT, "the end of the pause", async || node.mount_objects(DYNAMIC).await.ok()).await;
    node.vault.add_fault(Fault::always(Route::Generate, "internal_error"));
    for note in ["", "it may have created a database user"] {
        let status = node.mount(node.attributes(("web-1", "u-1"), DYNAMIC)).await.unwrap_err();
        assert!(status.message().contains("internal_error") && status.message().contains(note), "{status}");
    }
}

#[tokio::test]
async fn all_credentials_of_volumes_can_change() {
    let node = Node::new().await;
    let mount = async |name: &str, minutes| {
        let attributes = node.attributes(("web-0", "u-0"), &lasting_each(minutes));
        node.driver.clone().mount(volume(attributes, name)).await.map(drop)
    };
    mount("a", 30..46).await.unwrap();
    mount("b", 30..46).await.unwrap();
    // The second volume still requests the previous credentials.
    let status = mount("a", 50..66).await.unwrap_err();
    assert!(status.message().contains("ask for 32 dynamic credentials; allowed: 16"), "{status}");
    mount("b", 50..66).await.unwrap();
    assert_eq!(node.generated(), 32);
    mount("a", 50..66).await.unwrap();
    let status = mount("a", 70..86).await.unwrap_err();
    assert_eq!((status.code(), node.generated()), (Code::InvalidArgument, 32), "{status}");
    let status = mount("b", 70..86).await.unwrap_err();
    assert!(status.message().contains("former ones that are not revoked yet"), "{status}");
    node.due_after(Duration::from_mins(11));
    until(|| node.vault.live_leases() == 16).await;
}

#[tokio::test]
async fn the_leases_of_a_pod_are_bounded() {
    let node = Node::new().await;
    let mut attributes = node.attributes(("web-0", "u-0"), &lasting_each(30..46));
    node.mount(attributes.clone()).await.unwrap();
    // Leases of another volume count, including attributes that the pod's owner can change at any time.
    let refused = async |objects: &str, expected: &str| {
        let attributes = node.attributes(("web-0", "u-0"), objects);
        let status = node.driver.clone().mount(volume(attributes, "b")).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(expected), "{status}");
    };
    refused(&lasting_each(46..48), "billing/web-0 ask for 18 dynamic credentials; allowed: 16").await;
    refused(&lasting_each(30..47), "lists 17 dynamic credentials; allowed: 16").await;
    refused("[{engine: postgres, role: readonly, ttl: 9s, file: a}]", "\"9s\" is too short").await;
    assert_eq!(node.generated(), 16);
    attributes.insert("objects".to_owned(), lasting_each(31..47).into());
    node.mount(attributes).await.unwrap();
    node.mount(node.attributes(("web-1", "u-1"), &lasting_each(46..48))).await.unwrap();
}

#[tokio::test]
async fn the_leases_of_a_node_are_bounded() {
    let node = Node::new().await;
    let attributes = node.attributes(("web-0", "u-0"), DYNAMIC);
    let read = Attributes::read(&Value::from(attributes.clone()).to_string()).ok().unwrap();
    let target = node.provider.0.config.login_target(&read).unwrap();
    let leases = node.provider.leases().unwrap();
    let restore = |count: usize, namespace: &str| {
        let pod = Pod {
            namespace: namespace.parse().unwrap(),
            uid: format!("u-{}", count + 1).parse().unwrap(),
            ..read.pod.clone()
        };
        let dynamic = "engine=postgres role=readonly".parse().unwrap();
        let kept = StoredLeases { lease: None, retired: BTreeMap::default(), volumes: BTreeSet::new() };
        let client = node.provider.0.logins.restored(&target, None);
        leases.restore(LeaseKey { pod, target: target.clone(), dynamic }, client, kept);
    };
    (0..1024).for_each(|count| restore(count, "billing"));
    let status = node.mount(attributes.clone()).await.unwrap_err();
    assert!(status.message().contains("namespace billing on this node have 1024"), "{status}");
    (1023..2048).for_each(|count| restore(count, "shop"));
    leases.end_pod("u-1");
    node.due_after(Duration::ZERO);
    let status = node.mount(attributes.clone()).await.unwrap_err();
    assert!(status.message().contains("have 2048 dynamic credentials, which is the limit"), "{status}");
    leases.end_pod("u-2");
    node.due_after(Duration::ZERO);
    node.mount(attributes).await.unwrap();
}

#[tokio::test]
async fn leases_without_a_volume_are_revoked() {
    let node = Node::new().await;
    let mount = async |name: &str, minutes| {
        let attributes = node.attributes(("web-0", "u-0"), &lasting_each(minutes));
        node.driver.clone().mount(volume(attributes, name)).await.map(drop)
    };
    mount("a", 30..32).await.unwrap();
    mount("b", 31..33).await.unwrap();
    // Without the driver's rotation, no call requests the credentials again.
    node.due_after(Duration::from_hours(1) / 4);
    assert_eq!((node.vault.requests(Route::Revoke), node.vault.live_leases()), (0, 3));
    mount("a", 40..41).await.unwrap();
    node.vault.add_fault(Fault::always(Route::Generate, "internal_error"));
    mount("b", 50..51).await.unwrap_err();
    node.due_after(Duration::from_mins(9));
    assert_eq!((node.vault.requests(Route::Revoke), node.vault.live_leases()), (0, 4));
    // The lease of 30 minutes, because a volume has the files of the others.
    node.due_after(Duration::from_mins(11));
    until(|| node.vault.live_leases() == 3).await;
    // The same after a restart.
    node.provider.save_leases().await;
    let restarted = node.restarted();
    let leases = restarted.leases().unwrap();
    leases.start_due(Instant::now() + Duration::from_mins(11), SystemTime::now());
    assert_eq!((leases.count(), node.vault.live_leases()), (3, 3));
}

#[tokio::test]
async fn a_generation_is_awaited_at_the_end() {
    let node = Node::new().await;
    node.vault.add_fault(Fault::on(Route::Generate, Effect::Late { milliseconds: 1500 }));
    let attributes = node.attributes(("web-0", "u-0"), DYNAMIC);
    let ending = async {
        node.vault.requested(Route::Generate, 1).await;
        node.provider.leases().unwrap().finish_generations().await;
        let status = node.mount(node.attributes(("web-1", "u-1"), DYNAMIC)).await.unwrap_err();
        assert!(status.message().contains("the provider is stopping"), "{status}");
        node.restarted()
    };
    let (_, restarted) = tokio::join!(node.mount(attributes.clone()), ending);
    mount_by(&restarted, attributes).await.unwrap();
    assert_eq!((node.generated(), node.vault.live_leases()), (1, 1));
}

#[tokio::test]
async fn the_socket_stays_while_generations_end() {
    let node = Node::new().await;
    node.vault.add_fault(Fault::on(Route::Generate, Effect::Late { milliseconds: 1500 }));
    let path = node.dir.path().join("other.sock");
    let (socket, _incoming) = BoundSocket::bind(&path).unwrap();
    let leases = node.provider.leases().unwrap();
    let ending = async {
        node.vault.requested(Route::Generate, 1).await;
        let gone = async {
            until(|| !path.exists()).await;
            assert_eq!(leases.count(), 1, "the socket was removed before the lease was generated");
        };
        tokio::join!(stop_listening(&node.provider, vec![socket]), gone);
    };
    let (mounted, ()) = tokio::join!(node.mount_objects(DYNAMIC), ending);
    mounted.unwrap();
}

#[tokio::test]
async fn saves_at_the_same_time_share_a_write() {
    let node = Node::new().await;
    let leases = node.provider.leases().unwrap();
    let before = leases.writes();
    let blocked = leases.block_writes().await;
    let saves = futures_util::future::join_all((0..100).map(|_| leases.save()));
    let (results, ()) = tokio::join!(saves, async { drop(blocked) });
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(leases.writes(), before + 1);
    let mount = async |name: &str| {
        let attributes = node.attributes(("web-0", "u-0"), DYNAMIC);
        node.driver.clone().mount(volume(attributes, name)).await.unwrap();
    };
    mount("a").await;
    assert!(std::fs::read_to_string(node.state_file()).unwrap().contains(r#""volumes":["a"]"#));
    let before = leases.writes();
    for name in ["a", "b", "c"] {
        mount(name).await;
    }
    assert_eq!(leases.writes(), before, "a mount without a new lease writes");
    node.due_after(Duration::ZERO);
    until(|| std::fs::read_to_string(node.state_file()).unwrap().contains(r#""volumes":["a","b","c"]"#))
        .await;
}

#[tokio::test]
async fn entries_that_cannot_be_restored_are_set_aside() {
    let node = Node::new().await;
    for pod in [("web-0", "u-0"), ("web-1", "u-1"), ("web-2", "u-2")] {
        node.mount(node.attributes(pod, DYNAMIC)).await.unwrap();
    }
    node.edit_state(|entries| {
        entries[1]["url"] = json!("https://left.example");
        entries[2]["lease"]["credentials"] = json!("not JSON");
    });
    let bad = node.dir.path().join("leases.json.bad");
    let before = std::fs::read(node.state_file()).unwrap();
    let restarted = node.restarted();
    assert_eq!((restarted.leases().unwrap().count(), std::fs::read(&bad).unwrap()), (1, before.clone()));
    let attributes = node.attributes(("web-1", "u-1"), DYNAMIC);
    restarted.leases().unwrap().start_pod("u-1");
    mount_by(&restarted, attributes).await.unwrap();
    assert_eq!(std::fs::read(&bad).unwrap(), before, "the next file replaces the other one alone");
    std::fs::write(node.state_file(), "[{").unwrap();
    for _ in 0..3 {
        assert_eq!(node.restarted().leases().unwrap().count(), 0);
    }
    // Earlier leases may not be revoked yet. The same file is only kept once.
    let names: Vec<_> = ["leases.json.bad", "leases.json.bad.2", "leases.json.bad.3"]
        .map(|name| node.dir.path().join(name))
        .into();
    assert_eq!(std::fs::read(&bad).unwrap(), before);
    assert_eq!((std::fs::read(&names[1]).unwrap(), names[2].exists()), (b"[{".to_vec(), false));
}

#[tokio::test]
async fn leases_are_deleted_when_they_are_switched_off() {
    let node = Node::new().await;
    node.mount_objects(DYNAMIC).await.unwrap();
    for (name, text) in [("leases.json.bad", "[]"), ("leases.json.bad.2", "[{"), ("leases.json", "[{")] {
        std::fs::write(node.dir.path().join(name), text).unwrap();
    }
    StateFile::new(node.dir.path()).discard();
    let left: Vec<_> =
        std::fs::read_dir(node.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("leases")), "{left:?}");
    StateFile::new(node.dir.path()).discard();
}

#[tokio::test]
async fn revoked_leases_leave_the_state_file() {
    let node = Node::new().await;
    for pod in [("web-0", "u-0"), ("web-1", "u-1")] {
        node.mount(node.attributes(pod, DYNAMIC)).await.unwrap();
    }
    node.provider.leases().unwrap().end_pod("u-1");
    let are_saved = || {
        node.due_after(Duration::ZERO);
        let text = std::fs::read_to_string(node.state_file()).unwrap();
        text.contains("\"u-0\"") && !text.contains("\"u-1\"")
    };
    until(are_saved).await;
}
