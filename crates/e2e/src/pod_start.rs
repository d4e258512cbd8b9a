//! Measures how much the injection adds to the start of a pod, from its creation to its
//! application's first instruction.
//!
//! Both times are the kernel's uptime, which pods can read, so the node has to be this machine, as
//! with kind.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    CSI,
    app::{INIT, SIDECAR, line, pod, template, two_secrets_and},
    csi,
    kubectl::wait_for,
    running::AppPod,
    vault::seed,
    world::World,
};
use crate::table;

const UPTIME: &str = "/proc/uptime";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const SCRIPT: &str = r#"read up rest </proc/uptime; read boot </proc/sys/kernel/random/boot_id; echo "began: $up $boot"; exec sleep 600"#;
const START: Duration = Duration::from_mins(1);
const NAME: &str = "pod-start";

/// Runs rounds in which all pods are started in turn, after a warm-up round. Each injected pod has
/// a twin with the same containers, volumes and hooks, whose programs do nothing. What the twin
/// adds is the kubelet's share; the rest is the agent's.
pub(super) fn measure(world: &World<'_>) -> Result<String> {
    let Some(rounds) = world.args.bench else {
        return Ok("not asked for; --bench ROUNDS measures it".to_owned());
    };
    let cases = [
        ("init", json!({"pattern": "init"}), "Always"),
        ("sidecar", json!({"pattern": "sidecar"}), "Always"),
        ("sidecar, start-gate: probe", json!({"pattern": "sidecar", "start-gate": "probe"}), "Always"),
        ("sidecar of a Job (restartPolicy: Never)", json!({"pattern": "sidecar"}), "Never"),
    ];
    let mut pods = vec![("not injected".to_owned(), bench_pod(world, &json!({"inject": "false"}), "Always"))];
    for (name, annotations, restart_policy) in cases {
        let injected = bench_pod(world, &annotations, restart_policy);
        let answered = world.kubectl.dry_run(World::APPS, &injected)?;
        pods.push((
            format!("{name}: twin that does nothing"),
            idle_twin(&answered, &world.args.app_image.to_string()),
        ));
        pods.push((name.to_owned(), injected));
    }
    if world.args.tests_any(CSI) {
        pods.push(("CSI volume".to_owned(), csi_pod(world)?));
    }
    let mut times = vec![Vec::new(); pods.len()];
    for round in 0..=rounds {
        // The kubelet relists its containers once a second. If each pod were created right after
        // the previous one is gone, it would always be created at the same phase.
        thread::sleep(Duration::from_secs(1) * round / (rounds + 1));
        for ((_, pod), times) in pods.iter().zip(&mut times) {
            let took = start(world, pod)?;
            if round > 0 {
                times.push(took);
            }
        }
    }
    for times in &mut times {
        times.sort_unstable();
    }
    let rows: Vec<_> = pods.iter().zip(&times).map(|((name, _), times)| row(name, times)).collect();
    println!("{}", table::render(["pod, ms", "min", "p25", "median", "p75", "p95", "max"], &rows));
    let added: Vec<_> =
        cases_of(&times).map(|(twin, injected)| percentile(injected, 50) - percentile(twin, 50)).collect();
    Ok(format!(
        "medians of {rounds} rounds against the twins: init {:+} ms, sidecar {:+}, probe {:+}, Job {:+}",
        added[0], added[1], added[2], added[3]
    ))
}

/// A pod that is not injected, with the same two secrets in a CSI volume.
fn csi_pod(world: &World<'_>) -> Result<Value> {
    let objects = json!([
        {"path": seed::DATABASE, "file": "db.json"},
        {"path": seed::STRIPE, "field": "secret_key", "file": "stripe.key"},
    ]);
    world.kubectl.create(World::APPS, &csi::class(world, NAME, &objects.to_string()))?;
    let mut pod = bench_pod(world, &json!({"inject": "false"}), "Always");
    csi::add_volume(&mut pod, NAME);
    Ok(pod)
}

/// The times of each twin and of its injected pod.
fn cases_of(times: &[Vec<i64>]) -> impl Iterator<Item = (&[i64], &[i64])> {
    times[1..].chunks_exact(2).map(|pair| (pair[0].as_slice(), pair[1].as_slice()))
}

fn bench_pod(world: &World<'_>, annotations: &Value, restart_policy: &str) -> Value {
    let mut template = template(world, &two_secrets_and(annotations), SCRIPT);
    template["spec"]["restartPolicy"] = json!(restart_policy);
    template["spec"]["terminationGracePeriodSeconds"] = json!(1);
    pod(NAME, &template)
}

/// A copy of an injected pod whose injected containers, hooks and probes do nothing. It has no
/// annotations, so that it is not injected again.
fn idle_twin(injected: &Value, image: &str) -> Value {
    let mut twin = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME, "labels": injected["metadata"]["labels"]},
        "spec": injected["spec"],
    });
    for list in ["initContainers", "containers"] {
        for container in twin["spec"][list].as_array_mut().into_iter().flatten() {
            if container["name"] != INIT && container["name"] != SIDECAR {
                continue;
            }
            let ends = container["name"] == INIT;
            container["image"] = json!(image);
            container["command"] = if ends { json!(["true"]) } else { json!(["sleep", "600"]) };
            for member in ["args", "env"] {
                container.as_object_mut().map(|container| container.remove(member));
            }
            for exec in ["/lifecycle/postStart/exec/command", "/startupProbe/exec/command"] {
                if let Some(command) = container.pointer_mut(exec) {
                    *command = json!(["true"]);
                }
            }
        }
    }
    twin
}

fn row(name: &str, sorted: &[i64]) -> [String; 7] {
    let at = |share| percentile(sorted, share).to_string();
    [name.to_owned(), at(0), at(25), at(50), at(75), at(95), at(100)]
}

/// Milliseconds from the creation of a pod to the start of its application; afterwards the pod is
/// deleted.
fn start(world: &World<'_>, pod: &Value) -> Result<i64> {
    let created = hundredths(&fs::read_to_string(UPTIME)?)?;
    world.kubectl.create(World::APPS, pod)?;
    let pod = AppPod::app(NAME);
    let began = wait_for("the application begins", START, || {
        // There is no log before the container exists.
        Ok(pod.log(world).ok().and_then(|log| line(&log, "began: ").map(str::to_owned)))
    })?;
    let (began, boot) = began.split_once(' ').context("the application says when and where it begins")?;
    if boot != fs::read_to_string(BOOT_ID)?.trim() {
        bail!("the pod runs on another machine: its start cannot be measured from here");
    }
    world.kubectl.delete(World::APPS, &["pod", NAME])?;
    Ok((hundredths(began)? - created) * 10)
}

/// Parses hundredths of a second from a text such as `3600.07 …`.
fn hundredths(uptime: &str) -> Result<i64> {
    let parse = || {
        let (seconds, hundredths) = uptime.split_whitespace().next()?.split_once('.')?;
        Some(seconds.parse::<i64>().ok()? * 100 + hundredths.parse::<i64>().ok()?)
    };
    parse().with_context(|| format!("{uptime:?} is no uptime"))
}

/// The percentile by the nearest-rank method; 0 without values.
pub(super) fn percentile(sorted: &[i64], percent: usize) -> i64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last * percent + 50) / 100).copied().unwrap_or_default()
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
    fn percentiles_are_values_of_the_list() {
        let sorted = [10, 20, 30, 40, 50];
        assert_eq!([0, 25, 50, 95, 100].map(|share| percentile(&sorted, share)), [10, 20, 30, 50, 50]);
        assert_eq!(percentile(&[], 50), 0);
    }

    #[test]
    fn the_twin_has_the_same_containers_and_no_work() {
        let injected = json!({"metadata": {"annotations": {"a": "b"}}, "spec": {
            "initContainers": [
                {"name": INIT, "image": "agent", "command": ["/agent"], "args": ["init"], "env": [{"name": "A"}]},
                {"name": SIDECAR, "image": "agent", "command": ["/agent"],
                 "lifecycle": {"postStart": {"exec": {"command": ["/agent", "wait"]}}}},
            ],
            "containers": [{"name": "app", "image": "app", "args": ["x"]}],
        }});
        let twin = idle_twin(&injected, "busybox");
        let init = &twin["spec"]["initContainers"];
        assert_eq!(init[0], json!({"name": INIT, "image": "busybox", "command": ["true"]}));
        assert_eq!(init[1]["lifecycle"]["postStart"]["exec"]["command"], json!(["true"]));
        assert_eq!(twin["spec"]["containers"], injected["spec"]["containers"]);
        assert_eq!(twin["metadata"]["annotations"], Value::Null);
    }
}
