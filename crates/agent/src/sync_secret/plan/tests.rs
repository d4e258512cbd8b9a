use super::*;

const VALUE: &[u8] = b"swordfish";

fn spec() -> SecretSpec {
    let environment = crate::environment::Environment::from([
        ("SYNC_SECRET_NAME", "billing"),
        ("SECRETS", "a/b -> KEY"),
        ("SYNC_SECRET_LABELS", "app=billing"),
        ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
        ("KUBERNETES_SERVICE_PORT", "443"),
    ]);
    crate::config::SyncConfig::read(&environment).unwrap().secret
}

fn content(pairs: &[(&str, &[u8])]) -> Content {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect()
}

/// The Secret that was applied with one key, with some members changed.
fn existing(changes: &[(&str, Value)]) -> ExistingSecret {
    let mut secret = json!({
        "metadata": {
            "name": "billing",
            "resourceVersion": "7",
            "labels": {"app": "billing", "scaivault.scailabs.ai/managed-by": "sync-secret", "other": "x"},
            "annotations": {"scaivault.scailabs.ai/content-version": "old"},
            "managedFields": [
                {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:data": {"f:OTHER": {}}}},
                {
                    "manager": "scaivault-sync-secret",
                    "operation": "Apply",
                    "fieldsV1": {
                        "f:data": {"f:KEY": {}},
                        "f:metadata": {
                            "f:labels": {".": {}, "f:app": {}, "f:scaivault.scailabs.ai/managed-by": {}},
                            "f:annotations": {"f:scaivault.scailabs.ai/content-version": {}},
                        },
                        "f:type": {},
                    },
                },
            ],
        },
        "type": "Opaque",
        "data": {"KEY": "c3dvcmRmaXNo", "OTHER": "b3RoZXI="},
    });
    for (pointer, value) in changes {
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        secret.pointer_mut(parent).unwrap()[member] = value.clone();
    }
    serde_json::from_value(secret).unwrap()
}

fn apply(existing: Option<&ExistingSecret>, spec: &SecretSpec, content: &Content) -> (Value, bool, Change) {
    match plan(existing, spec, content, "shop", "new").unwrap() {
        Plan::Apply { body, is_forced, change } => {
            (serde_json::from_slice(&body).unwrap(), is_forced, change)
        }
        Plan::Unchanged => panic!("unchanged"),
    }
}

fn is_unchanged(existing: &ExistingSecret, content: &Content) -> bool {
    matches!(plan(Some(existing), &spec(), content, "shop", "new").unwrap(), Plan::Unchanged)
}

#[test]
fn a_new_secret_has_all_fields_and_forces_nothing() {
    let (body, is_forced, change) = apply(None, &spec(), &content(&[("KEY", VALUE)]));
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "billing",
            "labels": {"app": "billing", "scaivault.scailabs.ai/managed-by": "sync-secret"},
            "annotations": {"scaivault.scailabs.ai/content-version": "new"},
        },
        "type": "Opaque",
        "data": {"KEY": "c3dvcmRmaXNo"},
    });
    assert_eq!((body, is_forced), (expected, false));
    assert_eq!(change, Change { is_new: true, written: vec!["KEY".to_owned()], removed: vec![] });
}

#[test]
fn the_same_content_is_not_written_again() {
    assert!(is_unchanged(&existing(&[]), &content(&[("KEY", VALUE)])));
}

#[test]
fn each_difference_is_written() {
    let same = content(&[("KEY", VALUE)]);
    let own = "/metadata/managedFields/1/fieldsV1";
    let at = |field: &str| format!("{own}/{field}");
    for (pointer, value) in [
        ("/data/KEY".to_owned(), json!("b3RoZXI=")),
        ("/data".to_owned(), json!({})),
        // Another client has written these fields since, or one of the agent's fields is no longer
        // configured.
        (at("f:data"), json!({})),
        (at("f:data"), json!({"f:KEY": {}, "f:GONE": {}})),
        (at("f:metadata"), json!({})),
        ("/metadata/managedFields/1/manager".to_owned(), json!("kubectl")),
        ("/metadata/managedFields/1/operation".to_owned(), json!("Update")),
        ("/metadata/labels/app".to_owned(), json!("other")),
        ("/metadata/annotations".to_owned(), json!({})),
    ] {
        assert!(!is_unchanged(&existing(&[(&pointer, value.clone())]), &same), "{pointer}: {value}");
    }
    let mut immutable = spec();
    immutable.immutable = true;
    assert_eq!(apply(Some(&existing(&[])), &immutable, &same).0["immutable"], true);
}

#[test]
fn an_update_has_the_changes_and_the_read_version() {
    let new = content(&[("NEW", VALUE)]);
    let (body, is_forced, change) = apply(Some(&existing(&[])), &spec(), &new);
    assert!(is_forced);
    assert_eq!(body["metadata"]["resourceVersion"], "7");
    assert_eq!(body["data"], json!({"NEW": "c3dvcmRmaXNo"}), "keys of others are not named");
    let expected = Change { is_new: false, written: vec!["NEW".to_owned()], removed: vec!["KEY".to_owned()] };
    assert_eq!(change, expected);
}

#[test]
fn the_version_changes_with_the_content_alone() {
    let version = |existing: &ExistingSecret, content: &Content| {
        let body = apply(Some(existing), &spec(), content).0;
        body["metadata"]["annotations"][CONTENT_VERSION_ANNOTATION].clone()
    };
    let relabelled = existing(&[("/metadata/labels/app", json!("x"))]);
    assert_eq!(version(&relabelled, &content(&[("KEY", VALUE)])), "old");
    assert_eq!(version(&relabelled, &content(&[("KEY", b"other")])), "new");
    assert_eq!(version(&relabelled, &content(&[])), "new", "a key is gone");
}

#[test]
fn a_secret_of_others_is_refused_with_its_managers() {
    for labels in [json!({}), json!({"scaivault.scailabs.ai/managed-by": "Helm"})] {
        let foreign = existing(&[("/metadata/labels", labels)]);
        let refusal = check(&foreign, &spec(), "shop").unwrap_err().to_string();
        assert!(refusal.contains("(its field managers: kubectl, scaivault-sync-secret)"), "{refusal}");
        let command = "kubectl -n shop label secret billing scaivault.scailabs.ai/managed-by=sync-secret";
        assert!(refusal.ends_with(command), "{refusal}");
    }
}

#[test]
fn changes_that_kubernetes_forbids_are_refused() {
    let refusal = |changes: &[(&str, Value)], content: &Content| {
        plan(Some(&existing(changes)), &spec(), content, "shop", "new").err().map(|error| error.to_string())
    };
    let (same, other) = (content(&[("KEY", VALUE)]), content(&[("KEY", b"x")]));
    let said = refusal(&[("/type", json!("kubernetes.io/tls"))], &same).unwrap();
    assert!(said.starts_with("it has the type kubernetes.io/tls, and SYNC_SECRET_TYPE is Opaque"), "{said}");
    let immutable = [("/immutable", json!(true))];
    assert_eq!(refusal(&immutable, &same), None);
    assert!(refusal(&immutable, &other).unwrap().starts_with("it is immutable"));
    let deleted = [("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"))];
    assert!(refusal(&deleted, &same).unwrap().starts_with("it is being deleted"));
}
