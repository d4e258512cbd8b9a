//! Policies that a newly started replica cannot use. The tests use their own control plane, because
//! policies apply to the whole cluster. No webhook is installed, so policies are not validated when
//! they are applied.

use kube::api::{Patch, PatchParams};
use scaivault_testkit::control_plane::{ControlPlane, Options};
use serde_json::{Value, json};

use crate::support::{
    chain, eventually, injection_policies,
    injector::{Injector, tls_directory},
    policies,
};

const NAME: &str = "limits";

/// The API server's own rules do not detect it.
fn broken() -> Value {
    json!({"namespaceSelector": {}, "defaults": {"refresh-interval": "soon"}})
}

fn good() -> Value {
    json!({"namespaceSelector": {}, "allow": {"paths": ["a/b"]}})
}

#[tokio::test]
async fn a_policy_in_force_survives_replicas_that_cannot_use_it() {
    let plane =
        ControlPlane::start(&Options::default()).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    policies::define(&plane).await;
    let api = injection_policies(&plane.client().await.unwrap());
    let (tls, _) = tls_directory(&["localhost"]);
    let flags = ["--cluster".into(), "--policies".into(), format!("--tls-dir={}", tls.path().display())];
    let kubeconfig = plane.kubeconfig_path();
    let apply = |spec: Value| {
        let (kind, version) = (scaivault_policy::KIND, scaivault_policy::VERSION);
        let policy = json!({"apiVersion": version, "kind": kind, "metadata": {"name": NAME}, "spec": spec});
        policies::apply(&plane, &policy);
    };
    let until_reason = async |reason: &str| {
        eventually(reason, async || {
            let status = api.get(NAME).await.unwrap().data["status"].clone();
            (status["conditions"][0]["reason"] == reason).then_some(status)
        })
        .await
    };

    let first = Injector::start(Some(&kubeconfig), &flags).await;
    apply(good());
    until_reason("InForce").await;
    apply(broken());
    let status = until_reason("PreviousInForce").await;
    assert_eq!(
        (&status["inForce"]["generation"], &status["inForce"]["spec"]["allow"]),
        (&json!(1), &good()["allow"])
    );

    // It only knows the version in force from the status, and keeps it there.
    let second = Injector::start(Some(&kubeconfig), &flags).await;
    assert!((second.metric("scaivault_injector_policies{state=\"kept\"}").await - 1.0).abs() < 0.1);
    first.terminate().await;
    second.terminate().await;
    assert_eq!(api.get(NAME).await.unwrap().data["status"]["inForce"], status["inForce"]);

    // As if the previous release had accepted what this one rejects.
    let unusable = json!({"status": {"inForce": {"generation": 1, "spec": broken()}}});
    api.patch_status(NAME, &PatchParams::default(), &Patch::Merge(unusable)).await.unwrap();
    let third = Injector::start_unready(Some(&kubeconfig), &flags).await;
    let event = eventually("why it does not become ready", async || {
        third.event(
            "a policy that was in force cannot be used by this release; not becoming ready, so that its limits stay in force on the \
             processes of the former release",
        )
    })
    .await;
    assert_eq!(event["policy"], NAME);
    assert!(event["problems"].as_str().unwrap().contains("refresh-interval"), "{event}");
    let said = third.get("/readyz").await;
    assert!(said.contains("503") && said.contains("policies in force"), "{said}");
    apply(good());
    eventually("/readyz", async || third.is_ready().await.then_some(())).await;
    until_reason("InForce").await;
}
