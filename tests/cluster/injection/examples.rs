//! The manifests of `examples/`, applied as they are.

use std::path::Path;

use scaivault_testkit::look;
use serde_json::json;

use super::team::{INIT, SECRETS, SIDECAR, Team};
use crate::support::{create, eventually, release::Release, run};

/// The namespace that all of them name.
const NAMESPACE: &str = "shop";

#[tokio::test]
async fn the_examples_become_available() {
    let release = Release::shared().await;
    let team = Team { release, client: release.client().await, namespace: NAMESPACE.to_owned() };
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let apply = |file: &str| {
        run(release.plane.kubectl().unwrap().arg("apply").arg("--filename").arg(examples.join(file)));
    };
    apply("namespace-defaults.yaml");
    release.serve(NAMESPACE).await;
    for account in ["billing", "reports", "gateway"] {
        create(&team.api("v1", "ServiceAccount"), json!({"metadata": {"name": account}})).await.unwrap();
    }
    for (file, words, app, number, containers) in [
        ("deployment.yaml", "rollout status deployment/billing", "app=billing", 2, [INIT]),
        ("dynamic.yaml", "rollout status deployment/reports", "app=reports", 1, [SIDECAR]),
        ("sidecar.yaml", "rollout status deployment/gateway", "app=gateway", 1, [SIDECAR]),
        ("job.yaml", "wait --for=condition=complete job/migrate", "job-name=migrate", 1, [INIT]),
    ] {
        apply(file);
        team.kubectl().run(&format!("{words} --timeout=60s")).ok();
        let pods = eventually("the example's pods", async || {
            Some(team.labelled(app).await).filter(|pods| pods.len() == number)
        })
        .await;
        for pod in &pods {
            let ours = look::injected_containers(pod);
            assert_eq!(
                ours.iter().map(|container| &container["name"]).collect::<Vec<_>>(),
                containers,
                "{pod}"
            );
            assert_eq!(look::env(ours[0], "LOG_LEVEL"), Some("warn"), "the namespace says so");
            let app = &look::entries(pod, "containers")[0];
            assert_eq!(look::mount(app, SECRETS).unwrap()["readOnly"], true);
        }
    }
    // Beside the app that was named there is one that reads no secrets.
    let reports = &team.labelled("app=reports").await[0];
    assert!(look::mount(look::app_container(reports, "exporter").unwrap(), SECRETS).is_none());
}
