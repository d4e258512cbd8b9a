//! Dynamic credentials in CSI volumes: one lease for each pod, over restarts, until the pod is
//! deleted.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{DRIVER_DAEMONSET, NAMESPACE, PROVIDER_DAEMONSET, class, pod, running, wait_for_daemonset};
use crate::{
    injection::APP,
    kubectl::{hold, wait_for},
    process,
    running::{AppPod, START},
    world::World,
};

const CLASS: &str = "dynamic";
const PODS: [&str; 2] = ["dynamic-a", "dynamic-b"];
/// The kubelet publishes each volume again within this time.
const REPUBLISHED: Duration = Duration::from_secs(100);
/// The time for deleting a pod, including its grace period, and the 10 s for the revocation.
const REVOKED: Duration = Duration::from_mins(1);

/// Each pod has its own lease and its own secret, and republishing creates no further lease.
pub(crate) fn one_per_pod(world: &World<'_>) -> Result<String> {
    let admin = &world.vault.admin;
    let before = admin.leases()?.len();
    let objects = json!([
        {"engine": "postgres", "role": "readonly", "ttl": "2m", "file": "user.json"},
        {"path": "environments/production/billing/pods/${POD_NAME}", "file": "own.json"},
    ]);
    world.kubectl.create(World::CSI, &class(world, CLASS, &objects.to_string()))?;
    for name in PODS {
        admin.rotate(&format!("environments/production/billing/pods/{name}"), &json!({"pod": name}))?;
        world.kubectl.create(World::CSI, &pod(world, name, CLASS))?;
    }
    let mut users = Vec::new();
    for name in PODS {
        let pod = running(name);
        pod.wait_until_ready(world)?;
        let own: Value = serde_json::from_str(&pod.file(world, "own.json")?)?;
        if own["pod"] != name {
            bail!("{name} has the secret of {own}");
        }
        users.push(pod.lease(world)?);
    }
    if users[0] == users[1] {
        bail!("both pods have the same database user");
    }
    // Longer than the lease's term, so that it is renewed meanwhile.
    let renewals = admin.requests("renew")?;
    hold(Duration::from_secs(150), || {
        for (name, user) in PODS.iter().zip(&users) {
            unchanged(world, &running(name), user)?;
        }
        Ok(())
    })?;
    let made = admin.leases()?.len() - before;
    if made != PODS.len() {
        bail!("{made} leases were made for {} pods", PODS.len());
    }
    let renewed = admin.requests("renew")? - renewals;
    if renewed == 0 {
        bail!("no lease was renewed");
    }
    Ok(format!("{} pods, {made} leases, {renewed} renewals in 150 s; each pod has its own path", PODS.len()))
}

/// Restarts driver, provider and, if a command for it is given, the kubelet: nothing is created
/// twice.
pub(crate) fn restarts(world: &World<'_>) -> Result<String> {
    let admin = &world.vault.admin;
    let pods = PODS.map(running);
    let users = pods.iter().map(|pod| pod.lease(world)).collect::<Result<Vec<_>>>()?;
    let leases = admin.leases()?.len();
    let mut restarted = vec!["provider", "driver"];
    for name in [PROVIDER_DAEMONSET, DRIVER_DAEMONSET] {
        world.kubectl.text(&["rollout", "restart", &format!("daemonset/{name}"), NAMESPACE])?;
        wait_for_daemonset(world, name)?;
    }
    if let Some(command) = &world.args.csi.restart_kubelet {
        process::run(Command::new("sh").args(["-c", command]))?;
        restarted.push("kubelet");
        for pod in &pods {
            // A kubelet that has just started does not know its pods yet.
            wait_for("the kubelet knows the pod", START, || Ok(pod.exec(world, "true").ok()))?;
        }
    }
    hold(REPUBLISHED, || {
        for (pod, user) in pods.iter().zip(&users) {
            unchanged(world, pod, user)?;
        }
        Ok(())
    })?;
    let made = admin.leases()?.len() - leases;
    if made != 0 {
        bail!("{made} leases were made after the restart");
    }
    for pod in &pods {
        if pod.restarts(world, APP)? != 0 {
            bail!("the application of {} was started again", pod.name);
        }
    }
    Ok(format!("{} restarted: same files, no lease made", restarted.join(", ")))
}

/// Deletes the pods: their leases are revoked.
pub(crate) fn revoked(world: &World<'_>) -> Result<String> {
    let admin = &world.vault.admin;
    let user = running(PODS[0]).lease(world)?;
    world.kubectl.delete(World::CSI, &["pod", PODS[0]])?;
    let gone = Instant::now();
    wait_for("the lease is revoked", REVOKED, || {
        let leases = admin.leases()?;
        let lease = leases.iter().find(|lease| lease.username == user).context("the lease was made")?;
        Ok(lease.is_revoked.then_some(()))
    })?;
    let took = gone.elapsed();
    if took > Duration::from_secs(10) {
        bail!("revoked {} s after the pod was gone", took.as_secs());
    }
    let other = running(PODS[1]).lease(world)?;
    if admin.leases()?.iter().any(|lease| lease.username == other && lease.is_revoked) {
        bail!("the lease of a pod that runs was revoked, too");
    }
    world.kubectl.delete(World::CSI, &["pod", PODS[1]])?;
    wait_for("the other lease is revoked", REVOKED, || {
        let leases = admin.leases()?;
        Ok(leases.iter().any(|lease| lease.username == other && lease.is_revoked).then_some(()))
    })?;
    Ok(format!("revoked {:.1} s after the pod was gone", took.as_secs_f64()))
}

fn unchanged(world: &World<'_>, pod: &AppPod, user: &str) -> Result<()> {
    let now = pod.lease(world)?;
    if now != user {
        bail!("{} has another database user: {now}, before {user}", pod.name);
    }
    Ok(())
}
