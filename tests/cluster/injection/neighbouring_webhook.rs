//! Other mutating webhooks, called before and after the injector.

use scaivault_testkit::inspect;
use serde_json::{Value, json};

use super::team::{INIT, SECRETS, SIDECAR, Team, assert_injected, bare, template};
use crate::support::{eventually, other_webhook::OtherWebhook, release::annotations};

/// Prefixes for the order of the configurations' names; the release's name starts with `shared-`.
const PLACES: [&str; 2] = ["aa-before", "zz-after"];

/// A pod after both webhooks were called. The API server observes the new one with a delay.
async fn made(team: &Team, pod: &Value, other_was_there: fn(&Value) -> bool) -> Value {
    eventually("both webhooks", async || {
        let pod = team.dry_run(pod).await.unwrap();
        other_was_there(&pod).then_some(pod)
    })
    .await
}

/// Adds another product's container, once.
fn add_container(pod: &mut Value) {
    let containers = pod["spec"]["containers"].as_array_mut().unwrap();
    if inspect::named(containers, "log-shipper").is_none() {
        containers.push(json!({"name": "log-shipper", "image": "log-shipper:1"}));
    }
}

#[tokio::test]
async fn a_container_that_another_webhook_adds_gets_its_mount_too() {
    for place in PLACES {
        let team = Team::new("added").await;
        let _other = OtherWebhook::start(&team.client, &team.namespace, place, add_container).await;
        let pod = bare("app", &template("app", &annotations()));
        let pod = made(&team, &pod, |pod| inspect::app_container(pod, "log-shipper").is_some()).await;
        assert_eq!(inspect::names(inspect::entries(&pod, "containers")), ["app", "log-shipper"]);
        assert_injected(&pod, &[INIT]);
    }
}

/// Where EKS mounts the token of an IAM role, below the default mount path.
const CLOUD_TOKEN: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount";

/// Adds a cloud provider's token to every container, once.
fn mount_cloud_token(pod: &mut Value) {
    let spec = &mut pod["spec"];
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            if inspect::volume_at(container, CLOUD_TOKEN).is_none() {
                let mut mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
                mounts.push(json!({"name": "cloud-token", "mountPath": CLOUD_TOKEN, "readOnly": true}));
                container["volumeMounts"] = mounts.into();
            }
        }
    }
    let mut volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
    if inspect::named(&volumes, "cloud-token").is_none() {
        let source = json!({"serviceAccountToken": {"audience": "sts.amazonaws.com", "path": "token"}});
        volumes.push(json!({"name": "cloud-token", "projected": {"sources": [source]}}));
        spec["volumes"] = volumes.into();
    }
}

#[tokio::test]
async fn a_cloud_providers_token_is_mounted_below_the_secrets() {
    for place in PLACES {
        let team = Team::new("token").await;
        let _other = OtherWebhook::start(&team.client, &team.namespace, place, mount_cloud_token).await;
        let pod = bare("app", &template("app", &annotations()));
        let is_mounted =
            |pod: &Value| inspect::volume_at(&pod["spec"]["containers"][0], CLOUD_TOKEN).is_some();
        let pod = made(&team, &pod, is_mounted).await;
        assert_injected(&pod, &[INIT]);
        let points = inspect::env(inspect::init_container(&pod, INIT).unwrap(), "MOUNT_POINTS");
        assert_eq!(points, Some("/run/secrets/eks.amazonaws.com/serviceaccount/\n"), "{place}");
    }
}

fn add_native_sidecar(pod: &mut Value) {
    let spec = &mut pod["spec"];
    if inspect::named(spec["initContainers"].as_array().map_or(&[], Vec::as_slice), "istio-proxy").is_none() {
        let proxy = json!({"name": "istio-proxy", "image": "proxy:1", "restartPolicy": "Always"});
        let mut containers = vec![proxy];
        containers.extend(spec["initContainers"].as_array().into_iter().flatten().cloned());
        spec["initContainers"] = containers.into();
    }
}

#[tokio::test]
async fn secrets_are_fetched_through_a_mesh_in_any_order() {
    for place in PLACES {
        let team = Team::new("mesh").await;
        let _other = OtherWebhook::start(&team.client, &team.namespace, place, add_native_sidecar).await;
        let pod = bare("app", &template("app", &annotations()));
        let pod = made(&team, &pod, |pod| inspect::init_container(pod, "istio-proxy").is_some()).await;
        assert_eq!(inspect::names(inspect::entries(&pod, "initContainers")), ["istio-proxy", INIT]);
        assert_injected(&pod, &[INIT]);
    }
}

/// Prefixes images with a registry mirror.
fn rewrite_registries(pod: &mut Value) {
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            let image = container["image"].as_str().unwrap();
            if !image.starts_with("mirror.example/") {
                container["image"] = format!("mirror.example/{image}").into();
            }
        }
    }
}

#[tokio::test]
async fn images_that_another_webhook_rewrites_stay_rewritten() {
    let mut wanted = annotations();
    wanted[scaivault_testkit::key("pattern")] = "sidecar".into();
    for place in PLACES {
        let team = Team::new("mirror").await;
        let _other = OtherWebhook::start(&team.client, &team.namespace, place, rewrite_registries).await;
        let pod = bare("app", &template("app", &wanted));
        let is_rewritten = |pod: &Value| pod["spec"]["containers"][0]["image"] == "mirror.example/app:1";
        let pod = made(&team, &pod, is_rewritten).await;
        assert_injected(&pod, &[SIDECAR]);
        let image = inspect::init_container(&pod, SIDECAR).unwrap()["image"].as_str().unwrap();
        assert!(image.starts_with("mirror.example/scailabs/scaivault-init:"), "{image}");
    }
}

/// Sets resources on every container, as a policy engine does.
fn set_resources(pod: &mut Value) {
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            container["resources"] = json!({"requests": {"cpu": "1m", "memory": "64Mi"}});
        }
    }
}

#[tokio::test]
async fn amounts_that_another_webhook_sets_stay_set() {
    let team = Team::new("amounts").await;
    let _other = OtherWebhook::start(&team.client, &team.namespace, PLACES[1], set_resources).await;
    let pod = bare("app", &template("app", &annotations()));
    let is_set = |pod: &Value| !pod["spec"]["containers"][0]["resources"]["requests"].is_null();
    let pod = made(&team, &pod, is_set).await;
    assert_injected(&pod, &[INIT]);
    assert_eq!(inspect::init_container(&pod, INIT).unwrap()["resources"]["requests"]["cpu"], "1m");
}

/// Removes the injector's mount. The API server calls the injector again, which restores it.
fn drop_mounts(pod: &mut Value) {
    let container = &mut pod["spec"]["containers"][0];
    if container["env"].is_null()
        && let Some(mounts) = container["volumeMounts"].as_array_mut()
        && mounts.iter().any(|mount| mount["name"] == SECRETS)
    {
        mounts.retain(|mount| mount["name"] != SECRETS);
        container["env"] = json!([{"name": "SEEN", "value": "1"}]);
    }
}

#[tokio::test]
async fn a_lost_mount_is_added_again() {
    let team = Team::new("lost").await;
    let _other = OtherWebhook::start(&team.client, &team.namespace, PLACES[1], drop_mounts).await;
    let pod = bare("app", &template("app", &annotations()));
    let pod = made(&team, &pod, |pod| !pod["spec"]["containers"][0]["env"].is_null()).await;
    assert_injected(&pod, &[INIT]);
}
