//! Certificates with lifetimes of seconds, under load.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    certificate::{Census, handshake},
    fleet::{Fleet, turn},
    traffic::Traffic,
};

/// The minimum number of created pods.
const PODS: usize = 2000;
/// The number of authorities whose leaves must be observed: the first and its successors.
const AUTHORITIES: usize = 3;
const REPLICAS: usize = 3;
/// The interval between the start of a replica and the end of another.
const RESTART_INTERVAL: Duration = Duration::from_secs(4);
/// Far longer than the rotations take.
const LIMIT: Duration = Duration::from_mins(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_certificates_rotate_and_replicas_restart() {
    let _turn = turn().await;
    // A third of the authority's lifetime has to cover a leaf's lifetime and twice the settle
    // delay. The last third of a leaf's lifetime must cover a sync, which takes a second or two on
    // a busy machine.
    let lifetimes = json!({"caLifetime": "30s", "leafLifetime": "8s", "settleDelay": "1s"});
    let values = json!({"certificates": {"reloadInterval": "1s", "self": lifetimes}});
    let fleet = Fleet::install("rotation", &values).await;
    let mut replicas = VecDeque::new();
    for _ in 0..REPLICAS {
        replicas.push_back(fleet.start_replica().await);
    }
    fleet.wait_until_called().await;

    let mut census = Census::default();
    let mut traffic = Traffic::start(&fleet.client, &fleet.tenant, 8);
    let deadline = Instant::now() + LIMIT;
    let (mut restarts, mut restarted) = (0, Instant::now());
    let mut untrusted = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    while (traffic.injected() < PODS || census.authorities.len() < AUTHORITIES)
        && !traffic.has_failed()
        && Instant::now() < deadline
    {
        ticks.tick().await;
        let bundle = fleet.bundles().await.swap_remove(0);
        untrusted.extend(probe(fleet.endpoints.address, &bundle, &mut census).await);
        if restarted.elapsed() > RESTART_INTERVAL {
            fleet.retire(replicas.pop_front().unwrap()).await;
            replicas.push_back(fleet.start_replica().await);
            (restarts, restarted) = (restarts + 1, Instant::now());
        }
    }
    let (injected, failures) = traffic.stop().await;
    let (leaves, authorities) = (census.leaves.len(), census.authorities.len());
    println!("{injected} pods, {authorities} authorities, {leaves} leaves, {restarts} restarts");
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(untrusted.is_empty(), "{untrusted:#?}");
    assert!(injected >= PODS && authorities >= AUTHORITIES, "{injected} pods, {authorities} authorities");
    // More leaves than replica starts: leaves were also renewed without a restart.
    assert!(restarts >= 3 && leaves > REPLICAS + restarts, "{leaves} leaves, {restarts} restarts");
}

/// A handshake as the API server makes it; returns the error.
async fn probe(address: SocketAddr, bundle: &str, census: &mut Census) -> Option<String> {
    match handshake(address, bundle).await {
        Ok(leaf) => {
            census.count(&leaf);
            None
        }
        Err(error) => Some(error.to_string()),
    }
}
