//! What the injection adds to the start of a pod, from its creation to its application's first instruction.
//!
//! Both ends are read from the kernel's uptime, which pods see as it is: so the node has to be this machine, as with kind.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    app::{line, pod, template, two_secrets_and},
    kubectl::wait_for,
    running::Running,
    world::World,
};
use crate::table;

const UPTIME: &str = "/proc/uptime";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const SCRIPT: &str = r#"read up rest </proc/uptime; read boot </proc/sys/kernel/random/boot_id; echo "began: $up $boot"; exec sleep 600"#;
const START: Duration = Duration::from_mins(1);
const NAME: &str = "pod-start";

/// Rounds in which all patterns take turns, after one that does not count.
pub(super) fn measure(world: &World<'_>) -> Result<String> {
    let Some(rounds) = world.args.bench else {
        return Ok("not asked for; --bench ROUNDS measures it".to_owned());
    };
    let cases = [
        ("not injected", json!({"inject": "false"}), "Always"),
        ("init", json!({"pattern": "init"}), "Always"),
        ("sidecar", json!({"pattern": "sidecar"}), "Always"),
        ("sidecar, start-gate: probe", json!({"pattern": "sidecar", "start-gate": "probe"}), "Always"),
        ("sidecar of a Job (restartPolicy: Never)", json!({"pattern": "sidecar"}), "Never"),
    ];
    let cases = cases.map(|(name, annotations, restart_policy)| {
        let mut template = template(world, &two_secrets_and(&annotations), SCRIPT);
        template["spec"]["restartPolicy"] = json!(restart_policy);
        template["spec"]["terminationGracePeriodSeconds"] = json!(1);
        (name, pod(NAME, &template))
    });
    let mut times = cases.each_ref().map(|_| Vec::new());
    for round in 0..=rounds {
        // The kubelet looks at its containers once a second: pods that are created as soon as others are gone would meet it
        // at the same moment each time.
        thread::sleep(Duration::from_secs(1) * round / (rounds + 1));
        for ((_, pod), times) in cases.iter().zip(&mut times) {
            let took = start(world, pod)?;
            if round > 0 {
                times.push(took);
            }
        }
    }
    let medians = times.each_mut().map(|times| median(times));
    let rows: Vec<_> = cases
        .iter()
        .zip(medians)
        .map(|((name, _), median)| {
            [(*name).to_owned(), format!("{median} ms"), format!("{:+} ms", median - medians[0])]
        })
        .collect();
    println!("{}", table::render(["pod", "median", "added"], &rows));
    let [_, init, sidecar, ..] = medians.map(|median| median - medians[0]);
    Ok(format!("median of {rounds}: sidecar {sidecar:+} ms, init {init:+} ms"))
}

/// Milliseconds from the creation of a pod to its application; the pod is gone afterwards.
fn start(world: &World<'_>, pod: &Value) -> Result<i64> {
    let created = hundredths(&fs::read_to_string(UPTIME)?)?;
    world.kubectl.create(World::APPS, pod)?;
    let pod = Running::app(NAME);
    let began = wait_for("the application begins", START, || {
        // There is no log before the container is there.
        Ok(pod.log(world).ok().and_then(|log| line(&log, "began: ").map(str::to_owned)))
    })?;
    let (began, boot) = began.split_once(' ').context("the application says when and where it begins")?;
    if boot != fs::read_to_string(BOOT_ID)?.trim() {
        bail!("the pod runs on another machine: what it adds to its start cannot be measured from here");
    }
    world.kubectl.delete(World::APPS, &["pod", NAME])?;
    Ok((hundredths(began)? - created) * 10)
}

/// Hundredths of a second, of a text such as `3600.07 …`.
fn hundredths(uptime: &str) -> Result<i64> {
    let parse = || {
        let (seconds, hundredths) = uptime.split_whitespace().next()?.split_once('.')?;
        Some(seconds.parse::<i64>().ok()? * 100 + hundredths.parse::<i64>().ok()?)
    };
    parse().with_context(|| format!("{uptime:?} is no uptime"))
}

fn median(times: &mut [i64]) -> i64 {
    times.sort_unstable();
    match times.len() {
        0 => 0,
        count if count % 2 == 1 => times[count / 2],
        count => i64::midpoint(times[count / 2 - 1], times[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_has_hundredths() {
        assert_eq!(hundredths("3600.07 14.20\n").unwrap(), 360_007);
        assert!(hundredths("3600").is_err());
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&mut [30, 10, 20]), 20);
        assert_eq!(median(&mut [40, 10, 20, 30]), 25);
    }
}
