//! Creates annotated pods continuously while the injector is disturbed.

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{
    injection::{injected, pod},
    kubectl::wait_for,
    world::World,
};

/// The number of concurrent writers: more than one, so that a waiting writer does not hide later
/// failures.
const WRITERS: usize = 2;
/// Pods per call of kubectl, whose start takes longer than creating a pod.
const BATCH: usize = 10;
/// The pause between two calls of a writer. This gives about forty pods a second; more would only
/// test the cluster.
const PAUSE: Duration = Duration::from_millis(200);
/// The minimum number of pods for a meaningful test.
const FEWEST: usize = 100;
/// How long they may take on a slow machine.
const TIMEOUT: Duration = Duration::from_mins(2);

/// The results of creating pods.
#[derive(Debug, Default)]
pub(super) struct Tally {
    created: usize,
    refused: Vec<String>,
    longest: Duration,
}

/// Runs `work` while pods are created in `namespace`, and fails if one of them was rejected or is
/// not injected.
pub(super) fn during(world: &World<'_>, namespace: &str, work: impl FnOnce() -> Result<()>) -> Result<Tally> {
    let (stop, created) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (worked, tally) = thread::scope(|scope| {
        let write = || write_until(&stop, &created, world, namespace);
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
        let enough = |pods: usize| Ok((created.load(Ordering::Relaxed) >= pods).then_some(()));
        let worked = wait_for("pods are created", TIMEOUT, || enough(1))
            .and_then(|()| work())
            // Failures may occur late, so creation continues for a while.
            .and_then(|()| wait_for("pods are created still", TIMEOUT, || enough(FEWEST)));
        stop.store(true, Ordering::Relaxed);
        let tallies = writers.into_iter().map(|writer| writer.join().expect("a writer does not panic"));
        (worked, tallies.fold(Tally::default(), Tally::and))
    });
    // A rejected pod is more informative than its consequences.
    tally.check()?;
    worked?;
    let pods = world.kubectl.items(&["pods", "--namespace", namespace])?;
    if pods.len() != tally.created {
        bail!("{} pods were created, and {} exist", tally.created, pods.len());
    }
    let missing: Vec<_> = pods.iter().filter_map(|pod| injected(pod).err()).collect();
    if let Some(first) = missing.first() {
        bail!("{} of {} pods are not injected; the first {first}", missing.len(), pods.len());
    }
    Ok(tally)
}

fn write_until(stop: &AtomicBool, created: &AtomicUsize, world: &World<'_>, namespace: &str) -> Tally {
    let pod = pod(&json!({"inject-secret-db.json": "environments/production/billing/database"}));
    let batch: Vec<Value> = vec![pod; BATCH];
    let batch = json!({"apiVersion": "v1", "kind": "List", "items": batch});
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        match world.kubectl.create(namespace, &batch) {
            Ok(()) => {
                tally.created += BATCH;
                created.fetch_add(BATCH, Ordering::Relaxed);
            }
            Err(error) => tally.refused.push(format!("{error:#}")),
        }
        tally.longest = tally.longest.max(started.elapsed());
        thread::sleep(PAUSE);
    }
    tally
}

impl Tally {
    fn and(mut self, other: Self) -> Self {
        let Self { created, refused, longest } = other;
        self.created += created;
        self.refused.extend(refused);
        self.longest = self.longest.max(longest);
        self
    }

    fn check(&self) -> Result<()> {
        if let Some(first) = self.refused.first() {
            bail!("{} calls that create {BATCH} pods failed; the first: {first}", self.refused.len());
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} pods created, none refused, all injected; the longest {BATCH} took {:.1} s",
            self.created,
            self.longest.as_secs_f64()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refusal_among_many_fails() {
        let good = Tally { created: FEWEST, refused: Vec::new(), longest: Duration::from_secs(2) };
        let bad = Tally { created: FEWEST, refused: vec!["no".into()], longest: Duration::from_secs(1) };
        assert!(good.check().is_ok());
        let both = good.and(bad);
        assert_eq!((both.created, both.longest), (2 * FEWEST, Duration::from_secs(2)));
        assert!(both.check().unwrap_err().to_string().ends_with("the first: no"));
    }
}
