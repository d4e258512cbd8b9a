//! Attacks by a tenant who writes classes and pods, and by a process that reaches the socket.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::{io::AsyncWriteExt as _, net::UnixStream};

use super::*;

const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";

/// A limit that is long enough for a machine under load.
const PATIENT: Deadlines = Deadlines {
    mount: Duration::from_mins(5),
    turn: Duration::from_mins(4),
    repeat: Duration::from_mins(4),
    ..DEADLINES
};

impl Node {
    /// A mount with this text instead of the driver's tokens.
    async fn mount_with_tokens(&self, tokens: String) -> Status {
        let mut attributes = self.attributes(("web-0", "u-0"), OBJECTS);
        attributes.insert(TOKENS.to_owned(), tokens.into());
        self.mount(attributes).await.unwrap_err()
    }

    /// Asserts that the next mount succeeds.
    async fn check_alive(&self) {
        self.mount_objects(OBJECTS).await.unwrap();
    }
}

fn tokens(token: &str) -> String {
    json!({"scaivault": {"token": token}}).to_string()
}

#[tokio::test]
async fn tokens_that_are_not_the_pods_are_refused_unsent() {
    let node = Node::new().await;
    let now = jiff::Timestamp::now();
    let mint = |namespace, account, audience, pod| {
        node.issuer.mint_for_pod(namespace, account, audience, now, pod).unwrap()
    };
    let own = ("web-0", "u-0");
    let unsigned = {
        let genuine = mint("billing", "web", "scaivault", own);
        let payload = genuine.split('.').nth(1).unwrap().to_owned();
        format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#))
    };
    for token in [
        mint("billing", "web", "vault", own),
        mint("billing", "web", "https://kubernetes.default.svc", own),
        mint("billing", "admin", "scaivault", own),
        mint("other", "web", "scaivault", own),
        mint("billing", "web", "scaivault", ("web-0", "u-1")),
        mint("billing", "web", "scaivault", ("web-1", "u-0")),
        "x".repeat(20_000),
        "a.b.c\r\nX-Injected: 1".to_owned(),
    ] {
        let status = node.mount_with_tokens(tokens(&token)).await;
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    }
    node.check_requests(0, 0);
    // Only ScaiVault can verify the signature.
    assert_eq!(node.mount_with_tokens(tokens(&unsigned)).await.code(), Code::Unauthenticated);
    node.check_requests(1, 0);
    assert_eq!(node.provider.0.logins.count(), 0, "a refused login takes no place");
}

#[tokio::test]
async fn nested_tokens_are_refused() {
    let node = Node::new().await;
    let deep = "[".repeat(100_000);
    let closed = format!("{deep}{}", "]".repeat(100_000));
    for tokens in [deep, format!("{{\"scaivault\": {closed}}}"), format!("{{\"other\": {closed}}}")] {
        assert_eq!(node.mount_with_tokens(tokens).await.code(), Code::Unauthenticated);
    }
    node.check_alive().await;
}

#[tokio::test]
async fn no_file_leaves_the_volume() {
    let node = Node::new().await;
    for file in ["../a", "/etc/passwd", "a/../../b", "..data", "..data/a", "a/..", ".", "", "a//b", "a\u{0}b"]
    {
        let objects = json!([{"path": "app/stripe", "file": file, "field": "key"}]).to_string();
        let status = node.mount_objects(&objects).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{file:?}: {status}");
    }
    node.check_requests(0, 0);
}

#[tokio::test]
async fn yaml_that_grows_is_refused() {
    let node = Node::new().await;
    let mut laughs = String::from("- &a {path: app/stripe, file: a}\n- &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n");
    for (name, of) in ('b'..='y').zip('c'..='z') {
        let aliases = vec![format!("*{name}"); 9].join(",");
        laughs.extend(["- &", &String::from(of), " [", &aliases, "]\n"]);
    }
    let anchors =
        format!("- &a {{path: app/stripe, file: {}}}\n{}", "x".repeat(4000), "- *a\n".repeat(100_000));
    for objects in [laughs, anchors, "[".repeat(300_000), "{a: ".repeat(100_000)] {
        let status = node.mount_objects(&objects).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().len() < 4096, "an event has 1 KiB: {} bytes", status.message().len());
    }
    node.check_requests(0, 0);
}

#[tokio::test]
async fn huge_templates_are_bounded() {
    let node = Node::new().await;
    let nested = format!("{}{{{{ data.key }}}}{}", "{% if data %}".repeat(2000), "{% endif %}".repeat(2000));
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{{ data.key }}{% endfor %}{% endfor %}{% endfor %}";
    let doubling = format!("{{% set a = data.key %}}{}{{{{ a }}}}", "{% set a = a ~ a %}".repeat(100));
    let wide = "{{ data.key }}".repeat(40_000);
    for template in [nested, endless.to_owned(), doubling, wide, "{{ ".repeat(200_000)] {
        let objects = json!([{"path": "app/stripe", "file": "a", "template": template}]).to_string();
        let status = node.mount_objects(&objects).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    node.check_alive().await;
}

#[tokio::test]
async fn a_thousand_mounts_are_answered_forty_at_once() {
    let node = Node::with_deadlines(SEED, PATIENT).await;
    let pods: Vec<_> = (0..1000).map(|index| format!("u-{}", index % 250)).collect();
    let attributes: Vec<_> =
        (0..250).map(|index| node.attributes(("web-0", &format!("u-{index}")), OBJECTS)).collect();
    let mounts = pods.iter().enumerate().map(|(index, _)| node.mount(attributes[index % 250].clone()));
    let answers = stream::iter(mounts).buffer_unordered(40).collect::<Vec<_>>().await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap() == first));
    node.check_requests(250, 2);
}

#[tokio::test]
async fn silent_connections_do_not_delay_mounts() {
    let node = Node::new().await;
    let path = node.dir.path().join("scaivault.sock");
    let mut connections = Vec::new();
    for index in 0..300 {
        let mut connection = UnixStream::connect(&path).await.unwrap();
        // No bytes, the beginning of HTTP/2, and other bytes.
        let said: &[u8] = match index % 3 {
            0 => b"",
            1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00",
            _ => b"GET / HTTP/1.1\r\n",
        };
        connection.write_all(said).await.unwrap();
        connections.push(connection);
    }
    node.check_alive().await;
    let other = CsiDriverProviderClient::new(connect(path).await).version(VersionRequest::default()).await;
    assert!(other.is_ok(), "a new connection is served");
}

#[tokio::test]
async fn a_hanging_scaivault_ends_each_mount_in_time() {
    let node = Node::new().await;
    node.vault.add_fault(Fault::on(Route::Exchange, Effect::Hang));
    let mounts = (0..200).map(|index| node.mount(node.attributes(("web-0", &format!("u-{index}")), OBJECTS)));
    let answers = stream::iter(mounts).buffer_unordered(200).collect::<Vec<_>>().await;
    for answer in answers {
        let status = answer.unwrap_err();
        assert!(!is_harmful(status.code()), "{status}");
    }
    node.vault.clear_faults();
    node.check_alive().await;
}

#[tokio::test]
async fn large_secrets_fill_no_memory() {
    let node = Node::with_deadlines(&SEED.replace("LARGE", &"x".repeat(900_000)), PATIENT).await;
    let many: Vec<_> = (0..200)
        .map(|index| json!({"path": "app/large", "file": format!("f-{index}"), "template": "{{ data.key }}{{ data.key }}"}))
        .collect();
    let status = node.mount_objects(&Value::from(many).to_string()).await.unwrap_err();
    assert!(status.message().contains("more than 1048576 bytes together"), "{status}");
}

#[tokio::test]
async fn refused_reads_leave_nothing_in_memory() {
    let node = Node::with_deadlines(SEED, PATIENT).await;
    let denied: Vec<_> = (0..256)
        .map(|index| json!({"path": format!("other/secret-{index}"), "file": format!("f-{index}")}))
        .collect();
    for _ in 0..2 {
        let status = node.mount_objects(&Value::from(denied.clone()).to_string()).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    }
    let inner = &node.provider.0;
    let attributes = Value::from(node.attributes(("web-0", "u-0"), OBJECTS)).to_string();
    let attributes = Attributes::read(&attributes).ok().unwrap();
    let identity = Identity::new(&attributes.pod, &inner.config.login_target(&attributes).unwrap());
    assert_eq!(inner.secrets.paths(&identity), BTreeSet::new());
}

#[tokio::test]
async fn the_files_of_a_volume_share_their_steps() {
    let node = Node::with_deadlines(SEED, PATIENT).await;
    let template = "{% for a in range(9000) %}{{ data.key | length }}{% endfor %}";
    let objects = |files: usize| {
        let files = (0..files)
            .map(|index| json!({"path": "app/stripe", "file": format!("f-{index}"), "template": template}));
        Value::from(files.collect::<Vec<_>>()).to_string()
    };
    node.mount_objects(&objects(4)).await.unwrap();
    let status = node.mount_objects(&objects(256)).await.unwrap_err();
    assert!(
        status.message().contains("the templates of the volume take more than 1000000 steps together"),
        "{status}"
    );
}

/// The runtime's only thread answers probes while templates are rendered.
#[tokio::test]
async fn templates_do_not_delay_probes() {
    let node = Node::with_deadlines(SEED, PATIENT).await;
    let endless =
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ data.key }}{% endfor %}{% endfor %}";
    let objects: Vec<_> = (0..256)
        .map(|index| json!({"path": "app/stripe", "file": format!("f-{index}"), "template": endless}))
        .collect();
    let objects = Value::from(objects).to_string();
    let mounts = (0..4).map(|index| {
        let (mut driver, uid) = (node.driver.clone(), format!("u-{index}"));
        let request = request(node.attributes(("web-0", &uid), &objects));
        tokio::spawn(async move { driver.mount(request).await })
    });
    let mounts: Vec<_> = mounts.collect();
    // All mounts render or wait, and probes are answered in between.
    until(|| node.vault.requests(Route::Read) > 0).await;
    let mut probes = 0;
    while !mounts.iter().all(tokio::task::JoinHandle::is_finished) {
        node.driver.clone().version(VersionRequest::default()).await.unwrap();
        probes += 1;
    }
    assert!(probes > 20, "{probes}");
    for mount in mounts {
        assert_eq!(mount.await.unwrap().unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_tenant_with_slow_mounts_stops_no_other() {
    let node = Node::with_deadlines(SEED, PATIENT).await;
    node.vault.add_fault(Fault::on(Route::Read, Effect::Hang));
    let hanging: Vec<_> = (0..200)
        .map(|index| {
            let (mut driver, uid) = (node.driver.clone(), format!("u-{}", index % 10));
            let request = request(node.attributes(("web-0", &uid), OBJECTS));
            tokio::spawn(async move { driver.mount(request).await })
        })
        .collect();
    until(|| node.vault.requests(Route::Read) > 0).await;
    // A pod of another namespace gets a turn, and further calls for the tenant fail at once.
    let now = jiff::Timestamp::now();
    let token = node.issuer.mint_for_pod("shop", "web", "scaivault", now, ("web-0", "u-shop")).unwrap();
    let mut other = node.attributes(("web-0", "u-shop"), OBJECTS);
    other.insert("csi.storage.k8s.io/pod.namespace".to_owned(), "shop".into());
    other.insert(TOKENS.to_owned(), tokens(&token).into());
    let status = node.mount(other).await.unwrap_err();
    assert!(status.message().contains("no identity is mapped"), "it has asked ScaiVault: {status}");
    let (refused, waiting): (Vec<_>, Vec<_>) = {
        until(|| hanging.iter().filter(|mount| mount.is_finished()).count() >= 152).await;
        hanging.into_iter().partition(tokio::task::JoinHandle::is_finished)
    };
    assert_eq!(waiting.len(), 48);
    for mount in refused {
        let status = mount.await.unwrap().unwrap_err();
        assert!(status.message().contains("too many mounts are in progress"), "{status}");
        assert!(!is_harmful(status.code()), "{status}");
    }
}

/// A server that is down. Its mounts pause most of the time and take no turn then.
#[tokio::test]
async fn mounts_that_pause_stop_no_other() {
    let node = Node::with_deadlines(SEED, PATIENT).await;
    node.vault.add_fault(Fault::always(Route::Read, "service_unavailable"));
    let pausing: Vec<_> = (0..6)
        .map(|index| {
            let (mut driver, uid) = (node.driver.clone(), format!("u-{index}"));
            let request = request(node.attributes(("web-0", &uid), OBJECTS));
            tokio::spawn(async move { driver.mount(request).await })
        })
        .collect();
    // More mounts than turns have been tried, and all are still waiting.
    until(|| node.vault.requests(Route::Exchange) == 6).await;
    assert!(pausing.iter().all(|mount| !mount.is_finished()));
    node.vault.clear_faults();
    for mount in pausing {
        mount.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_mounted_volume_is_tried_once() {
    let node = Node::with_deadlines(SEED, PATIENT).await;
    let attributes = node.attributes(("web-0", "u-0"), OBJECTS);
    node.mount(attributes.clone()).await.unwrap();
    let request = request(attributes.clone());
    let read = Attributes::read(&request.attributes).ok().unwrap();
    let inner = &node.provider.0;
    let target = inner.config.login_target(&read).unwrap();
    inner.logins.backdate_volumes(&read.pod, &target);
    inner.secrets.forget_idle(Instant::now() + Duration::from_mins(20));
    node.vault.add_fault(Fault::always(Route::Read, "service_unavailable"));
    let status = node.mount(attributes).await.unwrap_err();
    assert!(status.message().contains("service_unavailable"), "{status}");
    // The two objects were read at the first mount and again now.
    node.check_requests(1, 4);
}

#[tokio::test]
async fn callers_of_a_secret_share_its_failure() {
    let node = Node::with_deadlines(SEED, DEADLINES).await;
    let inner = &node.provider.0;
    let request = request(node.attributes(("web-0", "u-0"), OBJECTS));
    node.mount_objects(OBJECTS).await.unwrap();
    let read = Attributes::read(&request.attributes).ok().unwrap();
    let target = inner.config.login_target(&read).unwrap();
    let identity = Identity::new(&read.pod, &target);
    let token = SecretString::from(node.token("web", ("web-0", "u-0")));
    let (client, _) = inner.logins.client(&read.pod, &target, token).await.ok().unwrap();
    node.vault.add_fault(Fault::always(Route::Read, "service_unavailable"));
    let before = node.vault.requests(Route::Read);
    let secret: SecretRef = "pods/web-0".parse().unwrap();
    let reads = (0..5).map(|_| inner.secrets.read(&client, &identity, &secret, Purpose::NewVolume));
    let answers = futures_util::future::join_all(reads).await;
    assert!(answers.iter().all(Result::is_err));
    assert_eq!(node.vault.requests(Route::Read), before + 1);
    assert!(!inner.secrets.paths(&identity).contains(&secret.path), "nothing is kept");
}

#[tokio::test]
async fn fields_of_a_large_secret_fill_a_whole_volume() {
    let node = Node::with_deadlines(SEED, PATIENT).await;
    // Each of 256 files reads a secret of almost the maximum size.
    let mut data = Map::from_iter([("key".to_owned(), json!("x".repeat(900_000)))]);
    for index in 0..256 {
        data.insert(format!("f-{index}"), json!("x"));
    }
    node.vault.rotate(&"app/large".parse().unwrap(), data);
    let objects: Vec<_> = (0..256)
        .map(
            |index| json!({"path": "app/large", "file": format!("f-{index}"), "field": format!("f-{index}")}),
        )
        .collect();
    let response = node.mount_objects(&Value::from(objects).to_string()).await.unwrap();
    assert_eq!(response.files.len(), 256);
}

#[tokio::test]
async fn a_late_mount_names_the_cause_of_the_delay() {
    let node = Node::new().await;
    node.vault.add_fault(Fault::on(Route::Read, Effect::Hang));
    let status = node.mount_objects(OBJECTS).await.unwrap_err();
    let expected = "db.json waits for ScaiVault's answer about app/database, stripe/key waits for ScaiVault's answer about";
    assert!(status.message().contains(expected), "{status}");
    // Another mount composes the files of the node.
    node.vault.clear_faults();
    let _turns = node.provider.0.renderer.hold_turns().await;
    let templated = r#"[{"path": "app/stripe", "file": "a", "template": "{{ data.key }}"}]"#;
    let status = node.mount_objects(templated).await.unwrap_err();
    assert!(status.message().contains("a waits for the provider, which composes files"), "{status}");
}
