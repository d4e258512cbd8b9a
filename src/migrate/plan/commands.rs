//! The commands of a batch.

use std::collections::BTreeSet;

use scaivault_contract::names::{AGENT_BINARY, SIDECAR_CONTAINER, VERIFY_COMMAND};

use super::{Phase, PlannedWorkload, Step};

/// Shows when each pod was created and when it became ready.
const TIMES: &str = "custom-columns=NAME:.metadata.name,CREATED:.metadata.creationTimestamp,READY:.status.conditions[?(@.type==\"Ready\")].lastTransitionTime,INJECTED:.metadata.annotations.scaivault\\.scailabs\\.ai/status";

/// The commands to apply and to roll back.
pub(super) fn of_batch(number: usize, workloads: &[PlannedWorkload]) -> (Vec<Step>, Vec<Step>) {
    let directory = format!("batches/{number:02}");
    let mut steps = compare(&directory, workloads);
    steps.extend(times(Phase::Baseline, "how long pods take to start today", workloads));
    for workload in workloads {
        steps.push(apply(Phase::Apply, &directory, "apply", workload));
    }
    steps.extend(workloads.iter().filter_map(|workload| rollout(Phase::Rollout, workload)));
    steps.extend(workloads.iter().filter(|workload| workload.has_sidecar).filter_map(verify));
    steps.extend(times(
        Phase::Latency,
        "how long pods take to start now; INJECTED must be injected",
        workloads,
    ));
    if workloads.iter().any(|workload| workload.job.is_some()) {
        let arguments = ["delete", "-f", &format!("{directory}/verify.yaml"), "--ignore-not-found"];
        steps.push(step(Phase::Latency, "remove the Jobs", kubectl(&arguments)));
    }
    let mut rollback = Vec::new();
    for workload in workloads {
        rollback.push(apply(Phase::Rollback, &directory, "rollback", workload));
    }
    rollback.extend(workloads.iter().filter_map(|workload| rollout(Phase::Rollback, workload)));
    rollback.extend(times(Phase::Rollback, "INJECTED must be <none>", workloads));
    (steps, rollback)
}

/// Deletes a native Secret.
pub(super) fn delete_secret(namespace: &str, secret: &str) -> Step {
    let command = in_namespace(kubectl(&["delete", "secret"]), namespace, &[secret]);
    step(Phase::Finish, &format!("the Secret {secret}"), command)
}

/// Runs the Jobs that compare the current values with the new ones.
fn compare(directory: &str, workloads: &[PlannedWorkload]) -> Vec<Step> {
    let jobs: Vec<(&str, &str)> = workloads
        .iter()
        .filter_map(|workload| Some((workload.namespace.as_str(), workload.job.as_deref()?)))
        .collect();
    if jobs.is_empty() {
        return Vec::new();
    }
    let file = format!("{directory}/verify.yaml");
    let mut steps =
        vec![step(Phase::Compare, "start the Jobs that compare", kubectl(&["apply", "-f", &file]))];
    for (namespace, job) in jobs {
        let waiting = ["--for=condition=Complete", "--timeout=10m", &format!("job/{job}")];
        steps.push(step(
            Phase::Compare,
            "every key must be equal",
            in_namespace(kubectl(&["wait"]), namespace, &waiting),
        ));
        let logs = [&format!("job/{job}"), "--container=verify"];
        steps.push(step(
            Phase::Compare,
            "what was compared",
            in_namespace(kubectl(&["logs"]), namespace, &logs),
        ));
    }
    steps
}

fn times(phase: Phase, title: &str, workloads: &[PlannedWorkload]) -> Vec<Step> {
    let mut seen = BTreeSet::new();
    let steps = workloads.iter().filter_map(|workload| {
        let PlannedWorkload { kind, namespace, name, selector, .. } = workload;
        let mut arguments = Vec::new();
        match (selector, kind.as_str()) {
            (Some(selector), _) => arguments.push(format!("--selector={selector}")),
            (None, "Pod") if !name.is_empty() => arguments.push(name.clone()),
            (None, "Job") if !name.is_empty() => arguments.push(format!("--selector=job-name={name}")),
            // Other pods cannot be selected by a label, so all of the namespace are shown.
            (None, _) => {}
        }
        arguments.push(format!("--output={TIMES}"));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let command = in_namespace(kubectl(&["get", "pods"]), namespace, &arguments);
        seen.insert(command.clone()).then(|| step(phase, title, command))
    });
    steps.collect()
}

/// Pods and Jobs are immutable, so they are recreated. An object with `generateName` is created.
fn apply(phase: Phase, directory: &str, what: &str, workload: &PlannedWorkload) -> Step {
    let PlannedWorkload { kind, name, namespace, file, .. } = workload;
    let file = format!("{directory}/{what}/{file}");
    let is_fixed = matches!(kind.as_str(), "Pod" | "Job");
    let arguments = match (is_fixed, name.is_empty()) {
        (_, true) => vec!["create", "-f", &file],
        (true, false) => vec!["replace", "--force", "-f", &file],
        (false, false) => vec!["apply", "-f", &file],
    };
    let title = format!("{}/{name}", kind.to_lowercase());
    let (verb, rest) = arguments.split_at(1);
    step(phase, &title, in_namespace(kubectl(verb), namespace, rest))
}

fn rollout(phase: Phase, workload: &PlannedWorkload) -> Option<Step> {
    let PlannedWorkload { kind, namespace, .. } = workload;
    let kind =
        Some(kind.as_str()).filter(|kind| ["Deployment", "StatefulSet", "DaemonSet"].contains(kind))?;
    let title = format!("{}/{}", kind.to_lowercase(), workload.name);
    let command = in_namespace(kubectl(&["rollout", "status"]), namespace, &[&title, "--timeout=10m"]);
    Some(step(phase, &title, command))
}

/// Lets the sidecar of one pod verify its files against `ScaiVault`.
fn verify(workload: &PlannedWorkload) -> Option<Step> {
    let kind = workload.kind.to_lowercase();
    let is_known = ["deployment", "statefulset", "daemonset", "replicaset", "pod"].contains(&kind.as_str())
        && !workload.name.is_empty();
    let target = is_known.then(|| format!("{kind}/{}", workload.name))?;
    let container = format!("--container={SIDECAR_CONTAINER}");
    let arguments = [&target, &container, "--", AGENT_BINARY, VERIFY_COMMAND];
    let command = in_namespace(kubectl(&["exec"]), &workload.namespace, &arguments);
    Some(step(Phase::Verify, &format!("{target}: its files against ScaiVault"), command))
}

fn step(phase: Phase, title: &str, command: Vec<String>) -> Step {
    Step { phase, title: title.to_owned(), command }
}

fn kubectl(arguments: &[&str]) -> Vec<String> {
    std::iter::once("kubectl").chain(arguments.iter().copied()).map(str::to_owned).collect()
}

fn in_namespace(mut command: Vec<String>, namespace: &str, arguments: &[&str]) -> Vec<String> {
    if !namespace.is_empty() {
        command.push(format!("--namespace={namespace}"));
    }
    command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    command
}
