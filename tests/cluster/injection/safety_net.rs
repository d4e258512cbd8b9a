//! If the webhook fails open, the API server itself rejects pods that would start without their
//! secrets.

use scaivault_testkit::PREFIX;
use serde_json::{Value, json};

use super::team::{INIT, SIDECAR, Team, assert_injected, bare, template};
use crate::support::{
    eventually,
    release::{Release, annotations},
};

/// A pod that requests a secret, with another annotation of the injector and another init
/// container.
fn asking(annotation: Option<(&str, &str)>, init: Option<&str>) -> Value {
    let mut pod = bare("app", &template("app", &annotations()));
    if let Some((key, value)) = annotation {
        pod["metadata"]["annotations"][format!("{PREFIX}{key}")] = value.into();
    }
    if let Some(name) = init {
        pod["spec"]["initContainers"] = json!([{"name": name, "image": "agent:1"}]);
    }
    pod
}

#[tokio::test]
async fn without_an_injector_annotated_pods_are_refused() {
    let values = json!({"webhook": {"failurePolicy": "Ignore"}});
    let release: &'static Release = Box::leak(Box::new(Release::install("safety-net", values).await));
    let (client, namespace) = (release.client().await, release.namespace("safety-net").await);
    let team = Team { release, client, namespace };
    assert_injected(&team.dry_run(&asking(None, None)).await.unwrap(), &[INIT]);

    release.stop().await;
    eventually("the safety net", async || team.dry_run(&asking(None, None)).await.err()).await;
    let mark = Some(("status", "injected"));
    for (what, pod) in [
        ("no annotation of the injector", asking(None, None)),
        ("a copied mark", asking(mark, None)),
        ("a copied mark and a container of another product", asking(mark, Some("setup"))),
        ("a container without the mark", asking(None, Some(INIT))),
    ] {
        let refused = team.dry_run(&pod).await.expect_err(what).to_string();
        assert!(refused.contains("the injector did not answer"), "{what}: {refused}");
    }
    for (what, pod) in [
        ("injected once", asking(mark, Some(INIT))),
        ("with a sidecar", asking(mark, Some(SIDECAR))),
        ("let through with problems", asking(Some(("status", "skipped/problems")), None)),
        ("opted out", asking(Some(("inject", "false")), None)),
    ] {
        assert!(team.dry_run(&pod).await.is_ok(), "{what}");
    }
}
