use super::*;
use crate::annotations::registry::spec_of;

#[track_caller]
fn check(key: &str, value: &str, expected: &str) {
    let (spec, name) = spec_of(key).unwrap();
    let entry = Entry { name, value };
    assert!((spec.set)(&mut Draft::default(), &entry).is_err(), "{key}: {value} is taken");
    assert_eq!(fix(spec, &entry), expected, "{key}: {value}");
}

#[test]
fn the_likeliest_value_is_named() {
    for (key, value, expected) in [
        ("fail-open", "no", "false"),
        ("fail-open", "yes", "true"),
        ("fail-open", "Flase", "false"),
        ("secret-optional-db.json", "0", "false"),
        ("inject", "off", "false"),
        ("mutation-mode", "detach", "ignore-and-detach"),
        ("mutation-mode", "ignored", "ignore"),
        ("mutation-mode", "detach-and-ignore", "ignore-and-detach"),
        ("mutation-mode", "ignore_and_detach", "ignore-and-detach"),
        ("log-level", "warning", "warn"),
        ("log-level", "DEBUG", "debug"),
        ("log-level", "verbose", "debug"),
        ("secret-format-db", "ymal", "yaml"),
        ("secret-format-db", "yml", "yaml"),
        ("secret-format-db", ".env", "env"),
        ("secret-encoding-db", "b64", "base64"),
        ("refresh-interval", "1min", "1m"),
        ("refresh-interval", "5 m", "5m"),
        ("refresh-interval", "1h30m", "90m"),
        ("refresh-interval", "1.5h", "90m"),
        ("refresh-interval", "2 Weeks", "14d"),
        ("fetch-timeout", "60", "60s"),
        ("token-expiration-seconds", "1h", "3600"),
        ("token-expiration-seconds", "7_200", "7200"),
        ("reload-signal", "1", "SIGHUP"),
        ("reload-signal", "HPU", "SIGHUP"),
        ("secret-mode-db", "288", "0440"),
        ("limits-memory", "64m", "64M"),
        ("limits-memory", "64mb", "64M"),
        ("limits-cpu", "100M", "100m"),
        ("inject-secret-db", "a/b#password@latest", "a/b#password"),
        ("inject-secret-db", "a/b@v3", "a/b@3"),
        ("inject-secret-db", "a/b@3#password", "a/b#password@3"),
        ("inject-secret-db", "/A/b/", "a/b"),
        ("inject-secret-db", "a/one, a/two", "one=a/one two=a/two"),
        ("inject-secret-db", "a/x, b/x", "x=a/x x2=b/x"),
        ("inject-secret-db", "my-db=a/b", "my_db=a/b"),
        ("inject-secret-db", "db=a/b@latest x=/c", "db=a/b x=c"),
        ("inject-env-DB", "a/b:password", "a/b#password"),
        ("inject-dynamic-db", "engine = pg role = r", "engine=pg role=r"),
        ("inject-dynamic-db", "engine=pg,role=r,ttl=1hour", "engine=pg role=r ttl=1h"),
        ("inject-dynamic-db", "pg/readonly", "engine=pg role=readonly"),
        ("secret-file-db", "/config/db.json", "config/db.json"),
        ("mount-path", "run/secrets", "/run/secrets"),
        ("url", "vault.example", "https://vault.example"),
        ("reload-url", "localhost:80/-/reload", "http://localhost:80/-/reload"),
        ("reload-url", "http://app:80/x", "http://127.0.0.1:80/x"),
        ("containers", "*, app", "*"),
        ("ca-configmap", "Vault_CA", "vault-ca"),
        ("position", "\"first\"", "first"),
    ] {
        check(key, value, &format!("did you mean {expected:?}?"));
    }
}

#[test]
fn where_nothing_is_near_no_value_is_suggested() {
    check("fail-open", "perhaps", "write \"true\" or \"false\"");
    check("mutation-mode", "x", "write one of the allowed values");
    check("inject-env-DB", "a/b", "name the field, for example \"a/b#password\"");
    check("refresh-interval", "soon", "write for example \"5m\"");
    check(
        "inject-secret-db",
        "db=ü",
        "write for example \"db=environments/production/billing/database, api=a/b#key\"",
    );
    check("mount-path", &"x".repeat(600), "write for example \"/run/secrets\"");
}
