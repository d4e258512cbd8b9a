use serde_json::json;

use super::*;

fn names(object: &Value, pod: &Value) -> Vec<&'static str> {
    other_products(object, pod).iter().map(|other| other.product.name()).collect()
}

#[test]
fn products_are_recognised_by_annotations() {
    for (key, expected) in [
        ("vault.hashicorp.com/agent-inject", "vault-k8s"),
        ("openbao.org/agent-inject", "openbao-k8s"),
        ("vault.security.banzaicloud.io/vault-addr", "bank-vaults"),
        ("secrets-webhook.security.bank-vaults.io/vault-role", "bank-vaults"),
        ("operator.1password.io/inject", "1Password"),
        ("akeyless/enabled", "Akeyless"),
        ("secrets.k8s.aws/sidecarInjectorWebhook", "AWS secret injector"),
        ("conjur.org/secrets", "Conjur"),
        ("org.infisical.com/inject", "Infisical"),
        ("reloader.stakater.com/auto", "Reloader"),
        ("secret.reloader.stakater.com/reload", "Reloader"),
        ("wave.pusher.com/update-on-config-change", "Wave"),
    ] {
        let object = json!({"metadata": {"annotations": {key: "true"}}});
        assert_eq!(names(&object, &json!({})), [expected], "{key}");
        assert_eq!(names(&json!({}), &object), [expected], "{key}");
    }
    let plain = json!({"metadata": {"annotations": {"prometheus.io/scrape": "true", "vault.hashicorp.company/x": "1"}}});
    assert_eq!(names(&plain, &plain), Vec::<&str>::new());
}

/// A pod without a workload is its own template.
#[test]
fn an_annotation_is_listed_once() {
    let pod = json!({"metadata": {"annotations": {"vault.hashicorp.com/role": "a"}}});
    assert_eq!(other_products(&pod, &pod)[0].evidence.len(), 1);
}

#[test]
fn products_are_recognised_by_variables_and_volumes() {
    for (value, expected) in [
        ("vault:secret/data/app#password", Some("bank-vaults")),
        (">>vault:database/creds/app#password", Some("bank-vaults")),
        ("postgres://app:${vault:secret/data/app#password}@db/app", Some("bank-vaults")),
        ("bao:secret/data/app#password", Some("bank-vaults")),
        ("op://vault/item/field", Some("1Password")),
        ("db-password@azurekeyvault", Some("akv2k8s")),
        ("https://vault:8200", None),
        ("a vault: of words", None),
        ("", None),
    ] {
        let pod = json!({"spec": {"containers": [{"name": "a", "env": [{"name": "X", "value": value}]}]}});
        assert_eq!(names(&json!({}), &pod), expected.into_iter().collect::<Vec<_>>(), "{value}");
    }
    let csi = |driver: &str| {
        json!({"spec": {"volumes": [{"name": "s", "csi": {"driver": driver,
        "volumeAttributes": {"secretProviderClass": "vault-db"}}}]}})
    };
    let found = other_products(&json!({}), &csi("secrets-store.csi.k8s.io"));
    let expected = Evidence::Csi { volume: "s".to_owned(), class: Some("vault-db".to_owned()) };
    assert_eq!(found[0].evidence, [expected]);
    assert_eq!(names(&json!({}), &csi("ebs.csi.aws.com")), Vec::<&str>::new());
    assert_eq!(
        (Product::Reloader.kind(), Product::Conjur.kind()),
        (ProductKind::Restarts, ProductKind::Delivers)
    );
}
