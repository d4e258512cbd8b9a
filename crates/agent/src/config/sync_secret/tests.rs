use super::*;

const API: [(&str, &str); 2] = [(KUBERNETES_SERVICE_HOST, "10.96.0.1"), (KUBERNETES_SERVICE_PORT, "443")];

fn read<const N: usize>(pairs: [(&'static str, &str); N]) -> Result<SyncConfig, EnvironmentProblems> {
    let mut environment = Environment::from(API);
    for (name, value) in pairs {
        environment.set(name, value.to_owned());
    }
    SyncConfig::read(&environment)
}

#[track_caller]
fn refuses<const N: usize>(pairs: [(&'static str, &str); N], expected: &[&str]) {
    let all = [(env::SYNC_SECRET_NAME, "billing"), (env::SECRETS, "a/b#c -> KEY")];
    let mut environment = Environment::from(API);
    for (name, value) in all.into_iter().chain(pairs) {
        environment.set(name, value.to_owned());
    }
    let problems = SyncConfig::read(&environment).unwrap_err().to_string();
    for expected in expected {
        assert!(problems.contains(expected), "{expected}: {problems}");
    }
}

#[test]
fn two_variables_are_enough() {
    let config = read([(env::SYNC_SECRET_NAME, "billing"), (env::SECRETS, "a/b -> db.json")]).unwrap();
    assert_eq!(config.outputs.files[0].file.as_str(), "/db.json");
    let SecretSpec { name, secret_type, labels, annotations, immutable } = config.secret;
    assert_eq!((name.as_str(), secret_type.as_str(), immutable), ("billing", "Opaque", false));
    assert!(labels.is_empty() && annotations.is_empty());
    let directory = PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount");
    assert_eq!(config.api, ApiServer { host: "10.96.0.1".to_owned(), port: 443, directory });
    assert_eq!(config.timeout, Duration::from_mins(1));
}

#[test]
fn all_variables_of_sync_secret_are_read() {
    let config = read([
        (env::SYNC_SECRET_NAME, "billing.v2"),
        (env::SYNC_SECRET_TYPE, "kubernetes.io/tls"),
        (env::SECRETS, "a/b#crt -> tls.crt\na/b#key -> tls.key encoding=base64\na/ca -> ca optional=true"),
        (env::SYNC_SECRET_LABELS, "app=billing\n\n example.com/team = \n"),
        (env::SYNC_SECRET_ANNOTATIONS, "note=a = b, c"),
        (env::SYNC_SECRET_IMMUTABLE, "true"),
        (KUBERNETES_SERVICE_HOST, "fd00::1"),
    ]);
    let SyncConfig { secret, api, outputs, .. } = config.unwrap();
    assert_eq!((secret.secret_type.as_str(), secret.immutable), ("kubernetes.io/tls", true));
    assert_eq!(secret.labels["app"], "billing");
    assert_eq!(secret.labels["example.com/team"], "");
    assert_eq!(secret.annotations["note"], "a = b, c");
    assert_eq!((api.host.as_str(), outputs.files.len()), ("fd00::1", 3));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let problems = SyncConfig::read(&Environment::default()).unwrap_err().to_string();
    for expected in [
        "the environment has 3 mistakes",
        "SECRETS: no key is configured",
        "SYNC_SECRET_NAME: no Secret is named",
        "KUBERNETES_SERVICE_HOST: with KUBERNETES_SERVICE_PORT it is the address of the API server",
    ] {
        assert!(problems.contains(expected), "{expected}: {problems}");
    }
}

#[test]
fn names_and_types_are_those_of_kubernetes() {
    for name in ["Billing", "a_b", "-a", "a-", ".", "..", "a..b", "a/b", "a b", &"a".repeat(254)] {
        refuses([(env::SYNC_SECRET_NAME, name)], &["SYNC_SECRET_NAME: \"", "is not the name of a Secret"]);
    }
    refuses([(env::SYNC_SECRET_TYPE, "a b")], &["SYNC_SECRET_TYPE: \"a b\" is not a type of Secrets"]);
    for cluster in ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"] {
        refuses([(env::SYNC_SECRET_TYPE, cluster)], &["is for credentials of the cluster itself"]);
    }
}

#[test]
fn the_keys_of_a_type_are_required() {
    for (secret_type, secrets, missing) in [
        ("kubernetes.io/tls", "a/b#c -> tls.crt", "the key tls.key"),
        ("kubernetes.io/tls", "a/b#c -> tls.crt\na/b#d -> tls.key optional=true", "the key tls.key"),
        ("kubernetes.io/dockerconfigjson", "a/b -> config.json", "the key .dockerconfigjson"),
        ("kubernetes.io/dockercfg", "a/b -> x", "the key .dockercfg"),
        ("kubernetes.io/basic-auth", "a/b#c -> user", "the key username or password"),
        ("kubernetes.io/ssh-auth", "a/b#c -> id_rsa", "the key ssh-privatekey"),
    ] {
        let expected = format!("SYNC_SECRET_TYPE: {secret_type} needs {missing}");
        refuses([(env::SYNC_SECRET_TYPE, secret_type), (env::SECRETS, secrets)], &[&expected]);
    }
}

#[test]
fn lines_of_labels_and_annotations_are_checked() {
    let lines = "no-equals\n=x\na/b/c=x\n-a=x\nUPPER/a=x\nok=a b\nok=é\nsame=1\nsame=2\n\
                 scaivault.scailabs.ai/managed-by=me\nscaivault.scailabs.ai/content-version=1";
    refuses(
        [(env::SYNC_SECRET_LABELS, lines)],
        &[
            "line 1: \"no-equals\" has no =",
            "line 2: \"\" is not a key",
            "line 3: \"a/b/c\" is not a key",
            "line 4: \"-a\" is not a key",
            "line 5: \"UPPER/a\" is not a key",
            "line 6: \"a b\" is not the value of a label",
            "line 7: \"é\" is not the value of a label",
            "line 9: the key \"same\" is duplicate",
            "line 10: sync-secret sets \"scaivault.scailabs.ai/managed-by\" itself",
            "line 11: sync-secret sets",
        ],
    );
    refuses([(env::SYNC_SECRET_ANNOTATIONS, "x")], &["SYNC_SECRET_ANNOTATIONS: line 1: \"x\" has no ="]);
}

#[test]
fn content_that_no_secret_can_have_is_refused() {
    refuses(
        [
            (env::DYNAMIC, "engine=postgres role=app -> /f"),
            (env::SECRET_ENV, "a/b#c -> X"),
            (env::WATCH_PATHS, "a/b -> /f"),
        ],
        &[
            "DYNAMIC: a lease in a Secret would be neither renewed nor revoked",
            "SECRET_ENV: sync-secret does not read it; write path#field -> KEY in SECRETS",
            "WATCH_PATHS: sync-secret does not read it",
        ],
    );
    for (line, expected) in [
        ("a/b -> /run/secrets/db.json", "\"/run/secrets/db.json\" is not a key of a Secret"),
        ("a/b -> db.json mode=0400", "mode= is for files"),
        ("a/b -> x\na/c -> x", "line 2: the key \"x\" is also set by line 1"),
        ("pods/${pod} -> x", "SCAIVAULT_POD is not set"),
        ("a/b -> x template=\"{{ nope }}\"", "there is no variable"),
    ] {
        refuses([(env::SECRETS, line)], &[expected]);
    }
}
