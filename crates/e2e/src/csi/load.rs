//! The load of the provider on a node: many pods at once, and then the kubelet's periodic calls for
//! each of them.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{NAMESPACE, PROVIDER_SELECTOR, class, pod};
use crate::{kubectl::wait_for, pod_start::percentile, table, vault::seed, world::World};

const NAME: &str = "load";
/// The maximum number of pods: by default the kubelet's own limit, including system pods.
const PODS: usize = 110;
const START: Duration = Duration::from_mins(10);
/// How long requests caused by the kubelet's calls are counted.
const COUNTED: Duration = Duration::from_mins(6);
const ROUTES: [&str; 5] = ["exchange", "read", "read-batch", "subscribe", "poll"];
/// The program's name in the kernel, truncated to 15 bytes.
const PROGRAM: &str = "scaivault-csi-p";

/// Creates as many pods of one service account as the node can run, at once.
pub(crate) fn measure(world: &World<'_>) -> Result<String> {
    if world.args.bench.is_none() {
        return Ok("not asked for; --bench measures it".to_owned());
    }
    let objects = json!([
        {"path": seed::DATABASE, "file": "db.json"},
        {"path": seed::STRIPE, "field": "secret_key", "file": "stripe.key"},
    ]);
    world.kubectl.create(World::CSI, &class(world, NAME, &objects.to_string()))?;
    let count = free_places(world)?.min(PODS);
    let idle = memory()?;
    let began = Instant::now();
    let pods = json!({"apiVersion": "v1", "kind": "List", "items": load_pods(world, count)});
    world.kubectl.create(World::CSI, &pods)?;
    wait_for("all pods are ready", START, || Ok((ready(world)? == count).then_some(())))?;
    let started = began.elapsed().as_secs_f64();
    let loaded = memory()?;
    let mounts = mount_times(world)?;
    let before = counts(world)?;
    let published = mounts.len();
    std::thread::sleep(COUNTED);
    let after = counts(world)?;
    let later = mount_times(world)?;
    let again = later.get(published..).unwrap_or_default();
    let at_the_end = memory()?;
    let mut rows = vec![
        ["idle, resident".to_owned(), idle.resident],
        [format!("{count} pods, resident"), loaded.resident],
        ["the same, after the calls".to_owned(), at_the_end.resident],
        ["at most".to_owned(), at_the_end.peak],
        [format!("{count} pods at once, until all are ready"), format!("{started:.1} s")],
        ["first mounts, p50 / p99 / max".to_owned(), percentiles(mounts)],
        [format!("{} calls again, p50 / p99 / max", again.len()), percentiles(again.to_vec())],
    ];
    for (route, (before, after)) in ROUTES.iter().zip(before.into_iter().zip(after)) {
        rows.push([format!("{route}, requests a pod and hour"), per_pod_and_hour(after - before, count)]);
    }
    println!("{}", table::render(["what", "measured"], &rows));
    world.kubectl.delete(World::CSI, &["pod", "--selector", &format!("load={NAME}")])?;
    Ok(format!("{count} pods are ready {started:.1} s after their creation"))
}

/// With one decimal place.
fn per_pod_and_hour(requests: u64, pods: usize) -> String {
    let tenths = u128::from(requests) * 36_000 / (pods as u128 * u128::from(COUNTED.as_secs()));
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn load_pods(world: &World<'_>, count: usize) -> Vec<Value> {
    let one = |index| {
        let mut pod = pod(world, &format!("{NAME}-{index}"), NAME);
        pod["metadata"]["labels"]["load"] = json!(NAME);
        let script = "test -s /run/secrets/db.json && exec sleep 3600";
        pod["spec"]["containers"][0]["command"] = json!(["/bin/sh", "-c", script]);
        pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
        pod
    };
    (0..count).map(one).collect()
}

/// How many more pods the node can run.
fn free_places(world: &World<'_>) -> Result<usize> {
    let nodes = world.kubectl.items(&["nodes"])?;
    let [node] = nodes.as_slice() else { bail!("the cluster must have one node, which is this machine") };
    let places = node.pointer("/status/allocatable/pods").and_then(Value::as_str);
    let places: usize =
        places.and_then(|places| places.parse().ok()).context("the node says how many pods")?;
    let taken = world.kubectl.items(&["pods", "--all-namespaces"])?.len();
    Ok(places.saturating_sub(taken))
}

fn ready(world: &World<'_>) -> Result<usize> {
    let template = "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
    let selector = format!("load={NAME}");
    let args = ["get", "pods", "--namespace", World::CSI, "--selector", &selector, "--output", template];
    Ok(world.kubectl.text(&args)?.split_whitespace().filter(|status| *status == "True").count())
}

fn counts(world: &World<'_>) -> Result<Vec<u64>> {
    ROUTES.iter().map(|route| world.vault.admin.requests(route)).collect()
}

/// The durations of these pods' mounts in microseconds, in order, from the provider's log at level
/// `debug`.
fn mount_times(world: &World<'_>) -> Result<Vec<i64>> {
    let log = world.kubectl.text(&["logs", NAMESPACE, PROVIDER_SELECTOR, "--tail=-1"])?;
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mounts = lines.filter(|line| line["message"] == "mounted" && line["class"] == NAME);
    Ok(mounts.filter_map(|line| line["microseconds"].as_i64()).collect())
}

fn percentiles(mut times: Vec<i64>) -> String {
    times.sort_unstable();
    let at = |share| {
        let microseconds = percentile(&times, share);
        format!("{}.{} ms", microseconds / 1000, microseconds % 1000 / 100)
    };
    format!("{} / {} / {}", at(50), at(99), at(100))
}

struct Memory {
    resident: String,
    peak: String,
}

/// The provider's memory, if the node is this machine.
fn memory() -> Result<Memory> {
    let processes = fs::read_dir("/proc")?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_provider = |comm: String| comm.trim_end() == PROGRAM;
    let mut found = processes.filter(|path| fs::read_to_string(path.join("comm")).is_ok_and(is_provider));
    let process = found.next().context("the provider does not run on this machine")?;
    if found.next().is_some() {
        bail!("more than one provider runs on this machine");
    }
    let status = fs::read_to_string(process.join("status"))?;
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim();
    Ok(Memory { resident: line("VmRSS:").to_owned(), peak: line("VmHWM:").to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_for_each_pod_and_hour() {
        assert_eq!(per_pod_and_hour(11, 110), "1.0");
        assert_eq!(per_pod_and_hour(0, 110), "0.0");
    }

    #[test]
    fn percentiles_are_in_milliseconds() {
        assert_eq!(percentiles((1..=100).map(|ms| ms * 1000).collect()), "51.0 ms / 99.0 ms / 100.0 ms");
        assert_eq!(percentiles(Vec::new()), "0.0 ms / 0.0 ms / 0.0 ms");
    }
}
