//! Annotated pods that are created all the while something happens to the injector.

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

/// At once, so that one that waits does not hide what the next would meet.
const WRITERS: usize = 2;
/// Pods a call of kubectl: its start costs more than a pod does.
const BATCH: usize = 10;
/// Between two calls of a writer. Some forty pods a second in all; more would only test the cluster.
const PAUSE: Duration = Duration::from_millis(200);
/// Fewer pods than this are no load.
const FEWEST: usize = 100;
/// How long they may take on a slow machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// What became of the pods.
#[derive(Debug, Default)]
pub(super) struct Tally {
    created: usize,
    refused: Vec<String>,
    longest: Duration,
}

/// Does `work` while pods are created in `namespace`, and fails if one of them was refused or is not injected.
pub(super) fn during(world: &World<'_>, namespace: &str, work: impl FnOnce() -> Result<()>) -> Result<Tally> {
    let (stop, created) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (worked, tally) = thread::scope(|scope| {
        let write = || write_until(&stop, &created, world, namespace);
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
        let enough = |pods: usize| Ok((created.load(Ordering::Relaxed) >= pods).then_some(()));
        let worked = wait_for("pods are created", PATIENCE, || enough(1))
            .and_then(|()| work())
            // What breaks may break late.
            .and_then(|()| wait_for("pods are created still", PATIENCE, || enough(FEWEST)));
        stop.store(true, Ordering::Relaxed);
        let tallies = writers.into_iter().map(|writer| writer.join().expect("a writer does not panic"));
        (worked, tallies.fold(Tally::default(), Tally::and))
    });
    // A refusal says more than what it led to.
    tally.check()?;
    worked?;
    let pods = world.kubectl.items(&["pods", "--namespace", namespace])?;
    if pods.len() != tally.created {
        bail!("{} pods were created, and {} are there", tally.created, pods.len());
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
