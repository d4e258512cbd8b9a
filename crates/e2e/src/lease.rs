//! A lease ends with its pod.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{app::ready, kubectl::wait_for, patterns::DYNAMIC, world::World};

/// The timeout: the pod's grace period, and some time for the node.
const END: Duration = Duration::from_mins(1);

/// Deletes a pod with a database user: the user is dropped, and the next pod gets its own user.
pub(super) fn ends_with_its_pod(world: &World<'_>) -> Result<String> {
    let pod = ready(world, DYNAMIC)?;
    let user = pod.lease(world)?;
    let started = Instant::now();
    world.kubectl.text(&["delete", "pod", &pod.name, "--namespace", World::APPS, "--wait=false"])?;
    wait_for("the lease is revoked", END, || {
        let leases = world.vault.admin.leases()?;
        let is_revoked = leases.iter().any(|lease| lease.username == user && lease.is_revoked);
        Ok(is_revoked.then_some(()))
    })?;
    let took = started.elapsed().as_secs_f64();
    let next = ready(world, DYNAMIC)?.lease(world)?;
    if next == user {
        bail!("the next pod has the user of the one before");
    }
    let valid = world.vault.admin.leases()?.iter().filter(|lease| !lease.is_revoked).count();
    if valid != 1 {
        bail!("one pod runs, and {valid} leases are valid");
    }
    Ok(format!("revoked {took:.1} s after the deletion; the next pod has its own"))
}
