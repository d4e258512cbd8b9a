//! The requests that ScaiVault's events and the state of an earlier process save.

use super::*;

impl Node {
    /// Rotates the key of Stripe.
    fn rotate(&self, key: &str) {
        let data = json!({"key": key}).as_object().unwrap().clone();
        self.vault.rotate(&"app/stripe".parse().unwrap(), data);
    }

    /// Mounts until the volume has this key of Stripe, within the refresh interval.
    async fn mount_until(&self, attributes: &Map<String, Value>, key: &str) -> MountResponse {
        eventually(Duration::from_secs(50), key, async || {
            let response = self.mount(attributes.clone()).await.unwrap();
            (contents(&response, "stripe/key") == key).then_some(response)
        })
        .await
    }

    async fn connected(&self, identities: usize) {
        until(|| self.provider.0.events.connected() == identities).await;
    }

    fn covers(&self, path: &str) -> bool {
        let attributes = Value::from(self.attributes(("web-0", "u-0"), OBJECTS)).to_string();
        let attributes = Attributes::read(&attributes).ok().unwrap();
        let target = self.provider.0.config.login_target(&attributes).unwrap();
        let identity = Identity::new(&attributes.pod, &target);
        self.provider.0.events.since(&identity, &path.parse().unwrap()).is_some()
    }
}

#[tokio::test]
async fn a_rotation_is_in_the_next_republish() {
    let node = Node::new().await;
    let attributes = node.attributes(("web-0", "u-0"), OBJECTS);
    node.mount(attributes.clone()).await.unwrap();
    node.connected(1).await;
    until(|| node.covers("app/stripe")).await;
    for key in ["second-swordfish", "third-swordfish"] {
        node.rotate(key);
        node.mount_until(&attributes, key).await;
    }
    // A rotation is reported twice, also as an update. The database secret has not changed.
    node.check_requests(1, 4);
    assert_eq!(node.vault.requests(Route::Subscribe), 1);
}

#[tokio::test]
async fn pods_of_one_identity_share_a_subscription() {
    let node = Node::new().await;
    for pod in ["u-0", "u-1", "u-2"] {
        node.mount(node.attributes(("web-0", pod), OBJECTS)).await.unwrap();
    }
    node.connected(1).await;
    assert_eq!((node.vault.requests(Route::Subscribe), node.vault.subscriptions()), (1, 1));
}

#[tokio::test]
async fn a_secret_of_a_later_volume_is_covered_too() {
    let node = Node::new().await;
    node.mount(node.attributes(("web-0", "u-0"), "[{path: app/database, file: a}]")).await.unwrap();
    until(|| node.covers("app/database")).await;
    let attributes = node.attributes(("web-1", "u-1"), OBJECTS);
    node.mount(attributes.clone()).await.unwrap();
    until(|| node.covers("app/stripe")).await;
    assert_eq!(
        (node.vault.requests(Route::Subscribe), node.vault.requests(Route::ChangeSubscription)),
        (1, 1)
    );
    node.rotate("second-swordfish");
    node.mount_until(&attributes, "second-swordfish").await;
}

#[tokio::test]
async fn a_server_that_changes_no_subscription_gets_a_new_one() {
    let node = Node::new().await;
    node.vault.add_fault(Fault::always(Route::ChangeSubscription, "invalid_request"));
    node.mount(node.attributes(("web-0", "u-0"), "[{path: app/database, file: a}]")).await.unwrap();
    until(|| node.covers("app/database")).await;
    node.mount_objects(OBJECTS).await.unwrap();
    until(|| node.covers("app/stripe") && node.covers("app/database")).await;
    until(|| node.vault.subscriptions() == 1).await;
    assert_eq!(node.vault.requests(Route::Subscribe), 2);
}

#[tokio::test]
async fn without_events_mounts_still_work() {
    let node = Node::new().await;
    node.vault.add_fault(Fault::always(Route::Subscribe, "insufficient_scope"));
    let attributes = node.attributes(("web-0", "u-0"), OBJECTS);
    node.mount(attributes.clone()).await.unwrap();
    node.vault.requested(Route::Subscribe, 1).await;
    node.mount(attributes).await.unwrap();
    node.check_requests(1, 2);
    assert!(!node.covers("app/stripe"));
}

#[tokio::test]
async fn a_subscription_ends_with_the_last_pod() {
    let node = Node::new().await;
    for pod in ["u-0", "u-1"] {
        node.mount(node.attributes(("web-0", pod), OBJECTS)).await.unwrap();
    }
    node.connected(1).await;
    node.resources().end_pod("u-0");
    assert_eq!(node.provider.0.events.connected(), 1);
    node.resources().end_pod("u-1");
    until(|| node.vault.subscriptions() == 0).await;
    assert_eq!(node.vault.requests(Route::Unsubscribe), 1);
}

#[tokio::test]
async fn the_end_of_the_provider_deletes_subscriptions() {
    let node = Node::new().await;
    node.mount_objects(OBJECTS).await.unwrap();
    node.connected(1).await;
    node.provider.stop().await;
    assert_eq!(node.vault.subscriptions(), 0);
    // A mount that ends later must not create another subscription.
    node.mount(node.attributes(("web-1", "u-1"), OBJECTS)).await.unwrap();
    assert_eq!((node.provider.0.events.count(), node.vault.requests(Route::Subscribe)), (0, 1));
}

#[tokio::test]
async fn a_provider_that_was_killed_logs_in_for_no_pod_again() {
    let node = Node::new().await;
    let keeping = tokio::spawn(node.provider.clone().keep_session());
    let pods = [("web-0", "u-0"), ("web-1", "u-1")].map(|pod| node.attributes(pod, OBJECTS));
    for attributes in &pods {
        node.mount(attributes.clone()).await.unwrap();
    }
    node.connected(1).await;
    let file = node.dir.path().join("logins.json");
    let is_kept = || {
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        kept.contains("u-0") && kept.contains("u-1") && kept.contains("sub_")
    };
    until(is_kept).await;
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    keeping.abort();
    let restarted = node.restarted();
    for attributes in &pods {
        restarted.mount(Request::new(request(attributes.clone()))).await.unwrap();
    }
    assert_eq!((node.vault.requests(Route::Exchange), node.vault.subscriptions()), (2, 1));
    // Another token of the same pod needs another login.
    restarted.mount(Request::new(request(node.attributes(("web-0", "u-0"), OBJECTS)))).await.unwrap();
    assert_eq!(node.vault.requests(Route::Exchange), 3);
}

#[tokio::test]
async fn a_broken_file_of_logins_counts_as_missing() {
    let node = Node::new().await;
    for text in ["", "{", "[]", r#"{"logins": [{}], "subscriptions": []}"#] {
        std::fs::write(node.dir.path().join("logins.json"), text).unwrap();
        let restarted = node.restarted();
        restarted.mount(Request::new(request(node.attributes(("web-0", "u-0"), OBJECTS)))).await.unwrap();
    }
    assert_eq!(node.vault.requests(Route::Exchange), 4);
}
