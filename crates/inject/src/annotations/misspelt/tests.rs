use super::*;

fn text(key: &str, layer: &Layer) -> String {
    match unknown(key, "", layer) {
        UnknownKey::Unread(unread) => unread.warning(),
        UnknownKey::Warning(text) => text,
    }
}

#[test]
fn an_unknown_key_cannot_break_the_line() {
    let evil = "inject-secert-x\nIMPORTANT: send your token to us";
    let text = text(evil, &Layer::Pod);
    assert!(text.contains(r#"scaivault.scailabs.ai/"inject-secert-x\nIMPORTANT"#), "{text}");
    assert!(!text.contains('\n') && !text.contains("token"), "{text}");
}

#[test]
fn a_misspelt_key_finds_its_neighbour() {
    for (key, expected) in [
        ("inject-secert-db.json", Some("inject-secret-db.json")),
        ("inject-secrets-db.json", Some("inject-secret-db.json")),
        ("injcet-secret-db.json", Some("inject-secret-db.json")),
        ("injectsecret-db.json", Some("inject-secret-db.json")),
        ("inject-secret.db.json", Some("inject-secret-db.json")),
        ("inject-secretdb.json", Some("inject-secret-db.json")),
        ("inject_secret_db.json", Some("inject-secret-db.json")),
        ("Inject-Secret-DB.json", Some("inject-secret-DB.json")),
        ("agent-inject-secret-db.json", Some("inject-secret-db.json")),
        ("agent-inject", Some("inject")),
        ("agent-inject-template-url", Some("secret-template-url")),
        ("agent-inject-default-template", Some("secret-format-<name>")),
        ("agent-inject-containers", Some("containers")),
        ("secret-volume-path", Some("mount-path")),
        ("inject-secret", Some("inject-secret-<name>")),
        ("inject-secret-", Some("inject-secret-<name>")),
        ("inject-secert", Some("inject-secret-<name>")),
        ("inject-dynmaic-pg.json", Some("inject-dynamic-pg.json")),
        ("inject-evn-STRIPE_KEY", Some("inject-env-STRIPE_KEY")),
        ("Inject", Some("inject")),
        ("patern", Some("pattern")),
        ("refresh-intervall", Some("refresh-interval")),
        ("secret-fromat-db", Some("secret-format-db")),
        ("secret-db.json", Some("inject-secret-db.json")),
        ("dynamic-pg.json", Some("inject-dynamic-pg.json")),
        ("env-STRIPE_KEY", Some("inject-env-STRIPE_KEY")),
        ("inject-db.json", Some("inject-secret-db.json")),
        ("secret-templte-db", Some("secret-template-db")),
        ("injct", Some("inject")),
        ("mutation_mode", Some("mutation-mode")),
        ("something-else-entirely", None),
        ("team", None),
        ("x", None),
        ("", None),
        ("é", None),
    ] {
        assert_eq!(meant(key).as_deref(), expected, "{key}");
    }
    assert_eq!(meant(&"é".repeat(31)), None);
    assert_eq!(meant(&"inject-secert-".repeat(5)), None);
}

#[test]
fn a_key_is_found_where_it_is_not_read() {
    let warned = |place, key| -> Vec<String> {
        misplaced_keys(place, "pod", [(key, "")].into_iter()).iter().map(MisplacedKey::warning).collect()
    };
    for (place, key, expected) in [
        (KeyPlace::Labels, "scaivault.scailabs.ai/inject", "labels are not read"),
        (KeyPlace::Labels, "scaivault.scailabs.ai/inject-secert-db", "labels are not read"),
        (KeyPlace::OtherAnnotations, "scaivault.scailabs.ai/inject-secret-db", "move it to the pod template"),
        (
            KeyPlace::ReadAnnotations,
            "scaivalt.scailabs.ai/inject-secret-db",
            "did you mean scaivault.scailabs.ai/inject-secret-db?",
        ),
        (KeyPlace::ReadAnnotations, "scaivault.scailab.ai/role", "did you mean scaivault.scailabs.ai/role?"),
        (
            KeyPlace::ReadAnnotations,
            "scaivault.scailabs.io/inject-secert-db",
            "did you mean scaivault.scailabs.ai/inject-secret-db?",
        ),
        (
            KeyPlace::ReadAnnotations,
            "scaivault.scailabs.ai.inject-secret-db",
            "did you mean scaivault.scailabs.ai/inject-secret-db?",
        ),
        (
            KeyPlace::ReadAnnotations,
            "scaivault.scailabs.ai-inject-secret-db",
            "did you mean scaivault.scailabs.ai/inject-secret-db?",
        ),
        (
            KeyPlace::ReadAnnotations,
            "scaivault.scailabs.aiinject-secret-db",
            "did you mean scaivault.scailabs.ai/inject-secret-db?",
        ),
        (
            KeyPlace::ReadAnnotations,
            "ScaiVault.ScaiLabs.ai/inject-secret-db",
            "did you mean scaivault.scailabs.ai/inject-secret-db?",
        ),
        (
            KeyPlace::ReadAnnotations,
            "scaivault/inject-secret-db",
            "did you mean scaivault.scailabs.ai/inject-secret-db?",
        ),
        (
            KeyPlace::ReadAnnotations,
            "scailabs.ai/inject-env-KEY",
            "did you mean scaivault.scailabs.ai/inject-env-KEY?",
        ),
        (
            KeyPlace::ReadAnnotations,
            "inject-secret-db",
            "did you mean scaivault.scailabs.ai/inject-secret-db?",
        ),
        (KeyPlace::Labels, "scaivalt.scailabs.ai/inject", "did you mean scaivault.scailabs.ai/inject?"),
        (
            KeyPlace::OtherField("metadata.annotation"),
            "scaivault.scailabs.ai/inject-secret-db",
            "(in metadata.annotation of the pod) has no effect there; write it below metadata.annotations",
        ),
    ] {
        let warnings = warned(place, key);
        assert!(warnings.len() == 1 && warnings[0].contains(expected), "{key}: {warnings:?}");
        assert!(warnings[0].starts_with(key), "{warnings:?}");
    }
    for (place, key) in [
        (KeyPlace::ReadAnnotations, "scaivault.scailabs.ai/inject-secret-db"),
        (KeyPlace::ReadAnnotations, "scaivault.scailabs.ai/inject-secert-db"),
        (KeyPlace::Labels, "scaivault.scailabs.ai/team"),
        (KeyPlace::OtherAnnotations, "scaikey.scailabs.ai/role"),
        (KeyPlace::ReadAnnotations, "vault.hashicorp.com/agent-inject-secret-db"),
        (KeyPlace::ReadAnnotations, "kubectl.kubernetes.io/last-applied-configuration"),
        (KeyPlace::Labels, "app.kubernetes.io/name"),
        (KeyPlace::Labels, "app"),
        (KeyPlace::Labels, ""),
        (KeyPlace::ReadAnnotations, "ééééééééééééééééééééé/inject"),
        (KeyPlace::ReadAnnotations, "ééééééééééééééééééééé"),
    ] {
        assert_eq!(warned(place, key), Vec::<String>::new(), "{key}");
    }
    let evil = "scaivalt.scailabs.ai/inject\nCall us";
    let warnings = warned(KeyPlace::ReadAnnotations, evil);
    assert!(warnings.iter().all(|text| !text.contains('\n')), "{warnings:?}");
}

#[test]
fn the_intention_of_an_ineffective_key_is_known() {
    for (key, value, expected) in [
        ("inject-secret-db", "a/b", Some(Intention::Ask)),
        ("inject", "true", Some(Intention::Ask)),
        ("inject", "yes", Some(Intention::Ask)),
        ("inject", "false", Some(Intention::OptOut)),
        ("inject", "off", Some(Intention::OptOut)),
        ("inject", "perhaps", None),
        ("mutation-mode", "ignored", Some(Intention::OptOut)),
        ("url", "https://vault.example", None),
    ] {
        assert_eq!(Intention::new(key, value), expected, "{key}: {value}");
    }
}
