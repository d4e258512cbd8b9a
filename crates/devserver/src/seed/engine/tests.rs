use super::*;
use crate::Seed;

const URL: &str = "postgres://admin:swordfish@127.0.0.1/app";

fn engine(url: &str, role: &str) -> String {
    format!(
        "engines:\n  db:\n    postgres: {{connection_url: '{url}'}}\n    roles:\n      readonly:\n        default_ttl: 1h\n        max_ttl: 2h\n        {role}\n"
    )
}

#[track_caller]
fn check(text: &str, expected: Result<(), &str>) {
    let read = Seed::new(text).map(drop).map_err(|error| error.to_string());
    match (read, expected) {
        (Err(error), Err(expected)) => {
            assert!(error.contains(expected), "{expected}: {error}");
            assert!(!error.contains("swordfish"), "{error}");
        }
        (read, expected) => assert_eq!(read, expected.map_err(str::to_owned), "{text}"),
    }
}

#[test]
fn statements_have_the_required_placeholders() {
    let role = |statements: &str| engine(URL, statements);
    check(&role(""), Ok(()));
    check(&role(r#"creation_statements: ['CREATE ROLE "{{name}}" PASSWORD ''{{password}}''']"#), Ok(()));
    check(&role(r#"creation_statements: ['CREATE ROLE "{{username}}"', '{{password}}']"#), Ok(()));
    check(&role("creation_statements: ['{{user}}']"), Err("{{user}}; allowed: {{name}}, {{password}}"));
    check(&role("creation_statements: ['CREATE ROLE {{name']"), Err("placeholder"));
    let lacks = "role readonly of the engine db: creation_statements do not contain {{password}}";
    check(&role("creation_statements: ['CREATE ROLE {{name}}']"), Err(lacks));
    check(&role("renew_statements: ['ALTER ROLE {{name}}']"), Err("do not contain {{expiration}}"));
    check(&role("revocation_statements: ['DROP ROLE x']"), Err("do not contain {{name}}"));
    let made_up = role("revocation_statements: ['DROP ROLE {{name}}']").replace("postgres: {", "#");
    check(&made_up, Err("for an engine with `postgres`"));
    let longer = "engines: {db: {roles: {readonly: {default_ttl: 3h, max_ttl: 2h}}}}";
    check(longer, Err("default_ttl 3h is longer than max_ttl 2h"));
}

#[test]
fn an_address_names_user_and_host_and_is_never_quoted() {
    check(&engine("postgres://admin:swordfish@%2Frun%2Fpg/app", ""), Ok(()));
    check(&engine("host=/run/pg user=admin password=swordfish", ""), Ok(()));
    check(&engine("postgres://{{username}}:swordfish@host/app", ""), Err("PGPASSWORD"));
    check(&engine("postgres://127.0.0.1/app", ""), Err("no user"));
    check(&engine("postgres://admin:swordfish@127.0.0.1:port/app", ""), Err("of the form"));
    check(&engine("postgres://admin:swordfish@127.0.0.1/app?sslmode=require", ""), Err("sslmode"));
    let seed = Seed::new(&engine(URL, "")).unwrap();
    assert!(!format!("{seed:?}").contains("swordfish"));
}

#[test]
fn a_password_of_the_environment_is_for_an_address_without_one() {
    let password = |url: &str| {
        let seed = Seed::new(&engine(url, "")).unwrap().with_postgres_password("other");
        let engine = seed.engines.into_values().next().unwrap();
        engine.postgres.unwrap().connection_url.config().get_password().unwrap().to_vec()
    };
    assert_eq!(password(URL), b"swordfish");
    assert_eq!(password("postgres://admin@127.0.0.1/app"), b"other");
}

#[test]
fn all_placeholders_are_filled() {
    let statement: Statement =
        r#"a "{{name}}" {{username}} '{{password}}' {{expiration}} {{name}}"#.parse().unwrap();
    let filled = statement.fill(Placeholders { name: "n", password: "p", expiration: "e" });
    assert_eq!(filled, r#"a "n" n 'p' e n"#);
}
