//! The number of webhook calls for one pod.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{injection::pod, release, world::World};

/// The API server calls again if another component changed the pod after the injection, but only
/// once.
const MOST: u64 = 2;

/// Creates a pod, and compares the injector's own count.
pub(super) fn for_a_pod(world: &World<'_>) -> Result<String> {
    let before = admissions(world)?;
    let pod = pod(&json!({"inject-secret-db.json": "environments/production/billing/database"}));
    world.kubectl.create(World::WORKLOADS, &pod)?;
    let calls = admissions(world)?.checked_sub(before).context("a replica was restarted")?;
    if !(1..=MOST).contains(&calls) {
        bail!("one pod made {calls} calls");
    }
    Ok(format!("{calls} for an annotated pod"))
}

fn admissions(world: &World<'_>) -> Result<u64> {
    let pods = release::pods(world)?;
    let names = pods.iter().filter_map(|pod| pod.pointer("/metadata/name").and_then(Value::as_str));
    names
        .map(|name| {
            let path = format!("/api/v1/namespaces/{}/pods/{name}:8080/proxy/metrics", World::SYSTEM);
            Ok(of_pods(&world.kubectl.text(&["get", "--raw", &path])?))
        })
        .sum()
}

/// The number of pod reviews that a replica has answered, without dry runs.
fn of_pods(metrics: &str) -> u64 {
    let counted = metrics.lines().filter(|line| {
        line.starts_with("scaivault_injector_admissions_total{")
            && line.contains(r#"entry="mutate""#)
            && line.contains(r#"dry_run="false""#)
    });
    counted.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reviews_of_pods_are_counted() {
        let metrics = r#"# TYPE scaivault_injector_admissions counter
scaivault_injector_admissions_total{entry="mutate",outcome="injected",reason="init",dry_run="false"} 2
scaivault_injector_admissions_total{entry="mutate",outcome="injected",reason="sidecar",dry_run="false"} 3
scaivault_injector_admissions_total{entry="mutate",outcome="injected",reason="init",dry_run="true"} 5
scaivault_injector_admissions_total{entry="validate",outcome="allowed",reason="x",dry_run="false"} 7
scaivault_injector_panics_total 11
"#;
        assert_eq!(of_pods(metrics), 5);
    }
}
