use serde_json::json;

use super::*;

fn targets(object: &Value) -> Vec<String> {
    let target = |source: SecretSource| {
        let namespace = source.namespace.unwrap_or_else(|| "*".to_owned());
        format!("{} {}/{}", source.kind.name(), namespace, source.secret)
    };
    secret_sources(object).into_iter().map(target).collect()
}

#[test]
fn the_secret_that_an_object_writes_is_found() {
    for (api_version, kind, spec, expected) in [
        ("external-secrets.io/v1", "ExternalSecret", json!({}), vec!["n/o"]),
        ("external-secrets.io/v1beta1", "ExternalSecret", json!({"target": {"name": "t"}}), vec!["n/t"]),
        ("kubernetes-client.io/v1", "ExternalSecret", json!({}), vec!["n/o"]),
        ("external-secrets.io/v1", "ClusterExternalSecret", json!({"externalSecretName": "e"}), vec!["*/e"]),
        (
            "secrets.hashicorp.com/v1beta1",
            "VaultStaticSecret",
            json!({"destination": {"name": "t"}}),
            vec!["n/t"],
        ),
        (
            "secrets.hashicorp.com/v1beta1",
            "VaultDynamicSecret",
            json!({"destination": {"name": "t"}}),
            vec!["n/t"],
        ),
        ("secrets.hashicorp.com/v1beta1", "VaultPKISecret", json!({"destination": {}}), vec![]),
        (
            "secrets.hashicorp.com/v1beta1",
            "HCPVaultSecretsApp",
            json!({"destination": {"name": "t"}}),
            vec!["n/t"],
        ),
        (
            "secrets-store.csi.x-k8s.io/v1",
            "SecretProviderClass",
            json!({"secretObjects": [{"secretName": "a"}, {"secretName": "b"}]}),
            vec!["n/a", "n/b"],
        ),
        (
            "bitnami.com/v1alpha1",
            "SealedSecret",
            json!({"template": {"metadata": {"name": "t"}}}),
            vec!["n/t"],
        ),
        (
            "secrets.infisical.com/v1alpha1",
            "InfisicalSecret",
            json!({"managedSecretReference": {"secretName": "a", "secretNamespace": "other"}}),
            vec!["other/a"],
        ),
        (
            "secrets.doppler.com/v1alpha1",
            "DopplerSecret",
            json!({"managedSecret": {"name": "a"}}),
            vec!["n/a"],
        ),
        ("onepassword.com/v1", "OnePasswordItem", json!({}), vec!["n/o"]),
        ("ricoberger.de/v1alpha1", "VaultSecret", json!({}), vec!["n/o"]),
        ("redhatcop.redhat.io/v1alpha1", "VaultSecret", json!({"output": {"name": "t"}}), vec!["n/t"]),
        (
            "isindir.github.com/v1alpha3",
            "SopsSecret",
            json!({"secretTemplates": [{"name": "a"}]}),
            vec!["n/a"],
        ),
        ("cert-manager.io/v1", "Certificate", json!({"secretName": "tls"}), vec!["n/tls"]),
        ("example.com/v1", "ExternalSecret", json!({}), vec![]),
        ("v1", "Secret", json!({}), vec![]),
    ] {
        let object = json!({"apiVersion": api_version, "kind": kind,
            "metadata": {"namespace": "n", "name": "o"}, "spec": spec});
        let expected: Vec<_> = expected.into_iter().map(|secret| format!("{kind} {secret}")).collect();
        assert_eq!(targets(&object), expected, "{api_version} {kind}");
    }
}

#[test]
fn the_sources_of_values_are_read() {
    let remote = |kind: &str, api_version: &str, spec: Value| {
        let object =
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "o"}, "spec": spec});
        let source = secret_sources(&object).remove(0);
        let line = |RemoteRef { key, path, property }: RemoteRef| {
            format!("{}={path}#{}", key.as_deref().unwrap_or("*"), property.as_deref().unwrap_or("*"))
        };
        source.remote.into_iter().map(line).collect::<Vec<_>>()
    };
    let spec = json!({
        "data": [{"secretKey": "password", "remoteRef": {"key": "prod/db", "property": "pw"}}],
        "dataFrom": [{"extract": {"key": "prod/api"}}, {"find": {"name": {"regexp": "x"}}}],
    });
    assert_eq!(
        remote("ExternalSecret", "external-secrets.io/v1", spec),
        ["password=prod/db#pw", "*=prod/api#*"]
    );
    let spec = json!({"data": [{"key": "prod/db", "name": "password"}]});
    assert_eq!(remote("ExternalSecret", "kubernetes-client.io/v1", spec), ["password=prod/db#*"]);
    let spec = json!({"mount": "kv", "path": "prod/db", "destination": {"name": "t"}});
    assert_eq!(remote("VaultStaticSecret", "secrets.hashicorp.com/v1beta1", spec), ["*=kv/prod/db#*"]);
}

#[test]
fn fields_of_unexpected_types_are_ignored() {
    for spec in
        [json!(null), json!([]), json!({"secretObjects": [1, {}]}), json!({"data": {}, "destination": []})]
    {
        for (group, kind) in SourceKind::all() {
            let object =
                json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": [], "spec": spec});
            assert_eq!(targets(&object), Vec::<String>::new(), "{kind} {spec}");
        }
    }
}
