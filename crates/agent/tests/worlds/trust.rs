//! CAs that change, and TLS that is not ready yet.

use std::fs;

use scaivault_testkit::world::Door;

use crate::{
    site::{Site, project},
    support::{data, ended, start, terminate, until, until_exists, within},
};

fn rotate(site: &Site, value: &str) {
    site.pod.vault.rotate(&"app/stripe".parse().unwrap(), data(value));
}

/// First the new CA is added to the bundle, then the server changes, then the old CA is removed.
#[tokio::test]
async fn the_authority_changes_under_a_running_sidecar() {
    let site = Site::tls().await;
    let watch = site.pod.mapping(&[("app/stripe#key", "key")]);
    let volume = site.pod.path("ca");
    let sidecar = site.sidecar(&[("WATCH_PATHS", &watch), ("REFRESH_INTERVAL", "1s")]);
    until(|| site.pod.secret("key").is_some()).await;
    for value in ["2", "3"] {
        let old = fs::read_to_string(volume.join("ca.crt")).unwrap();
        // The server uses its new certificate after its restart.
        site.world.stop().await;
        let new = site.world.new_authority().unwrap();
        project(&volume, "ca.crt", &format!("{old}{new}"));
        site.world.resume().unwrap();
        rotate(&site, value);
        until(|| site.pod.secret("key").as_deref() == Some(value)).await;
        project(&volume, "ca.crt", &new);
    }
    sidecar.end().await.check(0, &[]);
}

/// The server changes first, and the ConfigMap follows: the agent need not be restarted.
#[tokio::test]
async fn a_late_bundle_is_used() {
    let site = Site::tls().await;
    let watch = site.pod.mapping(&[("app/stripe#key", "key")]);
    let sidecar = site.sidecar(&[("WATCH_PATHS", &watch), ("REFRESH_INTERVAL", "1s")]);
    until(|| site.pod.secret("key").is_some()).await;
    site.world.stop().await;
    let new = site.world.new_authority().unwrap();
    site.world.resume().unwrap();
    rotate(&site, "2");
    until(|| sidecar.said("ertificate") > 0).await;
    assert_eq!(site.pod.secret("key").as_deref(), Some("sk-swordfish"));
    project(&site.pod.path("ca"), "ca.crt", &new);
    until(|| site.pod.secret("key").as_deref() == Some("2")).await;
    sidecar.end().await.check(0, &[]);
}

#[tokio::test]
async fn a_bad_bundle_leaves_the_authorities_of_before() {
    for bad in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let site = Site::tls().await;
        let watch = site.pod.mapping(&[("app/stripe#key", "key")]);
        let sidecar = site.sidecar(&[("WATCH_PATHS", &watch), ("REFRESH_INTERVAL", "1s")]);
        until(|| site.pod.secret("key").is_some()).await;
        project(&site.pod.path("ca"), "ca.crt", bad);
        // Existing connections would hide it.
        site.world.stop().await;
        site.world.resume().unwrap();
        rotate(&site, "2");
        until(|| site.pod.secret("key").as_deref() == Some("2")).await;
        sidecar.end().await.check(0, &[]);
    }
}

/// One invalid entry does not affect the others.
#[tokio::test]
async fn an_odd_certificate_in_a_bundle_is_skipped() {
    let site = Site::tls().await;
    let file = site.pod.path("ca/ca.crt");
    let good = fs::read_to_string(&file).unwrap();
    let odd = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    project(&site.pod.path("ca"), "ca.crt", &format!("# comment\r\n{odd}{good}"));
    let secrets = site.pod.mapping(&[("app/stripe#key", "key")]);
    site.run("init", &[("SECRETS", &secrets)]).await.check(0, &[]);
}

/// A server or proxy that has no certificate yet.
#[tokio::test]
async fn tls_that_is_not_ready_yet_is_retried() {
    let doors = [
        ("internal_error", Door::alert(80)),
        ("unrecognized_name", Door::alert(112)),
        ("handshake_failure", Door::alert(40)),
        ("access_denied", Door::alert(49)),
        ("end", Door::Closed),
        ("plain HTTP", Door::Says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec())),
    ];
    for (name, door) in doors {
        let site = Site::tls().await;
        site.world.set_door(door);
        let secrets = site.pod.mapping(&[("app/stripe#key", "key")]);
        let mut agent = start(&mut site.agent("init", &[("SECRETS", &secrets), ("FETCH_TIMEOUT", "50s")]));
        until(|| site.world.connections() > 0).await;
        site.world.clear();
        let status = within(agent.wait()).await.unwrap();
        assert_eq!(status.code(), Some(0), "{name}");
        assert!(site.pod.secret("key").is_some(), "{name}");
    }
}

/// A wrong certificate is not a temporary failure: an init container fails immediately.
#[tokio::test]
async fn a_certificate_for_another_name_ends_init_at_once() {
    let site = Site::tls().await;
    let secrets = site.pod.mapping(&[("app/stripe#key", "key")]);
    let url = format!("https://{}", site.world.address());
    let variables = [("SECRETS", secrets.as_str()), ("SCAIVAULT_URL", &url), ("FETCH_TIMEOUT", "1h")];
    site.run("init", &variables).await.check(1, &["ertificate", "localhost", "127.0.0.1"]);
}

/// The CA may be added to the ConfigMap soon: an init container retries until its deadline.
#[tokio::test]
async fn a_start_uses_a_bundle_that_arrives_meanwhile() {
    let site = Site::tls().await;
    let new = site.world.new_authority().unwrap();
    let secrets = site.pod.mapping(&[("app/stripe#key", "key")]);
    let agent = start(&mut site.agent("init", &[("SECRETS", &secrets), ("FETCH_TIMEOUT", "50s")]));
    until(|| site.world.connections() > 0).await;
    project(&site.pod.path("ca"), "ca.crt", &new);
    ended(agent).await.check(0, &[]);
}

/// A lease is revoked over a new connection to a server with a new certificate.
#[tokio::test]
async fn leases_are_revoked_after_the_authority_changed() {
    let site = Site::tls().await;
    let dynamic = site.pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
    let sidecar = start(&mut site.agent("sidecar", &[("DYNAMIC", &dynamic)]));
    until_exists(&site.pod.path("secrets/db.json")).await;
    site.world.stop().await;
    let new = site.world.new_authority().unwrap();
    project(&site.pod.path("ca"), "ca.crt", &new);
    site.world.resume().unwrap();
    terminate(sidecar).await.check(0, &["lease revoked"]);
    assert_eq!(site.pod.live_leases(), 0);
}
