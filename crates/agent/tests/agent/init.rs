use std::{fs, os::unix::fs::PermissionsExt as _};

use scaivault_devserver::{Fault, Route};

use crate::support::Pod;

#[tokio::test]
async fn init_writes_all_files_and_exits() {
    let pod = Pod::new().await;
    let secrets = pod.mapping(&[
        ("app/database", "db.json"),
        ("app/database#password", "db/password mode=0400"),
        ("app/database", "dsn template=\"{{ data.username }}@db:{{ data.port }} v{{ version }}\""),
        ("app/stripe@1", "stripe.yaml format=yaml"),
    ]);
    let env_file = pod.path("env/variables");
    let variables = [
        ("SECRETS", secrets.as_str()),
        ("SECRET_ENV", "app/database#username -> DB_USER\napp/stripe#key -> STRIPE\n"),
        ("SCAIVAULT_ENV_FILE", env_file.to_str().unwrap()),
    ];
    pod.run("init", &variables).await.check(0, &["secrets written"]);
    assert_eq!(
        pod.secret("db.json").unwrap(),
        r#"{"password":"swordfish 'quoted'","port":5432,"username":"billing"}"#
    );
    assert_eq!(pod.secret("db/password").unwrap(), "swordfish 'quoted'");
    assert_eq!(pod.secret("dsn").unwrap(), "billing@db:5432 v1");
    assert_eq!(pod.secret("stripe.yaml").unwrap(), "\"key\": \"sk-swordfish\"\n");
    assert_eq!(fs::read_to_string(&env_file).unwrap(), "DB_USER='billing'\nSTRIPE='sk-swordfish'\n");
    let mode = fs::metadata(pod.path("secrets/db/password")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o400);
    // Three different reads, independent of the number of files and variables.
    assert_eq!(pod.vault.requests(Route::Read), 3);
    assert_eq!(pod.vault.requests(Route::Exchange), 1);
}

#[tokio::test]
async fn exit_codes_name_the_kind_of_failure_and_nothing_is_written() {
    let pod = Pod::new().await;
    for (source, code, said) in [
        ("other/secret", 3, "give the pod's identity a policy"),
        ("app/absent", 4, "secret_not_found"),
        ("app/stripe@7", 4, "version_not_found"),
        ("app/stripe#absent", 4, "it has no field \\\"absent\\\"; its fields: \\\"key\\\""),
        ("App/Stripe", 5, "is not a secret path"),
    ] {
        let secrets = pod.mapping(&[("app/database", "db.json"), (source, "x")]);
        pod.run("init", &[("SECRETS", &secrets)]).await.check(code, &[source, said]);
        assert_eq!(pod.secret("db.json"), None, "{source}");
    }
    let secrets = pod.mapping(&[("app/database", "db.json")]);
    fs::write(pod.path("token"), "not.a.token").unwrap();
    pod.run("init", &[("SECRETS", &secrets)]).await.check(2, &["the login", "check ScaiKey's trust"]);
    pod.run("init", &[]).await.check(5, &["no file is configured"]);
    pod.run("help", &[]).await.check(5, &["expected one argument"]);
}

#[tokio::test]
async fn temporary_failures_are_retried_until_the_timeout() {
    let pod = Pod::new().await;
    let secrets = pod.mapping(&[("app/stripe", "stripe.json")]);
    pod.vault.add_fault(Fault::refuse(Route::Exchange, "service_unavailable", 1));
    pod.vault.add_fault(Fault::refuse(Route::Read, "rate_limited", 1));
    pod.run("init", &[("SECRETS", &secrets)]).await.check(0, &["trying again"]);
    assert_eq!((pod.vault.requests(Route::Exchange), pod.vault.requests(Route::Read)), (2, 2));

    pod.vault.add_fault(Fault::always(Route::Read, "service_unavailable"));
    let variables = [("SECRETS", secrets.as_str()), ("FETCH_TIMEOUT", "5s")];
    pod.run("init", &variables).await.check(1, &["app/stripe", "service_unavailable"]);
}

#[tokio::test]
async fn a_silent_server_delays_the_pod_until_the_timeout() {
    let pod = Pod::new().await;
    pod.vault.add_fault(Fault::hang(Route::Read));
    let secrets = pod.mapping(&[("app/stripe", "stripe.json")]);
    let variables = [("SECRETS", secrets.as_str()), ("FETCH_TIMEOUT", "3s")];
    pod.run("init", &variables).await.check(1, &["app/stripe: it was not answered in time"]);
    // With more time it would retry.
    assert_eq!(pod.vault.requests(Route::Read), 1);
}

#[tokio::test]
async fn fail_open_starts_with_available_secrets_and_warns() {
    let pod = Pod::new().await;
    let secrets = pod.mapping(&[("app/stripe", "stripe.json"), ("other/secret", "other.json")]);
    let variables = [("SECRETS", secrets.as_str()), ("WATCH_PATHS", secrets.as_str()), ("FAIL_OPEN", "true")];
    pod.run("init", &variables).await.check(0, &["other/secret", "because FAIL_OPEN is true"]);
    assert!(pod.secret("stripe.json").is_some() && pod.secret("other.json").is_none());
    pod.run("healthz", &variables).await.check(0, &[]);
    pod.run("healthz", &variables[..2]).await.check(1, &["not fetched yet"]);
    // A malformed mapping is fatal in any case.
    pod.run("init", &[("SECRETS", "x"), ("FAIL_OPEN", "true")]).await.check(5, &["SECRETS: line 1"]);
}

#[tokio::test]
async fn the_next_start_resumes_login_and_lease() {
    let pod = Pod::new().await;
    let dynamic = pod.mapping(&[
        ("engine=postgres role=readonly ttl=2h", "db.json"),
        ("engine=postgres role=readonly ttl=2h", "user template=\"{{ data.username }}\""),
    ]);
    let state = pod.path("state");
    let variables = [("DYNAMIC", dynamic.as_str()), ("SCAIVAULT_STATE_DIR", state.to_str().unwrap())];
    pod.run("init", &variables).await.check(0, &["lease generated"]);
    let user = pod.secret("user").unwrap();
    assert!(pod.secret("db.json").unwrap().contains(&user), "files of one dynamic secret share a lease");
    fs::remove_dir_all(pod.path("secrets")).unwrap();
    pod.run("init", &variables).await.check(0, &[]);
    assert_eq!(pod.secret("user").unwrap(), user);
    assert_eq!((pod.vault.requests(Route::Exchange), pod.vault.requests(Route::Generate)), (1, 1));
}

#[tokio::test]
async fn a_start_that_fails_leaves_no_lease() {
    let pod = Pod::new().await;
    let state = pod.path("state");
    let state = ("SCAIVAULT_STATE_DIR", state.to_str().unwrap());
    let dynamic = pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
    for source in ["app/absent", "app/stripe#absent"] {
        let secrets = pod.mapping(&[(source, "x")]);
        pod.run("init", &[("DYNAMIC", &dynamic), ("SECRETS", &secrets), state]).await.check(4, &[]);
        assert_eq!(pod.vault.requests(Route::Generate), 0, "no application would use it");
    }
    // The pod of a Job has no next run.
    let dynamic = pod.mapping(&[
        ("engine=postgres role=readonly", "db.json"),
        ("engine=postgres role=absent", "other.json"),
    ]);
    pod.run("init", &[("DYNAMIC", &dynamic), state]).await.check(4, &["lease revoked"]);
    assert_eq!((pod.live_leases(), pod.vault.requests(Route::Generate)), (0, 2));
}

#[tokio::test]
async fn a_kept_login_that_is_refused_is_replaced() {
    let pod = Pod::new().await;
    let secrets = pod.mapping(&[("app/stripe", "x")]);
    let state = pod.path("state");
    let variables = [("SECRETS", secrets.as_str()), ("SCAIVAULT_STATE_DIR", state.to_str().unwrap())];
    pod.run("init", &variables).await.check(0, &[]);
    fs::remove_dir_all(pod.path("secrets")).unwrap();
    pod.vault.revoke_tokens();
    pod.run("init", &variables).await.check(0, &[]);
    assert_eq!(pod.vault.requests(Route::Exchange), 2);
}
