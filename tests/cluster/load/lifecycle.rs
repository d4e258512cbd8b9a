//! From installation through upgrades to removal.

use std::{collections::BTreeSet, process::Command};

use scaivault_testkit::poll;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::{
    fleet::{Fleet, strings, turn},
    support::{TIMEOUT, api, eventually, install::FULLNAME, run},
    traffic::{self, Traffic},
};

/// How many pods are injected before the next step, so that it happens under load.
const BETWEEN: usize = 30;
/// Kinds of objects that appear and disappear by themselves.
const PASSING: [&str; 2] = ["Event", "Lease"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_end_under_load_lose_no_request() {
    let _turn = turn().await;
    let fleet = Fleet::install("drain", &json!({})).await;
    let mut replicas = vec![fleet.start_replica().await, fleet.start_replica().await];
    fleet.wait_until_called().await;
    let mut traffic = Traffic::start(&fleet.client, &fleet.tenant, 16);
    for _ in 0..4 {
        some_more(&mut traffic).await;
        fleet.retire(replicas.remove(0)).await;
        some_more(&mut traffic).await;
        replicas.push(fleet.start_replica().await);
    }
    let (injected, failures) = traffic.stop().await;
    println!("{injected} pods while replicas ended");
    assert!(failures.is_empty(), "{failures:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_under_load_leave_the_authority_alone() {
    let _turn = turn().await;
    let fleet = Fleet::install("upgrade", &json!({})).await;
    let replicas = [fleet.start_replica().await, fleet.start_replica().await];
    fleet.wait_until_called().await;
    let (secret, bundles) = (fleet.secret_data().await, fleet.bundles().await);
    assert!(secret.is_object() && bundles.iter().all(|bundle| bundle.contains("BEGIN CERTIFICATE")));

    let mut traffic = Traffic::start(&fleet.client, &fleet.tenant, 4);
    let changed = json!({
        "commonLabels": {"team": "platform"},
        "injector": {"excludedNamespaces": ["elsewhere"]},
        "webhook": {"annotations": {"example.com/reason": "changed"}, "validate": {"enabled": true}},
    });
    let rollback = || {
        block_in_place(|| run(&mut fleet.helm(&["rollback", FULLNAME, "1"])));
    };
    let apply = || {
        let manifest = run(&mut fleet.helm(&["get", "manifest", FULLNAME]));
        let manifest = fleet.write("manifest.yaml", &manifest);
        let mut kubectl = fleet.plane.kubectl().unwrap();
        kubectl.args(["apply", "--server-side", "--force-conflicts", "--field-manager=gitops"]);
        block_in_place(|| run(kubectl.arg("--filename").arg(manifest)));
    };
    let steps: [(&str, &dyn Fn()); 6] = [
        ("an upgrade without a change", &|| fleet.upgrade(&json!({}), &[])),
        ("an upgrade with other values", &|| fleet.upgrade(&changed, &[])),
        ("a rollback", &rollback),
        ("an upgrade that compares, as helm 3 does", &|| fleet.upgrade(&changed, &["--server-side=false"])),
        ("a GitOps tool's apply", &apply),
        ("an upgrade that takes conflicting fields over", &|| {
            fleet.upgrade(&changed, &["--server-side=true", "--force-conflicts"]);
        }),
    ];
    for (what, take) in steps {
        some_more(&mut traffic).await;
        take();
        some_more(&mut traffic).await;
        assert_eq!(fleet.bundles().await, bundles, "{what} has changed a caBundle");
        // The values are not printed, because they contain private keys.
        assert!(fleet.secret_data().await == secret, "{what} has changed the Secret");
    }
    let configuration = fleet.configurations("MutatingWebhookConfiguration").get(&fleet.name).await.unwrap();
    assert_eq!(configuration.metadata.labels.unwrap()["team"], "platform");
    let (injected, failures) = traffic.stop().await;
    println!("{injected} pods during upgrades");
    assert!(failures.is_empty(), "{failures:#?}");
    for replica in replicas {
        fleet.retire(replica).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_uninstalled_and_installed_again() {
    let _turn = turn().await;
    let fleet = Fleet::prepare("whole-life").await;
    let before = objects(&fleet);
    let values = json!({"safetyNet": {"enabled": true}});
    for _ in 0..2 {
        // The Deployment's pods become ready on simulated nodes.
        fleet.upgrade(&values, &["--wait", "--timeout=60s"]);
        // Again without changes, as a pipeline does.
        fleet.upgrade(&values, &["--wait", "--timeout=60s"]);
        assert!(objects(&fleet).difference(&before).count() > 10);
        let replica = fleet.start_replica().await;
        fleet.wait_until_called().await;
        helm_test(&fleet).await;
        fleet.retire(replica).await;
        assert!(asked(&fleet).await.is_err_and(|error| error.contains("failed calling webhook")));

        block_in_place(|| run(&mut fleet.helm(&["uninstall", FULLNAME, "--wait", "--timeout=60s"])));
        // The garbage collector removes the objects of the Deployment's pods after a while.
        let mut left: Vec<_> = Vec::new();
        let end = poll(TIMEOUT, async || {
            left = objects(&fleet).difference(&before).cloned().collect();
            left.is_empty().then_some(())
        });
        assert!(end.await.is_some(), "left behind: {left:?}");
        // The API server stops applying deleted policies after a delay.
        eventually("a pod without an injector", async || {
            let made = asked(&fleet).await;
            made.is_err_and(|error| error.contains("came back without the injection")).then_some(())
        })
        .await;
    }
}

/// Emulates `helm test`: runs its pod's arguments in a process with the permissions of its service
/// account.
async fn helm_test(fleet: &Fleet) {
    let hooks = run(&mut fleet.helm(&["get", "hooks", FULLNAME]));
    let file = fleet.write("hooks.yaml", &hooks);
    let kubectl = |words: &[&str]| {
        let mut kubectl = fleet.plane.kubectl().unwrap();
        kubectl.args(words).arg("--filename").arg(&file);
        block_in_place(|| run(&mut kubectl))
    };
    let read = kubectl(&["create", "--dry-run=client", "--output=json"]);
    let objects: Vec<Value> =
        serde_json::Deserializer::from_str(&read).into_iter().map(Result::unwrap).collect();
    let pod = objects.iter().find(|object| object["kind"] == "Pod").unwrap();
    let container = &pod["spec"]["containers"][0];
    let account = pod["spec"]["serviceAccountName"].as_str().unwrap();

    kubectl(&["create"]);
    let kubeconfig = fleet.plane.kubeconfig_for_service_account(&fleet.name, account).await.unwrap();
    let mut test = Command::new(env!("CARGO_BIN_EXE_scaivault-injector"));
    test.args(strings(&container["args"])).env("KUBECONFIG", kubeconfig);
    let said = block_in_place(|| run(&mut test));
    assert!(said.contains("is injected"), "{said}");
    kubectl(&["delete", "--force", "--grace-period=0"]);
}

/// Waits for more pods, unless there are failures, which are reported at the end of the test.
async fn some_more(traffic: &mut Traffic) {
    let goal = traffic.injected() + BETWEEN;
    eventually("more pods", async || (traffic.has_failed() || traffic.injected() >= goal).then_some(()))
        .await;
}

/// Creates an annotated pod as a dry run; an error unless it is injected.
async fn asked(fleet: &Fleet) -> Result<(), String> {
    traffic::dry_run(&api(&fleet.client, "v1", "Pod", &fleet.tenant), "once").await
}

/// Every object that can be listed, as kind, namespace and name.
fn objects(fleet: &Fleet) -> BTreeSet<String> {
    let kubectl = |words: &[&str]| {
        let mut kubectl = fleet.plane.kubectl().unwrap();
        block_in_place(|| run(kubectl.args(words)))
    };
    let resources = kubectl(&["api-resources", "--verbs=list", "--output=name", "--cached=false"]);
    let resources: Vec<_> = resources.lines().collect();
    let columns = "--output=custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name";
    let all = kubectl(&["get", &resources.join(","), "--all-namespaces", "--ignore-not-found", columns]);
    let all = all.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    all.filter(|line| {
        let kind = line.split(' ').next().unwrap_or_default();
        // Every namespace gets one, some time after its creation.
        !PASSING.contains(&kind) && !line.ends_with(" kube-root-ca.crt")
    })
    .collect()
}
