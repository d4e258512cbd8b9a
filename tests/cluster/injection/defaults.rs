//! Defaults that a namespace and a service account set for their pods.

use scaivault_testkit::inspect;
use serde_json::{Value, json};

use super::{
    patterns::injector_annotations,
    team::{INIT, Team, assert_injected, bare, template},
};
use crate::support::{
    cluster_api, create, eventually,
    release::{Release, annotations},
};

/// Pods may choose a URL with this prefix.
const ALLOWED_URL: &str = "https://vault.example/eu";

/// A variable of the injected init container.
#[track_caller]
fn variable<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    inspect::env(inspect::init_container(pod, INIT).unwrap_or_else(|| panic!("not injected: {pod}")), name)
}

fn pod(annotations: &[(&str, &str)]) -> Value {
    bare("app", &template("app", &injector_annotations(annotations)))
}

const SECRET: (&str, &str) = ("inject-secret-db.json", "environments/production/billing/database");

#[tokio::test]
async fn namespace_annotations_are_bounded_defaults() {
    let values =
        json!({"injector": {"allowedUrls": [ALLOWED_URL], "defaults": {"audience": "scaivault-eu"}}});
    let release: &'static Release = Box::leak(Box::new(Release::install("defaults", values).await));
    let (client, namespace) = (release.client().await, release.namespace("defaults").await);
    let team = Team { release, client, namespace };
    let url = format!("{ALLOWED_URL}/billing");
    let said = injector_annotations(&[
        ("url", &url),
        ("fetch-timeout", "2m"),
        ("inject-secret-all", "shared/everything"),
    ]);
    team.change_namespace(json!({"annotations": said})).await;

    // The injector observes a change with a delay.
    let injected = eventually("the namespace's URL", async || {
        let pod = team.dry_run(&pod(&[SECRET])).await.unwrap();
        (variable(&pod, "SCAIVAULT_URL") == Some(&url)).then_some(pod)
    })
    .await;
    assert_injected(&injected, &[INIT]);
    assert_eq!(variable(&injected, "FETCH_TIMEOUT"), Some("2m"));
    let token = &inspect::volume(&injected, "scaivault-token").unwrap()["projected"]["sources"][0];
    assert_eq!(token["serviceAccountToken"]["audience"], "scaivault-eu", "the injector's own default");
    assert!(
        !variable(&injected, "SECRETS").unwrap().contains("shared/everything"),
        "a pod asks for its secrets"
    );
    let nearer = team.dry_run(&pod(&[SECRET, ("fetch-timeout", "3m")])).await.unwrap();
    assert_eq!(variable(&nearer, "FETCH_TIMEOUT"), Some("3m"));
    let plain = team.dry_run(&pod(&[])).await.unwrap();
    assert_eq!(inspect::injected_containers(&plain).len(), 0, "defaults ask for nothing");

    let elsewhere = injector_annotations(&[("url", "https://vault.attacker.example")]);
    team.change_namespace(json!({"annotations": elsewhere})).await;
    let refused = eventually("a refusal", async || {
        team.dry_run(&pod(&[SECRET])).await.err().map(|error| error.to_string())
    })
    .await;
    assert!(refused.contains("url") && refused.contains("namespace"), "{refused}");
    team.change_namespace(json!({"annotations": {scaivault_testkit::key("url"): null}})).await;
    eventually("the URL that holds for all", async || team.dry_run(&pod(&[SECRET])).await.ok()).await;
}

#[tokio::test]
async fn a_service_accounts_role_is_that_of_its_pods() {
    let team = Team::new("role").await;
    let account = json!({"metadata": {"name": "billing", "annotations": {"scaikey.scailabs.ai/role": "sa:billing-prod"}}});
    create(&team.api("v1", "ServiceAccount"), account).await.unwrap();
    let mut pod = pod(&[SECRET]);
    assert_eq!(
        variable(&team.dry_run(&pod).await.unwrap(), "SCAIVAULT_ROLE"),
        None,
        "of the default account"
    );
    pod["spec"]["serviceAccountName"] = "billing".into();
    let made = team.dry_run(&pod).await.unwrap();
    assert_eq!(variable(&made, "SCAIVAULT_ROLE"), Some("sa:billing-prod"));
    pod["metadata"]["annotations"][scaivault_testkit::key("role")] = "reports".into();
    assert_eq!(variable(&team.dry_run(&pod).await.unwrap(), "SCAIVAULT_ROLE"), Some("reports"));
}

/// Tools create a namespace, its accounts and its pods at once. Whether the injector has already
/// cached them, or has to wait for its watches, depends on timing here; the webhook's own tests
/// check that it waits.
#[tokio::test]
async fn a_pod_that_follows_its_namespace_at_once_gets_its_defaults() {
    let release = Release::shared().await;
    let client = release.client().await;
    let namespaces = cluster_api(&client, "v1", "Namespace");
    for number in 0..10 {
        let namespace = format!("{}-{number}", release.name);
        let metadata = json!({"name": namespace, "labels": {&*release.name: "served"},
            "annotations": injector_annotations(&[("fetch-timeout", "90s")])});
        create(&namespaces, json!({"metadata": metadata})).await.unwrap();
        let team = Team { release, client: client.clone(), namespace };
        let account =
            json!({"metadata": {"name": "fresh", "annotations": {"scaikey.scailabs.ai/role": "fresh"}}});
        create(&team.api("v1", "ServiceAccount"), account).await.unwrap();
        let mut pod = bare("app", &template("app", &annotations()));
        pod["metadata"]["annotations"].as_object_mut().unwrap().remove(&scaivault_testkit::key("role"));
        pod["spec"]["serviceAccountName"] = "fresh".into();
        let made = team.create(&pod).await.unwrap();
        assert_injected(&made, &[INIT]);
        assert_eq!(variable(&made, "FETCH_TIMEOUT"), Some("90s"));
        assert_eq!(variable(&made, "SCAIVAULT_ROLE"), Some("fresh"));
    }
}
