//! Replicas that share an authority, and manual changes to its Secret.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    certificate::handshake,
    fleet::{CONFIGURATIONS, Fleet, decode, turn},
    support::{eventually, injector::Injector},
    traffic::Traffic,
};

const CURRENT: &str = "ca.crt";

fn values() -> Value {
    json!({"certificates": {"reloadInterval": "1s"}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_at_once_on_an_empty_secret_agree() {
    let _turn = turn().await;
    let fleet = Fleet::install("agreement", &values()).await;
    assert_eq!(fleet.secret_data().await, Value::Null);
    let (first, second) = tokio::join!(fleet.start_unready(), fleet.start_unready());
    let replicas = [&first, &second];
    ready(replicas).await;

    let authority = authority(&fleet).await;
    for replica in replicas {
        // Trusts only this authority, so a replica with another one would be detected.
        handshake(replica.address, &authority).await.unwrap();
    }
    for bundle in fleet.bundles().await {
        assert!(bundle.contains(&authority), "{bundle} without {authority}");
    }
    fleet.wait_until_called().await;

    // A replica that starts later uses the existing authority.
    let third = fleet.start_replica().await;
    handshake(third.address, &authority).await.unwrap();
    assert_eq!(self::authority(&fleet).await, authority);
    for replica in [first, second, third] {
        fleet.retire(replica).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manual_changes_are_repaired_without_a_failed_call() {
    let _turn = turn().await;
    let fleet = Fleet::install("operators", &values()).await;
    let (first, second) = (fleet.start_replica().await, fleet.start_replica().await);
    fleet.wait_until_called().await;
    let traffic = Traffic::start(&fleet.client, &fleet.tenant, 2);
    let before = authority(&fleet).await;

    // After the Secret was emptied, a new authority is created, and the old one is trusted until
    // its leaves are replaced everywhere.
    patch_secret(&fleet, &json!({"data": null})).await;
    let emptied = eventually("a new authority", async || {
        let authority = decode(&fleet.secret_data().await[CURRENT]);
        (!authority.is_empty() && authority != before).then_some(authority)
    })
    .await;
    served_by([&first, &second], &emptied).await;
    assert!(fleet.bundles().await.iter().all(|bundle| bundle.contains(&emptied)));

    // Invalid data is not overwritten but logged, and the old certificate is served until an
    // administrator removes the data.
    let garbage = json!({"ca.crt": BASE64_STANDARD.encode("garbage")});
    patch_secret(&fleet, &json!({"data": garbage})).await;
    for replica in [&first, &second] {
        let said = eventually("a complaint", async || {
            replica.event("certificate sync failed, keeping the served certificate")
        })
        .await;
        assert!(said["error"].as_str().unwrap().contains("ca.crt"), "{said}");
        assert!(replica.is_ready().await);
        handshake(replica.address, &emptied).await.unwrap();
    }
    assert_eq!(fleet.secret_data().await["ca.crt"], garbage["ca.crt"]);
    patch_secret(&fleet, &json!({"data": {"ca.crt": null, "ca.key": null}})).await;
    let mended = eventually("an authority after the garbage", async || {
        let authority = decode(&fleet.secret_data().await[CURRENT]);
        (!authority.is_empty()).then_some(authority)
    })
    .await;
    assert_ne!(mended, emptied);
    served_by([&first, &second], &mended).await;

    let (injected, failures) = traffic.stop().await;
    assert!(failures.is_empty() && injected > 0, "{injected} injected; {failures:#?}");
    for replica in [first, second] {
        fleet.retire(replica).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_ca_bundle_is_written_again() {
    let _turn = turn().await;
    let fleet = Fleet::install("reset", &values()).await;
    let replica = fleet.start_replica().await;
    fleet.wait_until_called().await;
    let before = fleet.bundles().await;
    let stranger = scaivault_certs::Authority::new(
        "a stranger",
        std::time::SystemTime::now(),
        std::time::Duration::from_hours(1),
    );
    let stranger = BASE64_STANDARD.encode(stranger.unwrap().certificate_pem());

    for (what, bundle) in [("nothing", Value::Null), ("a stranger's", stranger.into())] {
        for kind in CONFIGURATIONS {
            let configurations = fleet.configurations(kind);
            let found = configurations.get(&fleet.name).await.unwrap();
            let names = found.data["webhooks"].as_array().unwrap().iter().map(|webhook| &webhook["name"]);
            let webhooks: Vec<_> =
                names.map(|name| json!({"name": name, "clientConfig": {"caBundle": bundle}})).collect();
            let patch = Patch::Strategic(json!({"webhooks": webhooks}));
            configurations.patch(&fleet.name, &PatchParams::default(), &patch).await.unwrap();
        }
        eventually(&format!("the bundle in the place of {what}"), async || {
            (fleet.bundles().await == before).then_some(())
        })
        .await;
        fleet.wait_until_called().await;
    }
    fleet.retire(replica).await;
}

async fn ready(replicas: [&Injector; 2]) {
    for replica in replicas {
        eventually("a ready replica", async || replica.is_ready().await.then_some(())).await;
    }
}

/// Waits until all replicas serve leaves of this authority.
async fn served_by(replicas: [&Injector; 2], authority: &str) {
    for replica in replicas {
        eventually("a leaf of the new authority", async || handshake(replica.address, authority).await.ok())
            .await;
    }
}

async fn authority(fleet: &Fleet) -> String {
    let authority = decode(&fleet.secret_data().await[CURRENT]);
    assert!(authority.contains("BEGIN CERTIFICATE"), "{authority}");
    authority
}

async fn patch_secret(fleet: &Fleet, patch: &Value) {
    let secrets = fleet.api("v1", "Secret");
    secrets.patch(&fleet.secret_name(), &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}
