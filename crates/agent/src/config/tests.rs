use scaivault_contract::Format;
use scaivault_render::{Source, Style};

use super::*;

fn read<const N: usize>(
    container: Container,
    pairs: [(&'static str, &str); N],
) -> Result<Config, EnvironmentProblems> {
    Config::read(&Environment::from(pairs), container)
}

#[test]
fn the_published_init_container_runs_unchanged() {
    let config = read(
        Container::Init,
        [
            (env::SCAIVAULT_URL, "https://scaivault.scailabs.ai"),
            (env::SCAIVAULT_TOKEN_FILE, "/var/run/secrets/scaivault/token"),
            (
                env::SECRETS,
                "environments/production/billing/database -> /run/secrets/db.json\n\
                 environments/production/billing/stripe   -> /run/secrets/stripe.json\n",
            ),
        ],
    )
    .unwrap();
    let files: Vec<_> = config.outputs.targets().map(TargetFile::as_str).collect();
    assert_eq!(files, ["/run/secrets/db.json", "/run/secrets/stripe.json"]);
    assert!(matches!(config.outputs.files[0].style, Style::Format(Format::Json)));
    assert_eq!(config.outputs.files[0].mode.bits(), 0o444);
    assert!(!config.fail_open);
    assert_eq!(config.fetch_timeout, Duration::from_mins(1));
}

#[test]
fn the_published_sidecars_run_unchanged() {
    let config = read(
        Container::Sidecar,
        [
            (env::WATCH_PATHS, "environments/production/billing/database -> /run/secrets/db.json\n"),
            (env::REFRESH_INTERVAL, "5m"),
            (env::RELOAD_SIGNAL, "SIGHUP"),
            (env::RELOAD_TARGET, "billing"),
        ],
    )
    .unwrap();
    let reload = Reload::Signal { signal: Signal::Hup, target: "billing".to_owned() };
    assert_eq!(config.sidecar.reload, Some(reload));
    assert_eq!(config.sidecar.revoke_delay, Duration::from_secs(20));
    let exchange = Login::Exchange {
        token_file: "/var/run/secrets/scaivault/token".into(),
        audience: "scaivault".to_owned(),
        role: None,
    };
    assert_eq!(config.server.login, exchange);

    let config = read(
        Container::Sidecar,
        [
            (env::DYNAMIC, "engine=postgres-prod role=readonly ttl=2h -> /run/secrets/db.json\n"),
            (env::SCAIVAULT_URL, "https://scaivault.scailabs.ai"),
        ],
    )
    .unwrap();
    assert!(matches!(config.outputs.files[0].source, Source::Lease(_)));
}

#[test]
fn all_malformed_variables_are_reported_at_once() {
    let problems = read(
        Container::Sidecar,
        [
            (env::WATCH_PATHS, "a/b -> relative\nNAME=a/b\na/t -> /run/secrets/t template=\"{{\""),
            (env::REFRESH_INTERVAL, "5min"),
            (env::FAIL_OPEN, "yes"),
            (env::RELOAD_SIGNAL, "SIGKILL"),
            (env::SCAIVAULT_METRICS_LISTEN, "9102"),
        ],
    )
    .unwrap_err()
    .to_string();
    // A template is only parsed if the mapping is valid.
    for said in [
        "the environment has 7 mistakes",
        "WATCH_PATHS: line 1",
        "WATCH_PATHS: line 2: \"NAME=a/b\" is written as for Docker Compose",
        "REFRESH_INTERVAL: \"5min\" is not a duration",
        "FAIL_OPEN: it is neither true nor false",
        "RELOAD_SIGNAL: \"SIGKILL\"",
        "it requires RELOAD_TARGET; set it too",
        "SCAIVAULT_METRICS_LISTEN: it is not an address and a port",
    ] {
        assert!(problems.contains(said), "{said}: {problems}");
    }
}

#[test]
fn a_broken_template_is_malformed_and_not_quoted() {
    let problems =
        read(Container::Init, [(env::SECRETS, "a/t -> /run/secrets/t template=\"{{ hunter2\"")]).unwrap_err();
    let problems = problems.to_string();
    assert!(problems.starts_with("SECRETS: the template does not parse: line 1: "), "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
}

#[test]
fn empty_outputs_name_the_other_containers_variable() {
    let problems = read(Container::Init, []).unwrap_err().to_string();
    assert_eq!(problems, "SECRETS: no file is configured; set it, DYNAMIC or SECRET_ENV");
    let problems = read(Container::Sidecar, [(env::SECRETS, "a/b -> /run/b")]).unwrap_err().to_string();
    assert_eq!(problems, "WATCH_PATHS: SECRETS is not read by this container; rename it");
    assert!(read(Container::Sidecar, [(env::SECRET_ENV, "a/b#c -> C")]).is_ok());
}

#[test]
fn files_of_different_variables_must_not_collide() {
    let problems = read(
        Container::Init,
        [(env::SECRETS, "a/b -> /run/secrets/db"), (env::DYNAMIC, "engine=e role=r -> /run/secrets/db/x")],
    )
    .unwrap_err()
    .to_string();
    assert!(problems.contains("is inside"), "{problems}");

    let variables =
        [(env::SECRET_ENV, "a/b#c -> C"), (env::SECRETS, "a/b -> /var/run/scaivault/env/variables")];
    assert!(read(Container::Init, variables).unwrap_err().to_string().contains("written twice"));
    let token = [(env::SECRETS, "a/b -> /var/run/secrets/scaivault/token")];
    assert!(read(Container::Init, token).unwrap_err().to_string().contains("where no file may be"));
}

#[test]
fn a_tenant_is_named_by_an_identifier() {
    let tenant = |text| {
        let config =
            read(Container::Init, [(env::SECRETS, "a/b -> /run/b"), (env::SCAIVAULT_TENANT_ID, text)]);
        config.map(|config| config.server.tenant.map(|tenant| tenant.as_str().to_owned()))
    };
    assert_eq!(tenant("tnt_acme"), Ok(Some("tnt_acme".to_owned())));
    assert_eq!(tenant(""), Ok(None));
    assert!(tenant("a/b").unwrap_err().to_string().starts_with("SCAIVAULT_TENANT_ID: "));
}

#[test]
fn each_server_has_its_authorities() {
    let trust = |file: bool, vault: &str, scaikey: &str| {
        let variables = [
            (env::SECRETS, "a/b -> /run/b"),
            (env::SCAIVAULT_CREDENTIALS_DIR, "/credentials"),
            (env::SCAIVAULT_TRUST, vault),
            (env::SCAIKEY_TRUST, scaikey),
            if file { (env::SCAIVAULT_CA_FILE, "/ca.crt") } else { (env::SCAIVAULT_TENANT_ID, "") },
        ];
        read(Container::Init, variables).map(|config| {
            let Login::ClientCredentials { trust, .. } = config.server.login else { panic!("another login") };
            [config.server.trust, trust]
        })
    };
    let public = Trust { file: None, public: true };
    let private = Trust { file: Some("/ca.crt".into()), public: false };
    let both = Trust { public: true, ..private.clone() };
    for (file, vault, scaikey, expected) in [
        (false, "", "", [&public, &public]),
        (true, "", "", [&private, &private]),
        (true, "private", "public", [&private, &public]),
        (true, "both", "", [&both, &both]),
        (true, "", "both", [&private, &both]),
        (true, "public", "private", [&public, &private]),
        (false, "public", "", [&public, &public]),
    ] {
        assert_eq!(trust(file, vault, scaikey).unwrap().each_ref(), expected, "{file} {vault} {scaikey}");
    }
    for (file, word, expected) in [
        (false, "both", "SCAIVAULT_TRUST: it needs the authorities in SCAIVAULT_CA_FILE"),
        (false, "private", "SCAIVAULT_TRUST: it needs the authorities in SCAIVAULT_CA_FILE"),
        (true, "all", "SCAIVAULT_TRUST: allowed are private, public and both"),
    ] {
        let problems = trust(file, word, "").unwrap_err().to_string();
        assert!(problems.starts_with(expected), "{problems}");
    }
}

#[test]
fn client_credentials_precede_the_exchange() {
    let config = read(
        Container::Init,
        [(env::SECRETS, "a/b -> /run/b"), (env::SCAIVAULT_CREDENTIALS_DIR, "/credentials")],
    )
    .unwrap();
    let login = Login::ClientCredentials {
        directory: "/credentials".into(),
        token_url: Address::new("https://scaikey.scailabs.ai/oauth/token", PlainHttp::LoopbackOnly).unwrap(),
        trust: Trust { file: None, public: true },
    };
    assert_eq!(config.server.login, login);
}

#[test]
fn one_way_to_notify_the_application() {
    let sidecar = |pairs: [(&'static str, &str); 2]| {
        let secrets = (env::WATCH_PATHS, "a/b -> /run/b");
        read(Container::Sidecar, [secrets, pairs[0], pairs[1]]).map(|config| config.sidecar)
    };
    let url = (env::RELOAD_URL, "http://127.0.0.1:9090/-/reload");
    let reload = sidecar([url, (env::SCAIVAULT_POD, "billing-1")]).unwrap();
    assert_eq!(reload.reload, Some(Reload::Post(url.1.parse().unwrap())));
    assert_eq!(reload.pod.as_ref().map(ObjectName::as_str), Some("billing-1"));
    for other in [(env::RELOAD_SIGNAL, "SIGHUP"), (env::RELOAD_TARGET, "nginx")] {
        let problems = sidecar([url, other]).unwrap_err().to_string();
        assert!(problems.starts_with("RELOAD_URL: it excludes RELOAD_SIGNAL"), "{problems}");
    }
    let problems = sidecar([(env::RELOAD_URL, "http://10.0.0.1/"), (env::SCAIVAULT_POD, "")]).unwrap_err();
    assert!(
        problems.to_string().contains("RELOAD_URL: \"http://10.0.0.1/\" is not a reload URL"),
        "{problems}"
    );
}

#[test]
fn a_subscription_is_named_by_the_pod_and_its_uid() {
    let named = |uid| {
        let pod = [(env::WATCH_PATHS, "a/b -> /run/b"), (env::SCAIVAULT_POD, "web-0")];
        read(Container::Sidecar, [pod[0], pod[1], (env::SCAIVAULT_POD_UID, uid)])
            .map(|config| config.subscription_name())
    };
    assert_eq!(named("1b4e-28ba").unwrap(), "scaivault-sidecar/web-0/1b4e-28ba");
    assert_eq!(named("").unwrap(), "scaivault-sidecar/web-0");
    let problems = named("a/b").unwrap_err().to_string();
    assert!(problems.starts_with("SCAIVAULT_POD_UID: it is not the UID of a pod"), "{problems}");
}

#[test]
fn an_empty_variable_is_refused_if_the_default_is_unsafe() {
    for name in [
        env::SCAIVAULT_URL,
        env::SCAIVAULT_TOKEN_FILE,
        env::SCAIVAULT_CA_FILE,
        env::SCAIVAULT_CREDENTIALS_DIR,
        env::SCAIKEY_TOKEN_URL,
    ] {
        let problems = read(Container::Init, [(env::SECRETS, "a/b -> /run/b"), (name, "")]).unwrap_err();
        assert_eq!(
            problems.to_string(),
            format!("{name}: it is set but empty; give it a value or remove it")
        );
    }
    let harmless = [(env::SECRETS, "a/b -> /run/b"), (env::DYNAMIC, ""), (env::FETCH_TIMEOUT, "")];
    assert!(read(Container::Init, harmless).is_ok());
}

#[test]
fn mount_points_are_read_line_by_line() {
    let secrets = (env::SECRETS, "a/b -> /run/secrets/db.json");
    let points = "/run/secrets/eks.amazonaws.com/serviceaccount/\n\n  /run/secrets/license.key\n";
    let config = read(Container::Init, [secrets, (env::MOUNT_POINTS, points)]).unwrap();
    let read_back: Vec<_> = config.outputs.mount_points.iter().map(ToString::to_string).collect();
    assert_eq!(read_back, ["/run/secrets/eks.amazonaws.com/serviceaccount/", "/run/secrets/license.key"]);

    let wrong = "eks/\n/run/secrets/..data/\n/run/secrets/db.json/x/";
    let problems = read(Container::Init, [secrets, (env::MOUNT_POINTS, wrong)]).unwrap_err().to_string();
    for word in ["\"eks/\"", "..data", "/run/secrets/db.json/x/"] {
        assert!(problems.contains(word), "{word}: {problems}");
    }
}

#[test]
fn pod_and_node_are_filled_into_sources() {
    let config = read(
        Container::Init,
        [
            (env::SECRETS, "pods/${pod}/db -> /run/secrets/db\na=x/${node} b=y -> /run/secrets/c"),
            (env::DYNAMIC, "engine=pg role=app-${pod} -> /run/secrets/pg"),
            (env::SECRET_ENV, "nodes/${node}#key -> KEY"),
            (env::SCAIVAULT_POD, "web-0"),
            (env::SCAIVAULT_NODE, "node-1"),
        ],
    )
    .unwrap();
    let read: Vec<_> = config.outputs.files.iter().map(|file| file.source.to_string()).collect();
    assert_eq!(read, ["pods/web-0/db", "a=x/node-1 b=y", "engine=pg role=app-web-0"]);
    assert_eq!(config.outputs.variables[0].secret.to_string(), "nodes/node-1#key");
}

#[test]
fn a_variable_without_a_fitting_value_is_malformed() {
    let problems = |pairs: [_; 3]| read(Container::Sidecar, pairs).unwrap_err().to_string();
    let (watch, variables) = (
        (env::WATCH_PATHS, "pods/${pod} -> /run/secrets/db\nnodes/${node} -> /run/secrets/n"),
        (env::SECRET_ENV, "pods/${pod}#a -> A"),
    );
    let said = problems([watch, variables, (env::LOG_LEVEL, "")]);
    for word in [
        "the environment has 3 mistakes",
        "WATCH_PATHS: it contains ${pod}, but the environment variable SCAIVAULT_POD is not set; set it from the field metadata.name",
        "WATCH_PATHS: it contains ${node}, but the environment variable SCAIVAULT_NODE is not set",
        "SECRET_ENV: it contains ${pod}",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let said = problems([watch, (env::SCAIVAULT_POD, "../neighbour"), (env::SCAIVAULT_NODE, "n")]);
    assert_eq!(
        said,
        "SCAIVAULT_POD: it is not the name of a pod or a node; take it from the field metadata.name or spec.nodeName"
    );
    let said = problems([watch, (env::SCAIVAULT_POD, "p"), (env::SCAIVAULT_NODE, "ip-10-0-0-1.eu")]);
    assert!(
        said.starts_with("WATCH_PATHS: \"nodes/${node}\" does not become a path or a name here: "),
        "{said}"
    );
    // A template is literal text: placeholders in it are not replaced.
    let template = (env::WATCH_PATHS, "a/b -> /run/secrets/t template=\"${pod}\"");
    assert!(read(Container::Sidecar, [template]).is_ok());
}
