//! Runs the Job in `examples/argocd-sync-wave.yaml` with its permissions and variables.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{cluster::Cluster, support::Pod};

const SEED: &str = r#"
policies:
  pricing: [{path_pattern: "environments/production/pricing/**", permissions: [read]}]
identities:
  - {id: "sa:pricing", service_accounts: [billing/web], policies: [pricing]}
secrets:
  environments/production/pricing/database: {data: {username: pricing, password: swordfish}}
"#;

#[tokio::test]
async fn the_jobs_rights_and_variables_are_enough() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/argocd-sync-wave.yaml");
    let objects: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(file).unwrap()).unwrap();
    let cluster = Cluster::with(Pod::with(SEED).await).await;
    for object in &objects {
        let mut object = object.clone();
        object["metadata"]["namespace"] = cluster.namespace.clone().into();
        if let Some(subject) = object.pointer_mut("/subjects/0/namespace") {
            *subject = cluster.namespace.clone().into();
        }
        cluster.apply(&object);
    }
    cluster.use_account("pricing-secret");
    let job = objects.iter().find(|object| object["kind"] == "Job").unwrap();
    let container = &job.pointer("/spec/template/spec/containers/0").unwrap();
    assert_eq!(container["command"], serde_json::json!(["/scaivault-agent", "sync-secret"]));
    let variables: Vec<(&str, &str)> = container["env"].as_array().unwrap().iter().map(variable).collect();
    // ScaiVault has another address here.
    let variables: Vec<_> = variables.into_iter().filter(|(name, _)| *name != "SCAIVAULT_URL").collect();
    cluster.run(&variables).await.check(0, &["\"is_new\":true"]);
    let secret = cluster.kubectl("get secret pricing -o jsonpath={.data}", None).unwrap();
    let secret: Value = serde_json::from_str(&secret).unwrap();
    assert_eq!(secret, serde_json::json!({"DB_USER": "cHJpY2luZw==", "DB_PASSWORD": "c3dvcmRmaXNo"}));
}

fn variable(entry: &Value) -> (&str, &str) {
    (entry["name"].as_str().unwrap(), entry["value"].as_str().unwrap())
}
