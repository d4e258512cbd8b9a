//! The manifests of `examples/`, applied unchanged.

use std::path::Path;

use scaivault_testkit::inspect;
use serde_json::Value;

use super::team::{INIT, SECRETS, SIDECAR, Team, VARIABLES_SINCE, minor_version};
use crate::support::{eventually, release::Release, run};

/// The namespace of all examples.
const NAMESPACE: &str = "shop";

#[tokio::test]
async fn the_examples_become_available() {
    let release = Release::shared().await;
    let team = Team { release, client: release.client().await, namespace: NAMESPACE.to_owned() };
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let apply = |file: &str| {
        run(release.plane.kubectl().unwrap().arg("apply").arg("--filename").arg(examples.join(file)));
    };
    // It enforces Pod Security `restricted` for the other examples.
    apply("namespace-defaults.yaml");
    release.serve(NAMESPACE).await;
    let rows = [
        ("deployment.yaml", "rollout status deployment/billing", "app=billing", 2, [INIT].as_slice()),
        ("dynamic.yaml", "rollout status deployment/reports", "app=reports", 1, &[SIDECAR]),
        ("sidecar.yaml", "rollout status deployment/gateway", "app=gateway", 1, &[SIDECAR]),
        ("reload-url.yaml", "rollout status deployment/metrics", "app=metrics", 1, &[SIDECAR]),
        ("job.yaml", "wait --for=condition=complete job/migrate", "job-name=migrate", 1, &[INIT, SIDECAR]),
        ("cronjob.yaml", "create job backup-now --from=cronjob/backup", "job-name=backup-now", 1, &[INIT]),
        ("variables.yaml", "rollout status deployment/storefront", "app=storefront", 1, &[INIT]),
        ("by-hand.yaml", "rollout status deployment/invoices", "app=invoices", 1, &[]),
    ];
    let has_variables = minor_version(&team.client).await >= VARIABLES_SINCE;
    for (file, words, app, number, containers) in rows {
        if file == "variables.yaml" && !has_variables {
            continue;
        }
        apply(file);
        let timeout = if words.starts_with("create") { "" } else { " --timeout=60s" };
        team.kubectl().run(&format!("{words}{timeout}")).ok();
        let pods = eventually("the example's pods", async || {
            Some(team.labelled(app).await).filter(|pods| pods.len() == number)
        })
        .await;
        for pod in &pods {
            let agents = inspect::injected_containers(pod);
            let names: Vec<_> = agents.iter().map(|container| container["name"].as_str().unwrap()).collect();
            assert_eq!(names, containers, "{pod}");
            for container in agents {
                assert_eq!(inspect::env(container, "LOG_LEVEL"), Some("warn"), "the namespace says so");
                let role = inspect::env(container, "SCAIVAULT_ROLE").unwrap();
                assert!(role.starts_with("sa:"), "the service account says so: {role}");
            }
        }
    }
    let app = |pod: &Value| inspect::entries(pod, "containers")[0].clone();
    let billing = &team.labelled("app=billing").await[0];
    assert_eq!(inspect::mount(&app(billing), SECRETS).unwrap()["readOnly"], true);
    // The second container, which is not listed, reads no secrets.
    let reports = &team.labelled("app=reports").await[0];
    assert!(inspect::mount(inspect::app_container(reports, "proxy").unwrap(), SECRETS).is_none());
    if has_variables {
        let storefront = &team.labelled("app=storefront").await[0];
        assert_eq!(inspect::env_names(&app(storefront)), ["SESSION_KEY", "STRIPE_API_KEY", "SESSION_STORE"]);
    }
}
