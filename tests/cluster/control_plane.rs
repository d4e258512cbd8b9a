//! The control plane has the properties on which the other tests rely.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Read as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use kube::api::ListParams;
use scaivault_testkit::control_plane::{self, ControlPlane, Options};
use serde_json::{Value, json};

use crate::support::{self, TIMEOUT, api, create, eventually, run};

/// Set for the child process that runs a control plane and is killed.
const HOLDER: &str = "SCAIVAULT_CLUSTER_TEST_HOLDER";

/// A Deployment with this many pods.
fn deployment(name: &str, replicas: usize) -> Value {
    let labels = json!({"app": name});
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": "app:1"}]},
            },
        },
    })
}

#[tokio::test]
async fn kubectl_and_server_are_of_one_version() {
    let plane = support::control_plane().await;
    let versions: Value =
        serde_json::from_str(&run(plane.kubectl().unwrap().args(["version", "--output=json"]))).unwrap();
    let [client, server] = ["clientVersion", "serverVersion"].map(|side| &versions[side]["gitVersion"]);
    assert_eq!(client, server);
    assert!(server.as_str().unwrap().starts_with("v1."), "{versions}");
}

#[tokio::test]
async fn a_deployments_pods_become_ready_on_the_nodes() {
    let plane = support::control_plane().await;
    let (client, namespace) = (plane.client().await.unwrap(), plane.namespace("ready").await.unwrap());
    create(&api(&client, "apps/v1", "Deployment", &namespace), deployment("app", 3)).await.unwrap();
    let pods = api(&client, "v1", "Pod", &namespace);
    eventually("three ready pods", async || {
        let pods = pods.list(&ListParams::default()).await.unwrap();
        let ready = pods.iter().filter(|pod| {
            let conditions = pod.data["status"]["conditions"].as_array();
            conditions.into_iter().flatten().any(|is| is["type"] == "Ready" && is["status"] == "True")
        });
        (ready.count() == 3).then_some(())
    })
    .await;
    run(plane.kubectl().unwrap().args([
        "rollout",
        "status",
        "deployment/app",
        "--timeout=60s",
        "-n",
        &namespace,
    ]));
}

#[tokio::test]
async fn controllers_are_service_accounts() {
    let plane = support::control_plane().await;
    let (client, namespace) = (plane.client().await.unwrap(), plane.namespace("controllers").await.unwrap());
    // ReplicaSets only get pods if their controller may create pods, so its permission is checked
    // as a sample.
    let reviews = support::cluster_api(&client, "authorization.k8s.io/v1", "SubjectAccessReview");
    let user = "system:serviceaccount:kube-system:replicaset-controller";
    let may = json!({"metadata": {}, "spec": {"user": user, "resourceAttributes":
        {"namespace": namespace, "verb": "create", "resource": "pods"}}});
    assert_eq!(create(&reviews, may).await.unwrap()["status"]["allowed"], true);
    create(&api(&client, "apps/v1", "Deployment", &namespace), deployment("app", 1)).await.unwrap();
    let set = eventually("the ReplicaSet's status", async || {
        let sets =
            api(&client, "apps/v1", "ReplicaSet", &namespace).list(&ListParams::default()).await.unwrap();
        sets.into_iter().find(|set| set.data["status"]["replicas"] == 1)
    })
    .await;
    let managers: Vec<_> =
        set.metadata.managed_fields.unwrap().into_iter().filter_map(|field| field.manager).collect();
    assert_eq!(managers, ["kube-controller-manager"; 2]);
}

#[tokio::test]
async fn a_service_account_only_has_its_own_rights() {
    let plane = support::control_plane().await;
    let (admin, namespace) = (plane.client().await.unwrap(), plane.namespace("rights").await.unwrap());
    let group = "rbac.authorization.k8s.io";
    let role = json!({"metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]});
    let binding = json!({"metadata": {"name": "reader"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader"}]});
    let version = format!("{group}/v1");
    create(&api(&admin, "v1", "ServiceAccount", &namespace), json!({"metadata": {"name": "reader"}}))
        .await
        .unwrap();
    create(&api(&admin, &version, "Role", &namespace), role).await.unwrap();
    create(&api(&admin, &version, "RoleBinding", &namespace), binding).await.unwrap();

    let kubeconfig = plane.kubeconfig_for_service_account(&namespace, "reader").await.unwrap();
    let reader = control_plane::client(&kubeconfig).await.unwrap();
    eventually("the right to list", async || {
        api(&reader, "v1", "ConfigMap", &namespace).list(&ListParams::default()).await.ok()
    })
    .await;
    for (kind, namespace) in [("Secret", namespace.as_str()), ("ConfigMap", "kube-system")] {
        let error = api(&reader, "v1", kind, namespace).list(&ListParams::default()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("forbidden") && text.contains(":reader"), "{text}");
    }
}

#[tokio::test]
async fn a_user_need_not_exist_to_be_impersonated() {
    let plane = support::control_plane().await;
    let kubeconfig = plane.kubeconfig_for_user("jane", &["developers"]).unwrap();
    let kubectl = || {
        let mut command = plane.kubectl().unwrap();
        command.env("KUBECONFIG", &kubeconfig);
        command
    };
    let whoami = run(kubectl().args(["auth", "whoami", "--output=json"]));
    let whoami: Value = serde_json::from_str(&whoami).unwrap();
    let user = &whoami["status"]["userInfo"];
    assert_eq!(user["username"], "jane");
    assert_eq!(user["groups"], json!(["developers", "system:authenticated"]));
}

#[tokio::test]
async fn helm_reaches_the_control_plane() {
    let plane = support::control_plane().await;
    assert_eq!(run(plane.helm().unwrap().args(["list", "--short", "--namespace", "default"])), "");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "distinguishes the two processes")]
async fn nothing_remains_of_a_killed_test() {
    if env::var_os(HOLDER).is_some() {
        hold().await;
        return;
    }
    let mut holder = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "control_plane::nothing_remains_of_a_killed_test"])
        .env(HOLDER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines().map(Result::unwrap);
    let held = lines.find_map(|line| line.split_once("held: ").map(|(_, held)| held.to_owned()));
    let held = held.expect("the other process starts a control plane");
    let (path, address) = held.split_once(' ').unwrap();
    let path = PathBuf::from(path);
    let programs = process_ids(&path);
    assert_eq!(programs.len(), 5, "{programs:?}");
    assert!(programs.iter().all(|id| runs(id)));
    TcpStream::connect(address).unwrap();

    holder.kill().unwrap();
    holder.wait().unwrap();
    let deadline = Instant::now() + TIMEOUT;
    while path.exists() || TcpStream::connect(address).is_ok() || programs.iter().any(|id| runs(id)) {
        assert!(Instant::now() < deadline, "{held} or one of {programs:?} is still there");
        thread::yield_now();
    }
}

/// Runs a control plane until this process is killed or its parent exits.
async fn hold() {
    let plane = ControlPlane::start(&Options { nodes: 1, ..Options::default() }).await;
    let plane = plane.unwrap_or_else(|error| panic!("{}", support::chain(&error)));
    println!("held: {} {}", plane.path().display(), plane.server_url().trim_start_matches("https://"));
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// The files with process ids in the directory of the logs.
fn process_ids(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let ids = files.filter(|file| file.extension().is_some_and(|extension| extension == "pid"));
    ids.map(|file| fs::read_to_string(file).unwrap().trim().to_owned()).collect()
}

fn runs(process_id: &str) -> bool {
    Command::new("kill").args(["-0", process_id]).stderr(Stdio::null()).status().unwrap().success()
}
