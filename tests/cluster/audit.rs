//! `audit` of a real cluster: its findings, its requests to the API server, and the permissions it
//! needs.

mod recorder;

use std::{fs, path::Path, process::Command, sync::Arc, time::Instant};

use kube::Client;
use scaivault_policy::{KIND, VERSION};
use scaivault_testkit::control_plane;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{self, api, create, eventually, policies, run};
use recorder::Recorder;

/// The number of workloads in the large namespace: two pages of 500.
const WORKLOADS: usize = 1_000;

/// The number of concurrent requests that create objects.
const AT_A_TIME: usize = 32;

/// The errors of the report, except those about policies, which other tests may create with
/// mistakes.
fn errors(report: &Value) -> Vec<&str> {
    let errors = report["errors"].as_array().unwrap().iter().map(|error| error["what"].as_str().unwrap());
    errors.filter(|what| !what.starts_with("injectionpolicy/")).collect()
}

/// Runs the audit through a recorder and returns exit code and report.
async fn audit(recorder: &Recorder, flags: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scaivault-injector"));
    command.args(["audit", "--output=json", "--kubeconfig"]).arg(recorder.kubeconfig()).args(flags);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.stdout.is_empty(), "{said}");
    assert_eq!(said, "", "no bar where there is no terminal");
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

fn deployment(number: usize) -> Value {
    let labels = json!({"app": format!("app-{number}")});
    let mut annotations = json!({});
    let mut container = json!({"name": "app", "image": "app:1"});
    match number % 4 {
        0 => {
            annotations["scaivault.scailabs.ai/inject-secret-db.json"] =
                "environments/production/billing/db".into();
        }
        1 => container["envFrom"] = json!([{"secretRef": {"name": format!("credentials-{number}")}}]),
        2 => annotations["vault.hashicorp.com/agent-inject-secret-db"] = "database/creds/app".into(),
        _ => {}
    }
    json!({
        "metadata": {"name": format!("app-{number}")},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": {"containers": [container]}},
        },
    })
}

async fn create_deployments(client: &Client, namespace: &str) {
    let deployments = Arc::new(api(client, "apps/v1", "Deployment", namespace));
    let mut tasks = JoinSet::new();
    for number in 0..WORKLOADS {
        if tasks.len() == AT_A_TIME {
            tasks.join_next().await.unwrap().unwrap();
        }
        let deployments = Arc::clone(&deployments);
        tasks.spawn(async move { create(&deployments, deployment(number)).await.map(drop).unwrap() });
    }
    tasks.join_all().await;
}

/// A pod with one secret, injected with this configuration.
fn injected_pod(directory: &Path, name: &str, image: &str) -> Value {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "annotations": {"scaivault.scailabs.ai/inject-secret-db": "environments/production/db"}},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    });
    let (manifest, config) = (directory.join("pod.json"), config(directory, image));
    fs::write(&manifest, pod.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_scaivault-injector"));
    command.args(["inject", "--output=json", "-f"]).arg(&manifest).arg("--config").arg(config);
    serde_json::from_str(&run(&mut command)).unwrap()
}

fn config(directory: &Path, image: &str) -> std::path::PathBuf {
    let path = directory.join("config.json");
    fs::write(&path, json!({"initImage": image}).to_string()).unwrap();
    path
}

/// A client with the permissions of `examples/audit-rbac.yaml`.
async fn auditor(plane: &control_plane::ControlPlane, namespace: &str) -> Client {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/audit-rbac.yaml");
    let text = fs::read_to_string(example).unwrap();
    assert!(
        !text.lines().any(|line| line.contains("resources:")
            && line.contains("secrets]")
            && line.contains(" secrets"))
    );
    // Cluster-scoped objects are named after the namespace, because other tests may audit, too.
    let text = text.replace("name: scaivault-audit", &format!("name: {namespace}"));
    let text = text.replace("namespace: scaivault-audit", &format!("namespace: {namespace}"));
    let file = plane.path().join(format!("{namespace}.yaml"));
    fs::write(&file, text).unwrap();
    run(plane.kubectl().unwrap().args(["apply", "--filename"]).arg(&file));
    let kubeconfig = plane.kubeconfig_for_service_account(namespace, namespace).await.unwrap();
    let client = control_plane::client(&kubeconfig).await.unwrap();
    eventually("the right to list pods", async || {
        api(&client, "v1", "Pod", namespace).list(&kube::api::ListParams::default()).await.ok()
    })
    .await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_workloads_are_audited_without_rights_on_secrets() {
    let plane = support::control_plane().await;
    let (admin, namespace) = (plane.client().await.unwrap(), plane.namespace("audit-many").await.unwrap());
    create_deployments(&admin, &namespace).await;
    let auditor = auditor(plane, &namespace).await;
    // The API server confirms that the client lacks these permissions.
    let refused = api(&auditor, "v1", "Secret", &namespace).list(&kube::api::ListParams::default()).await;
    assert!(refused.unwrap_err().to_string().contains("forbidden"));

    let recorder = Recorder::start(auditor).await;
    let started = Instant::now();
    let (_, report) = audit(&recorder, &["--namespace", &namespace]).await;
    println!("{WORKLOADS} workloads audited in {:?}", started.elapsed());
    assert_eq!(errors(&report), [""; 0]);
    assert_eq!(report["summary"]["workloads"], WORKLOADS);
    let stages = &report["summary"]["stages"];
    let quarter = WORKLOADS / 4;
    for (stage, number) in
        [("moved", quarter), ("native", quarter), ("otherProduct", quarter), ("none", quarter)]
    {
        assert_eq!(stages[stage], number, "{stage}: {stages}");
    }
    let requests = recorder.requests();
    let pages = requests.iter().filter(|request| {
        request.path.starts_with("/apis/apps/v1/") && request.path.contains("/deployments?")
    });
    assert_eq!(pages.clone().count(), 2, "{requests:#?}");
    assert!(pages.clone().all(|request| request.path.contains("limit=500")), "{requests:#?}");
    assert!(requests.iter().all(|request| request.method == "GET"), "{requests:#?}");
    assert!(!requests.iter().any(|request| request.path.contains("/secrets")), "{requests:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn running_pods_are_compared_with_the_plan() {
    let plane = support::control_plane().await;
    let (admin, namespace) = (plane.client().await.unwrap(), plane.namespace("audit-drift").await.unwrap());
    let directory = tempfile::tempdir().unwrap();
    let pods = api(&admin, "v1", "Pod", &namespace);
    for (name, image) in [("current", "agent:2"), ("older", "agent:1")] {
        create(&pods, injected_pod(directory.path(), name, image)).await.unwrap();
    }
    let mut plain = injected_pod(directory.path(), "plain", "agent:2");
    plain["spec"] = json!({"containers": [{"name": "app", "image": "app:1"}]});
    plain["metadata"]["annotations"] =
        json!({"scaivault.scailabs.ai/inject-secret-db": "environments/production/db"});
    create(&pods, plain).await.unwrap();
    policies::define(plane).await;
    let policy = json!({"apiVersion": VERSION, "kind": KIND, "metadata": {"name": namespace}, "spec": {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "podSelector": {"matchLabels": {"app": "by-policy"}},
        "inject": {"secrets": [{"name": "db", "path": "environments/production/db"}]},
    }});
    policies::apply(plane, &policy);
    let by_policy = json!({"metadata": {"name": "by-policy", "labels": {"app": "by-policy"}},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]}});
    create(&pods, by_policy).await.unwrap();
    let recorder = Recorder::start(auditor(plane, &namespace).await).await;
    let config = config(directory.path(), "agent:2");
    let (_, report) =
        audit(&recorder, &["--namespace", &namespace, "--config", config.to_str().unwrap()]).await;
    assert_eq!(errors(&report), [""; 0]);
    let workload = |name: &str| {
        let workloads = report["workloads"].as_array().unwrap();
        workloads.iter().find(|workload| workload["name"] == name).unwrap().clone()
    };
    let drifted = |name: &str| workload(name)["pods"]["drifted"].clone();
    assert_eq!(drifted("current"), json!([]));
    assert_eq!(
        drifted("older"),
        json!([{"name": "older", "state": "outdated", "differences": ["image agent:1 is now agent:2"]}])
    );
    assert_eq!(drifted("plain"), json!([{"name": "plain", "state": "not-injected", "differences": []}]));
    assert_eq!(drifted("by-policy")[0]["state"], "not-injected");
    let rows = workload("by-policy")["policies"].clone();
    let row = json!([{"name": namespace, "generation": 1, "effect": "injected", "message": "db"}]);
    assert_eq!((rows, &workload("by-policy")["stage"]), (row, &json!("moved")));
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_metadata_is_requested_without_values() {
    let plane = support::control_plane().await;
    let (admin, namespace) = (plane.client().await.unwrap(), plane.namespace("audit-tokens").await.unwrap());
    let token = json!({"metadata": {"name": "robot", "annotations": {"kubernetes.io/service-account.name": "default"}},
        "type": "kubernetes.io/service-account-token"});
    let secrets = api(&admin, "v1", "Secret", &namespace);
    create(&secrets, token).await.unwrap();
    create(&secrets, json!({"metadata": {"name": "other"}, "stringData": {"password": "not-to-be-read"}}))
        .await
        .unwrap();
    let recorder = Recorder::start(admin).await;
    let (_, report) = audit(&recorder, &["--namespace", &namespace, "--secret-metadata"]).await;
    assert_eq!(errors(&report), [""; 0]);
    let tokens = report["longLivedTokens"].as_array().unwrap();
    let names: Vec<_> = tokens.iter().map(|token| (&token["secret"], &token["serviceAccount"])).collect();
    assert_eq!(names, [(&json!("robot"), &json!("default"))]);

    let requests = recorder.requests();
    let about_secrets: Vec<_> = requests.iter().filter(|request| request.path.contains("/secrets")).collect();
    assert_eq!(about_secrets.len(), 1, "{requests:#?}");
    for request in about_secrets {
        assert!(request.accept.starts_with("application/json;as=PartialObjectMetadataList;"), "{request:?}");
        assert!(
            request.path.contains("fieldSelector=type%3Dkubernetes.io%2Fservice-account-token"),
            "{request:?}"
        );
        // The API server's answer contains neither a key nor a value.
        assert!(
            !request.answer.contains("\"data\"") && request.answer.contains("PartialObjectMetadataList"),
            "{request:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_resources_are_named_and_the_rest_is_audited() {
    let plane = support::control_plane().await;
    let (admin, namespace) =
        (plane.client().await.unwrap(), plane.namespace("audit-forbidden").await.unwrap());
    create(&api(&admin, "apps/v1", "Deployment", &namespace), deployment(1)).await.unwrap();
    let auditor = auditor(plane, &namespace).await;
    // Removes the first rule, which covers pods and service accounts among others.
    let patch = r#"[{"op": "remove", "path": "/rules/0"}]"#;
    run(plane.kubectl().unwrap().args(["patch", "clusterrole", &namespace, "--type=json", "--patch", patch]));
    eventually("the right to list pods to be gone", async || {
        api(&auditor, "v1", "Pod", &namespace)
            .list(&kube::api::ListParams::default())
            .await
            .is_err()
            .then_some(())
    })
    .await;
    let recorder = Recorder::start(auditor).await;
    let (code, report) = audit(&recorder, &["--namespace", &namespace]).await;
    assert_eq!(code, Some(2));
    assert_eq!(errors(&report), ["pods", "replicationcontrollers", "serviceaccounts"]);
    let pods = report["errors"].as_array().unwrap().iter().find(|error| error["what"] == "pods").unwrap();
    assert!(pods["fix"].as_str().unwrap().contains("examples/audit-rbac.yaml"));
    assert_eq!(report["workloads"][0]["stage"], "native");
}
