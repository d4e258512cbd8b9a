use super::*;

const MAP: &str = "
secrets:
- namespace: shop
  name: db
  path: environments/production/shop/database
  version: 3
  keys:
    username: user
    tls.p12: {field: keystore, base64: true}
    other: {path: environments/production/shop/other}
- {name: db, path: shared/database}
- {name: registry, keep: true}
vault:
- {path: /kv/data/billing/db, to: billing/database, fields: {user: username}, format: env}
- {path: database/creds/readonly, dynamic: {engine: postgres, role: readonly, ttl: 1h}}
- {path: team-a/kv/data/x, to: team-a/x}
roles: {billing: 'sa:billing'}
";

fn source(map: &PathMap, namespace: &str, key: &str) -> KeySource {
    let SecretTarget::Move(moved) = map.secret(namespace, "db").unwrap() else { panic!("it stays") };
    moved.key(key).unwrap()
}

#[test]
fn an_entry_with_a_namespace_wins() {
    let map = PathMap::parse(MAP).unwrap();
    let text = |namespace, key| source(&map, namespace, key).secret.to_string();
    assert_eq!(text("shop", "username"), "environments/production/shop/database#user@3");
    assert_eq!(text("shop", "password"), "environments/production/shop/database#password@3");
    assert_eq!(text("shop", "other"), "environments/production/shop/other#other");
    assert_eq!(text("other", "username"), "shared/database#username");
    assert!(source(&map, "shop", "tls.p12").is_base64);
    assert_eq!(map.secret("shop", "registry"), Ok(SecretTarget::Keep));
    assert_eq!(map.secret("shop", "absent"), Err(LookupError::Missing));
}

#[test]
fn vault_paths_are_found_with_and_without_their_namespace() {
    let map = PathMap::parse(MAP).unwrap();
    let target = map.vault(None, "kv/data/billing/db/", "shop").unwrap();
    assert_eq!((target.field("user"), target.field("password")), ("username", "password"));
    assert!(map.vault(Some("team-a"), "kv/data/x", "shop").is_ok());
    assert_eq!(map.vault(Some("team-b"), "kv/data/x", "shop"), Err(LookupError::Missing));
    let dynamic = map.vault(None, "database/creds/readonly", "shop").unwrap();
    assert!(
        matches!(dynamic, VaultTarget::Dynamic { dynamic, .. } if dynamic.to_string() == "engine=postgres role=readonly ttl=1h")
    );
    assert_eq!(map.role("billing"), Some("sa:billing"));
}

#[test]
fn a_rule_fills_its_variables() {
    let map = PathMap {
        secret_rule: Some("environments/${environment}/${namespace}/${secret}".to_owned()),
        vault_rule: Some("environments/${environment}/${path}".to_owned()),
        environment: Some("prod".to_owned()),
        ..PathMap::default()
    };
    assert_eq!(source(&map, "shop", "a").secret.to_string(), "environments/prod/shop/db#a");
    for (path, expected) in
        [("kv/data/billing/db", "environments/prod/billing/db"), ("kv/billing", "environments/prod/billing")]
    {
        let Ok(VaultTarget::Secret { secret, .. }) = map.vault(None, path, "shop") else { panic!("{path}") };
        assert_eq!(secret.to_string(), expected);
    }
    // A name with characters that a path does not allow, and a manifest without a namespace, are
    // reported.
    for (namespace, secret, said) in
        [("shop", "a.b", "'.'"), ("", "db", "pass --namespace"), ("shop/../x", "db", "'.'")]
    {
        let Err(LookupError::Rule(reason)) = map.secret(namespace, secret) else { panic!("{secret}") };
        assert!(reason.contains(said), "{reason}");
    }
}

#[test]
fn every_mistake_is_named_at_once() {
    let error = PathMap::parse(
        "secrets:\n- {name: a}\n- {name: b, path: ''}\n- {name: c, path: /x}\n- {name: d, keep: true, path: x}\n\
         - {name: e, path: x, keys: {k: 'a b'}}\n- {name: f, path: x}\n- {name: f, path: y}\n\
         vault:\n- {path: p}\n- {path: q, to: X}\n- {path: r, to: x, format: ini}\n",
    );
    let error = error.unwrap_err().to_string();
    for said in [
        "secrets: a: it has no `path`",
        "secrets: b: its `path` is empty",
        "secrets: c: path:",
        "secrets: d: `keep: true`",
        "secrets: e: key k:",
        "secrets: f is duplicate",
        "vault: p: write either",
        "vault: q: to:",
        "vault: r:",
    ] {
        assert!(error.contains(said), "{said}\n{error}");
    }
    let unknown = PathMap::parse("secret:\n- {name: a}\n").unwrap_err().to_string();
    assert!(unknown.contains("secret") && unknown.contains("docs/migrate.md"), "{unknown}");
    assert!(PathMap::parse("").is_ok() && PathMap::parse("# nothing yet\n").is_ok());
}

#[test]
fn variables_of_a_rule_are_checked() {
    let names = ["environment", "secret"];
    assert!(check_rule("a/${environment}/${secret}", &names).is_ok());
    for rule in ["a/$secret", "a/${name}", "a/${secret", "a/${}"] {
        assert!(check_rule(rule, &names).unwrap_err().contains("${environment}, ${secret}"), "{rule}");
    }
}

/// The printed map can be filled in and parsed.
#[test]
fn a_skeleton_is_a_map_once_it_is_filled_in() {
    let missing = [
        MissingEntry::Secret { namespace: "shop".to_owned(), name: "db".to_owned() },
        MissingEntry::Keys { namespace: String::new(), name: "api".to_owned() },
        MissingEntry::Vault("kv/data/x".to_owned()),
    ];
    let text = skeleton(&missing);
    let error = PathMap::parse(&text).unwrap_err().to_string();
    assert!(error.contains("secrets: shop/db: its `path` is empty"), "{text}\n{error}");
    assert!(PathMap::parse(&text.replace("\"\"", "\"a/b\"")).is_ok(), "{text}");
}
