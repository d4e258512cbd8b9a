//! Every way to request secrets gives a pod that the API server accepts.

use scaivault_testkit::{PREFIX, inspect};
use serde_json::{Map, Value, json};

use super::team::{
    INIT, SECRETS, SIDECAR, Team, VARIABLES_SINCE, assert_injected, bare, minor_version, template,
};

/// Annotations with the injector's prefix.
pub(super) fn injector_annotations(pairs: &[(&str, &str)]) -> Value {
    let pairs = pairs.iter().map(|(key, value)| (format!("{PREFIX}{key}"), Value::from(*value)));
    Value::Object(pairs.collect::<Map<_, _>>())
}

const SECRET: (&str, &str) = ("inject-secret-db.json", "environments/production/billing/database");

async fn created(team: &Team, name: &str, annotations: &[(&str, &str)]) -> Value {
    team.create(&bare(name, &template(name, &injector_annotations(annotations)))).await.unwrap()
}

#[tokio::test]
async fn a_sidecar_delays_the_app_until_the_secrets_exist() {
    let team = Team::new("sidecar").await;
    let pod = created(&team, "hook", &[SECRET, ("pattern", "sidecar")]).await;
    assert_injected(&pod, &[SIDECAR]);
    let sidecar = inspect::init_container(&pod, SIDECAR).unwrap();
    assert_eq!(sidecar["lifecycle"]["postStart"]["exec"]["command"], json!(["/scaivault-agent", "wait"]));
    assert!(sidecar["startupProbe"].is_null());

    let pod = created(&team, "probe", &[SECRET, ("pattern", "sidecar"), ("start-gate", "probe")]).await;
    assert_injected(&pod, &[SIDECAR]);
    assert!(inspect::init_container(&pod, SIDECAR).unwrap()["startupProbe"].is_object());
}

#[tokio::test]
async fn renewable_secrets_need_a_sidecar() {
    let team = Team::new("renewed").await;
    let lease = ("inject-dynamic-pg.json", "engine=postgres-prod role=readonly ttl=2h");
    let pod = created(&team, "lease", &[lease]).await;
    assert_injected(&pod, &[SIDECAR]);
    let dynamic = inspect::env(inspect::init_container(&pod, SIDECAR).unwrap(), "DYNAMIC").unwrap();
    assert!(dynamic.contains("postgres-prod") && dynamic.contains("/run/secrets/pg.json"), "{dynamic}");

    let pod = created(&team, "refresh", &[SECRET, ("refresh-interval", "1m")]).await;
    assert_injected(&pod, &[SIDECAR]);
    let sidecar = inspect::init_container(&pod, SIDECAR).unwrap();
    assert_eq!(inspect::env(sidecar, "REFRESH_INTERVAL"), Some("1m"));
}

#[tokio::test]
async fn a_pod_that_runs_once_fetches_first_and_renews() {
    let team = Team::new("once").await;
    let mut pod = bare("once", &template("once", &injector_annotations(&[SECRET, ("pattern", "sidecar")])));
    pod["spec"]["restartPolicy"] = "Never".into();
    assert_injected(&team.create(&pod).await.unwrap(), &[INIT, SIDECAR]);
}

#[tokio::test]
async fn a_reloaded_process_can_be_seen_by_the_sidecar() {
    let team = Team::new("reload").await;
    let reload = [SECRET, ("reload-signal", "SIGHUP"), ("reload-target", "nginx")];
    let mut pod = bare("known", &template("known", &injector_annotations(&reload)));
    pod["spec"]["containers"][0]["securityContext"] = json!({"runAsUser": 101});
    let pod = team.create(&pod).await.unwrap();
    assert_injected(&pod, &[SIDECAR]);
    assert_eq!(pod["spec"]["shareProcessNamespace"], true);
    let sidecar = inspect::init_container(&pod, SIDECAR).unwrap();
    assert_eq!(sidecar["securityContext"]["runAsUser"], 101);
    assert_eq!(inspect::env(sidecar, "RELOAD_SIGNAL"), Some("SIGHUP"));

    let pod = created(&team, "unknown", &reload).await;
    let context = &inspect::init_container(&pod, SIDECAR).unwrap()["securityContext"];
    assert_eq!((&context["runAsUser"], &context["capabilities"]["add"]), (&0.into(), &json!(["KILL"])));
}

/// The kubelet reads the variable from a file: `fileKeyRef`, which the API server and the nodes of
/// this version support.
#[tokio::test]
async fn a_variable_is_read_from_an_unmounted_file() {
    let team = Team::new("variable").await;
    let pod = bare(
        "env",
        &template("env", &injector_annotations(&[("inject-env-STRIPE_KEY", "billing/stripe#secret_key")])),
    );
    let made = team.create(&pod).await;
    if minor_version(&team.client).await < VARIABLES_SINCE {
        let refused = made.unwrap_err().to_string();
        assert!(refused.contains("inject-env-STRIPE_KEY") && refused.contains("1.35"), "{refused}");
        return;
    }
    let pod = made.unwrap();
    let app = inspect::app_container(&pod, "app").unwrap();
    let variable = &app["env"][0];
    assert_eq!(variable["name"], "STRIPE_KEY");
    let file = &variable["valueFrom"]["fileKeyRef"];
    assert_eq!((&file["volumeName"], &file["key"]), (&"scaivault-env".into(), &"STRIPE_KEY".into()));
    assert!(
        inspect::volume(&pod, "scaivault-env").is_some() && inspect::mount(app, "scaivault-env").is_none()
    );
    assert!(inspect::volume(&pod, SECRETS).is_none(), "nothing asked for a file: {pod}");
}

#[tokio::test]
async fn only_selected_containers_get_the_secrets() {
    let team = Team::new("chosen").await;
    let annotations = injector_annotations(&[
        SECRET,
        ("containers", "worker"),
        ("init-containers", "migrate"),
        ("mount-path", "/vault"),
    ]);
    let mut pod = bare("chosen", &template("chosen", &annotations));
    let container = |name: &str| json!({"name": name, "image": "app:1"});
    pod["spec"]["containers"] = json!([container("app"), container("worker")]);
    pod["spec"]["initContainers"] = json!([container("migrate"), container("warm-up")]);
    let pod = team.create(&pod).await.unwrap();
    assert_eq!(inspect::names(inspect::entries(&pod, "initContainers")), [INIT, "migrate", "warm-up"]);
    let all =
        inspect::entries(&pod, "containers").iter().chain(&inspect::entries(&pod, "initContainers")[1..]);
    let mounted = all.filter(|container| {
        inspect::mount(container, SECRETS).is_some_and(|mount| mount["mountPath"] == "/vault")
    });
    let mounted: Vec<_> = mounted.map(|container| container["name"].as_str().unwrap()).collect();
    assert_eq!(mounted, ["worker", "migrate"]);
}

#[tokio::test]
async fn a_host_network_pod_and_one_without_a_token() {
    let team = Team::new("host").await;
    let mut pod = bare("host", &template("host", &injector_annotations(&[SECRET])));
    pod["spec"]["hostNetwork"] = true.into();
    assert_injected(&team.create(&pod).await.unwrap(), &[INIT]);
    let mut pod = bare("tokenless", &template("tokenless", &injector_annotations(&[SECRET])));
    pod["spec"]["automountServiceAccountToken"] = false.into();
    let pod = team.create(&pod).await.unwrap();
    assert_injected(&pod, &[INIT]);
    assert_eq!(inspect::entries(&pod, "volumes").len(), 2, "{pod}");
}
