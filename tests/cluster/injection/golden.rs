//! The golden cases on a real API server: it accepts the injected pods, and the webhook's result
//! equals that of the command line.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::team::{Team, VARIABLES_SINCE, minor_version};
use crate::support::{api, kubectl, release::Release};

/// The number of pods in the golden cases that are rejected for their annotations.
const REFUSED: usize = 6;

#[tokio::test]
async fn the_api_server_and_the_command_line_agree() {
    let release = Release::shared().await;
    let client = release.client().await;
    let config = api(&client, "v1", "ConfigMap", &release.name).get(&release.name).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let config_file = files.path().join("injector.yaml");
    fs::write(&config_file, config.data["data"]["injector.yaml"].as_str().unwrap()).unwrap();

    let minor = minor_version(&client).await;
    let (mut taken, mut refused) = (0, 0);
    for case in cases() {
        let mut arguments = vec!["--kube-version".into(), format!("1.{minor}").into()];
        arguments.extend(["--config".into(), config_file.clone().into_os_string()]);
        let mut said = json!({});
        if let Ok(namespace) = fs::read_to_string(case.join("namespace.yaml")) {
            let namespace: Value = serde_saphyr::from_str(&namespace).unwrap();
            said = namespace["metadata"]["annotations"].clone();
        }
        let team = Team::fresh("golden", &said).await;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": team.namespace, "annotations": said}});
        let namespace_file = files.path().join("namespace.json");
        fs::write(&namespace_file, namespace.to_string()).unwrap();
        arguments.extend(["--namespace-file".into(), namespace_file.into_os_string()]);
        for pod in pods(&case, &team.namespace) {
            if let Some(account) = pod["spec"]["serviceAccountName"].as_str() {
                let account =
                    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}});
                team.kubectl().apply(&account).ok();
            }
            let name = case.file_name().unwrap().display();
            match (injected(&pod, &arguments), team.dry_run(&pod).await) {
                (Ok(offline), Ok(made)) => {
                    assert_contains(&made, &offline, &format!("{name}: "));
                    taken += 1;
                }
                (Err(_), Err(kube::Error::Api(status))) => {
                    assert!(status.message.contains("denied the request"), "{name}: {}", status.message);
                    refused += 1;
                }
                (offline, made) => {
                    panic!("{name}: the command line says {offline:?}, the API server {made:?}")
                }
            }
        }
    }
    // Two cases use variables.
    assert_eq!(refused, REFUSED + 2 * usize::from(minor < VARIABLES_SINCE));
    assert!(taken > 2 * REFUSED, "{taken} pods were taken");
}

/// The directories of the golden cases.
fn cases() -> Vec<PathBuf> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> = fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// The pods of a case's input in a namespace; for a workload, one as its controller creates it.
fn pods(case: &Path, namespace: &str) -> Vec<Value> {
    let text = fs::read_to_string(case.join("input.yaml")).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let pod = |object: Value| {
        let templates = ["/spec/template", "/spec/jobTemplate/spec/template"];
        let template = templates.iter().find_map(|pointer| object.pointer(pointer));
        let mut pod = template.unwrap_or(&object).clone();
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = object["metadata"]["name"].clone();
        pod["metadata"]["namespace"] = namespace.into();
        pod
    };
    objects.into_iter().map(pod).collect()
}

/// The result of the command line for a pod, or its error.
fn injected(pod: &Value, arguments: &[std::ffi::OsString]) -> Result<Value, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scaivault-injector"));
    command.args(["inject", "-f", "-"]).args(arguments).env_clear();
    let said = kubectl::said(command, Some(pod));
    if said.is_success { Ok(serde_json::from_str(&said.out).unwrap()) } else { Err(said.err) }
}

/// The API server adds fields to a pod and normalizes numbers and quantities; everything else must
/// still be there, in its order.
#[track_caller]
fn assert_contains(made: &Value, offline: &Value, path: &str) {
    match (made, offline) {
        (Value::Object(made), Value::Object(offline)) => {
            for (key, value) in offline {
                let found = made.get(key).unwrap_or_else(|| panic!("{path}/{key} is not there"));
                assert_contains(found, value, &format!("{path}/{key}"));
            }
        }
        (Value::Array(made), Value::Array(offline)) => {
            // Entries of the API server, such as its own token, come before the injected ones.
            let others = |entry: &&Value| {
                !entry["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access"))
            };
            let made: Vec<_> = made.iter().filter(others).collect();
            assert_eq!(made.len(), offline.len(), "{path}: {made:?}");
            for (index, (made, offline)) in made.into_iter().zip(offline).enumerate() {
                assert_contains(made, offline, &format!("{path}/{index}"));
            }
        }
        (Value::String(made), Value::Number(offline)) => assert_eq!(*made, offline.to_string(), "{path}"),
        _ => assert_eq!(made, offline, "{path}"),
    }
}
