//! Settings other than paths: where the agent logs in, what runs in it, and where its files are.

use super::*;

fn allow() -> Allow {
    Allow {
        urls: named(["https://scaivault.example"]),
        images: named(["registry.example/agent"]),
        uids: named(["1000-1999"]),
        ca_configmaps: named(["scaivault-ca"]),
        client_credentials_secrets: named(["billing-*"]),
        roles: named(["sa:${namespace}"]),
        ..Allow::default()
    }
}

/// Threat 13.
#[test]
fn settings_outside_of_the_lists_are_refused() {
    for enforce in [true, false] {
        let parts = PolicyParts { allow: allow(), ..policy("limits") };
        let target = if enforce {
            target([parts])
        } else {
            // A list that allows nothing, and a policy without that list.
            let nothing = || Some(Vec::new());
            let allow = Allow {
                urls: nothing(),
                images: nothing(),
                uids: nothing(),
                ca_configmaps: nothing(),
                client_credentials_secrets: nothing(),
                roles: nothing(),
                ..Allow::default()
            };
            target([PolicyParts { allow, ..policy("limits") }, limits()])
        };
        for (name, value) in [
            ("url", "https://scaivault.example.evil.example"),
            ("url", "https://evil.example"),
            ("url", "https://scaivault.example:8443"),
            ("url", "https://scaivault.examplee/x"),
            ("image", "registry.evil.example/agent:1"),
            ("image", "registry.example/agents:1"),
            ("image", "registry.example/agent-evil:1"),
            ("image", "registry.example/agent/../evil:1"),
            ("image", "registry.example:5000/agent:1"),
            ("ca-configmap", "evil-ca"),
            ("client-credentials-secret", "payments-scaikey"),
            ("client-credentials-secret", "a.billing-x"),
            ("run-as-user", "0"),
            ("run-as-user", "2000"),
            ("run-as-user", "unset"),
            ("role", "sa:payments"),
            ("role", "sa:billing-old"),
            ("role", "sa:*"),
        ] {
            target.refuses(&asks(OWN).annotate(name, value).json(), &[name]);
        }
    }
    let target = target([PolicyParts { allow: allow(), ..policy("limits") }]);
    for (name, value) in [
        ("url", "https://scaivault.example/tenant"),
        ("image", "registry.example/agent:1"),
        ("ca-configmap", "scaivault-ca"),
        ("client-credentials-secret", "billing-scaikey"),
        ("run-as-user", "1500"),
        ("role", "sa:billing"),
    ] {
        target.injects(&asks(OWN).annotate(name, value).json());
    }
}

/// Threat 13: the tenant can also annotate the namespace.
#[test]
fn a_namespace_sets_nothing_outside_of_the_lists() {
    for (name, value) in [
        ("url", "https://evil.example"),
        ("ca-configmap", "evil-ca"),
        ("client-credentials-secret", "payments-scaikey"),
        ("run-as-user", "0"),
        ("role", "sa:payments"),
    ] {
        let mut target = target([PolicyParts { allow: allow(), ..policy("limits") }]);
        target.namespace.annotations.insert(key(name), value.to_owned());
        target.refuses(&asks(OWN).json(), &[name, "namespace", "policy limits"]);
    }
    // Keys that name secrets have no effect there.
    let mut target = target([limits()]);
    for name in ["inject-secret-x", "image", "inject-env-X"] {
        target.namespace.annotations.insert(key(name), "payments/db#k".to_owned());
    }
    assert!(!target.reads(&asks(OWN).json()).contains("payments"));
}

/// Threat 26: the user that the agent takes from the containers, or that a signal needs.
#[test]
fn a_container_does_not_change_the_agents_user() {
    let target = target([PolicyParts { allow: allow(), ..policy("limits") }]);
    let of = |uid: i64| asks(OWN).app_field(0, "securityContext", json!({"runAsUser": uid}));
    let signals = |pod: PodBuilder| pod.annotate("reload-signal", "SIGHUP").annotate("reload-target", "app");
    for pod in [of(2000), signals(of(2000)), signals(of(0)), signals(asks(OWN))] {
        target.refuses(&pod.json(), &["policy-limit", "policy limits does not cover this user", "1000-1999"]);
    }
    for pod in [asks(OWN), of(1500), of(0), signals(of(1500)), of(2000).annotate("run-as-user", "1500")] {
        target.injects(&pod.json());
    }
}

/// Threat 14.
#[test]
fn no_mount_or_file_covers_the_pods_token() {
    let target = target([limits()]);
    for path in [
        "/var/run/secrets/kubernetes.io",
        "/var/run/secrets/kubernetes.io/serviceaccount",
        "/run/secrets/kubernetes.io/serviceaccount",
        "/var/run/../run/secrets/kubernetes.io",
        "/var//run/secrets/kubernetes.io",
        "/var/run/secrets/./kubernetes.io",
        "/x/kubernetes.io",
        "/",
        "//",
        "/etc",
        "/proc/1/root",
        "/sys",
        "/dev/shm",
        "relative",
        "/run/secrets:rw",
    ] {
        target.refuses(&asks(OWN).annotate("mount-path", path).json(), &["mount-path"]);
    }
    for file in [
        "kubernetes.io/serviceaccount/token",
        "../kubernetes.io/serviceaccount/token",
        "../../var/run/secrets/kubernetes.io/serviceaccount/token",
        "/etc/passwd",
        "a/../../etc/passwd",
        "..data",
        "..2026/x",
    ] {
        target.refuses(&asks(OWN).annotate("secret-file-x", file).json(), &["secret-file-x"]);
    }
    // The agent's own directories.
    for path in [
        "/var/run/secrets/scaivault",
        "/var/run/scaivault",
        "/var/run/scaivault/state",
        "/run/secrets/scaivault",
    ] {
        let decision = target.decide(&asks(OWN).annotate("mount-path", path).json()).0;
        if matches!(decision, Decision::Inject(_)) {
            let injected = after(&asks(OWN).annotate("mount-path", path).json(), &decision);
            let agent = inspect::injected_containers(&injected)[0];
            let mounts: Vec<_> = agent["volumeMounts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|mount| mount["mountPath"].as_str().unwrap())
                .collect();
            let mut distinct = mounts.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), mounts.len(), "{path}: {mounts:?}");
        }
    }
    // No injected container has the token of the API server, and the application keeps its own.
    let mut with_token = asks(OWN).json();
    crate::support::mount_api_token(&mut with_token);
    let injected = target.injects(&with_token);
    let app = inspect::app_container(&injected, "app").unwrap();
    assert!(inspect::volume_at(app, crate::support::API_TOKEN).unwrap().starts_with("kube-api-access-"));
    for agent in inspect::injected_containers(&injected) {
        assert_eq!(inspect::volume_at(agent, crate::support::API_TOKEN), Some("scaivault-token"));
    }
}

/// Threat 15.
#[test]
fn no_container_of_the_tenant_mounts_the_agents_volumes() {
    let target = target([limits()]);
    for volume in ["scaivault-token", "scaivault-state", "scaivault-credentials", "scaivault-secrets"] {
        let mut app = container("spy");
        app["volumeMounts"] = json!([{"name": volume, "mountPath": "/stolen"}]);
        target.refuses(&asks(OWN).container(app).json(), &[volume]);
    }
    let hostile = asks(OWN).volume(json!({"name": "scaivault-secrets", "hostPath": {"path": "/"}}));
    target.refuses(&hostile.json(), &["reserved-name"]);
}

/// Threat 16.
#[test]
fn a_forged_receipt_or_status_changes_nothing() {
    let limited = target([limits()]);
    let honest = limited.injects(&asks(OWN).json());
    let receipt = inspect::injector_annotation(&honest, "receipt").unwrap().to_owned();
    for (status, receipt) in [
        ("injected", receipt.as_str()),
        ("injected", r#"{"v":1,"policies":["limits@99","payments@1"]}"#),
        ("skipped/problems", "{}"),
        ("injected", "not json"),
        ("ignored", ""),
    ] {
        let forged =
            |source: &str| asks(source).annotate("status", status).annotate("receipt", receipt).json();
        limited.refuses(&forged(THEIRS), &["policy-limit"]);
        let injected = limited.injects(&forged(OWN));
        assert!(inspect::env(inspect::injected_containers(&injected)[0], "SECRETS").unwrap().contains(OWN));
        assert!(!inspect::injector_annotation(&injected, "receipt").unwrap().contains("payments@1"));
        assert_eq!(inspect::injector_annotation(&injected, "status"), Some("injected"));
    }
    // An injected pod whose mapping was edited by hand: the containers are replaced by those of the
    // plan.
    let mut changed = honest.clone();
    for variable in changed["spec"]["initContainers"][0]["env"].as_array_mut().unwrap() {
        if variable["name"] == "SECRETS" {
            variable["value"] = format!("{THEIRS} -> /run/secrets/x").into();
        }
    }
    assert!(!limited.reads(&changed).contains("payments"));
    // A pod that a policy rejects is also rejected if it was injected before the policy existed.
    let before = target([]).injects(&asks(THEIRS).json());
    limited.refuses(&before, &["policy-limit"]);
}

/// Threat 16: variables that change what the agent does, too.
#[test]
fn a_variable_that_redirects_the_agent_is_removed() {
    let target = target([limits()]);
    let honest = target.injects(&asks("environments/production/billing/${pod}").json());
    for (name, value) in [
        ("SCAIVAULT_POD", json!({"name": "SCAIVAULT_POD", "value": "neighbour-0"})),
        ("SCAIVAULT_URL", json!({"name": "SCAIVAULT_URL", "value": "https://evil.example"})),
        ("SCAIVAULT_TENANT_ID", json!({"name": "SCAIVAULT_TENANT_ID", "value": "tnt_payments"})),
        ("SCAIVAULT_NODE", json!({"name": "SCAIVAULT_NODE", "value": "x"})),
        (
            "SCAIVAULT_POD",
            json!({"name": "SCAIVAULT_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['pod']"}}}),
        ),
    ] {
        let mut changed = honest.clone();
        let env = changed["spec"]["initContainers"][0]["env"].as_array_mut().unwrap();
        env.retain(|variable| variable["name"] != name);
        env.push(value.clone());
        let again = target.injects(&changed);
        let agents = inspect::injected_containers(&again);
        assert!(!agents[0]["env"].as_array().unwrap().contains(&value), "{again}");
    }
}

/// Threat 17: keys that should be read twice or not at all.
#[test]
fn no_writing_of_a_key_avoids_the_check() {
    let limited = target([limits()]);
    let prefix = "scaivault.scailabs.ai/";
    for json in [
        format!(r#"{{"{prefix}inject-secret-x":"{OWN}","{prefix}inject-secret-x":"{THEIRS}"}}"#),
        format!(r#"{{"{prefix}inject-secret-x":"{OWN}","{prefix}inject\u002dsecret-x":"{THEIRS}"}}"#),
        format!(r#"{{"scaivault\u002escailabs.ai/inject-secret-x":"{THEIRS}"}}"#),
        format!(r#"{{"{prefix}inject-secret-x":"  {THEIRS}\n"}}"#),
        format!(r#"{{"{prefix}inject-secret-x":"environments/production\u002fpayments/database"}}"#),
    ] {
        let pod: String =
            format!(r#"{{"metadata":{{"annotations":{json}}},"spec":{{"containers":[{{"name":"app"}}]}}}}"#);
        let view = PodView::parse(&pod).unwrap();
        let policies = PolicySet::new(vec![Policy::compile(limits()).unwrap()]);
        let context = Context::new(&limited.settings, &limited.namespace, KubeVersion::new(1, 36));
        let (decision, _) = decide_with_policies(&view, &context.with_policies(&policies, NOW));
        assert!(matches!(decision, Decision::Deny(_)), "{json}: {decision:?}");
    }
    // Keys that are not the injector's request nothing.
    for name in ["Inject-secret-x", "inject-secrets-x", "inject_secret_x", "inject-secret-"] {
        let (decision, _) = limited.decide(&pod().annotate(name, THEIRS).json());
        assert!(!matches!(decision, Decision::Inject(_)), "{name}");
    }
    assert!(
        !limited
            .reads(&asks(OWN).annotation("vault.hashicorp.com/agent-inject-secret-x", THEIRS).json())
            .contains(THEIRS)
    );
}

/// Threat 18: text in rejections.
#[test]
fn a_refusal_cannot_be_forged_and_shows_little() {
    let target = target([limits()]);
    let value = format!("{THEIRS}/{}", "z".repeat(200));
    let problems = target.refuses(&asks(&value).json(), &["policy-limit"]);
    assert!(!problems.contains(&"z".repeat(41)), "{problems}");
    let label = "x\nlevel=info msg=\"admitted\" \u{1b}[2J";
    let pod = labelled(asks("environments/production/${label:a}/x"), "a", label);
    target.refuses(&pod, &["policy-variable"]);
}
