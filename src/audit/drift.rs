//! Detects running pods that differ from what the injector would create now.

use std::collections::{BTreeMap, BTreeSet};

use scaivault_audit::PodState;
use scaivault_contract::{
    env::ENVIRONMENT,
    names::{ANNOTATION_PREFIX, INIT_CONTAINER, RESERVED_VOLUMES, SIDECAR_CONTAINER},
};
use scaivault_inject::{
    Context, Decision, Injection, PodView, PolicyEffect, PolicyReport, SkipReason, decide_with_policies,
};
use serde_json::Value;

/// The result of comparing a running pod with what would be created now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// It has no injection and would get none.
    NotConcerned,
    /// Its injection is up to date.
    Current,
    /// It differs.
    Drifted(PodState, Vec<String>),
}

/// Compares a running pod, given as text and as JSON value, with the injector's current decision.
pub(super) fn compare(text: &str, value: &Value, context: &Context<'_>) -> Result<Comparison, String> {
    let pod = PodView::parse(text).map_err(|error| error.to_string())?;
    let (decision, policies) = decide_with_policies(&pod, context);
    let is_plain = matches!(&decision, Decision::Skip(skip) if skip.reason == SkipReason::NotAnnotated);
    if is_plain && !text.contains(ANNOTATION_PREFIX) {
        return Ok(Comparison::NotConcerned);
    }
    let live = Live::new(value);
    Ok(match decision {
        Decision::Inject(_) if !live.is_injected() => Comparison::Drifted(PodState::NotInjected, Vec::new()),
        Decision::Inject(injection) if changes_annotations_alone(&injection) => live.with_policies(&policies),
        Decision::Inject(injection) => {
            Comparison::Drifted(PodState::Outdated, live.differences(&injection, &policies))
        }
        Decision::Skip(skip) if skip.reason == SkipReason::AlreadyInjected => live.with_policies(&policies),
        Decision::Skip(skip) if !skip.problems.is_empty() => {
            Comparison::Drifted(PodState::WouldBeRefused, codes(skip.problems.iter()))
        }
        Decision::Deny(denial) => {
            Comparison::Drifted(PodState::WouldBeRefused, codes(denial.problems.iter()))
        }
        Decision::Skip(skip) if live.is_injected() => {
            Comparison::Drifted(PodState::Leftover, vec![skip.reason.name().to_owned()])
        }
        Decision::Detach(_) => Comparison::Drifted(PodState::Leftover, vec!["mutation-mode".to_owned()]),
        Decision::Skip(_) => Comparison::NotConcerned,
    })
}

/// Whether only the recorded annotations differ, that is, the policies in the receipt.
fn changes_annotations_alone(injection: &Injection) -> bool {
    const ANNOTATIONS: &str = "/metadata/annotations";
    injection.patch.operations().iter().all(|operation| operation.path().starts_with(ANNOTATIONS))
}

/// The codes of problems without duplicates. Their texts are reported with the pod's workload.
fn codes<'a>(problems: impl Iterator<Item = &'a scaivault_inject::Problem>) -> Vec<String> {
    let codes: BTreeSet<_> = problems.map(|problem| problem.code.name()).collect();
    codes.into_iter().map(str::to_owned).collect()
}

/// The injector's parts of a running pod.
struct Live<'a> {
    pod: &'a Value,
    /// Its receipt; null if it is missing or cannot be parsed.
    receipt: Value,
    has_receipt: bool,
}

impl<'a> Live<'a> {
    fn new(pod: &'a Value) -> Self {
        let annotations = pod.pointer("/metadata/annotations");
        let receipt = annotations.and_then(|all| all.get(format!("{ANNOTATION_PREFIX}receipt"))?.as_str());
        let has_receipt = receipt.is_some();
        let receipt = receipt.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        Self { pod, receipt, has_receipt }
    }

    fn is_injected(&self) -> bool {
        let volumes = self.pod.pointer("/spec/volumes").and_then(Value::as_array);
        let mut names = volumes.into_iter().flatten().filter_map(|volume| volume.get("name")?.as_str());
        self.has_receipt && (!self.agents().is_empty() || names.any(|name| RESERVED_VOLUMES.contains(&name)))
    }

    fn agents(&self) -> BTreeMap<&'a str, &'a Value> {
        let list = self.pod.pointer("/spec/initContainers").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(agent).collect()
    }

    /// The pod is injected as planned, but its policies may have changed.
    fn with_policies(&self, policies: &PolicyReport) -> Comparison {
        let mut changes = self.policy_changes(policies);
        if changes.is_empty() {
            return Comparison::Current;
        }
        changes.push("the injection is the same".to_owned());
        Comparison::Drifted(PodState::Outdated, changes)
    }

    /// The parts of the planned injection that the pod does not have.
    fn differences(&self, injection: &Injection, policies: &PolicyReport) -> Vec<String> {
        let mut found = self.policy_changes(policies);
        if self.receipt.get("plan").is_none() {
            found.push("injected by an older injector (no plan in the receipt)".to_owned());
        }
        let patch = serde_json::to_value(&injection.patch).unwrap_or_default();
        let planned = planned_agents(&patch);
        let live = self.agents();
        for (name, container) in &planned {
            match live.get(name) {
                Some(live) => found.extend(container_differences(name, live, container)),
                None => found.push(format!("container {name} is added")),
            }
        }
        if injection.replaced {
            let removed = live.keys().filter(|name| !planned.contains_key(*name));
            found.extend(removed.map(|name| format!("container {name} is removed")));
        } else {
            found.push("parts of the injection are missing".to_owned());
        }
        if found.is_empty() {
            found.push("settings of the agent, volumes or mounts".to_owned());
        }
        found
    }

    /// The difference between the policies recorded in the receipt and those that would apply now.
    fn policy_changes(&self, policies: &PolicyReport) -> Vec<String> {
        let noted = self.receipt.get("policies").and_then(Value::as_array);
        let noted: BTreeMap<&str, &str> =
            noted.into_iter().flatten().filter_map(|policy| policy.as_str()?.rsplit_once('@')).collect();
        let now: BTreeMap<&str, String> =
            policies.uses.iter().map(|policy| (&*policy.name, policy.generation.to_string())).collect();
        let mut changes = Vec::new();
        for (name, generation) in &noted {
            match now.get(name) {
                Some(present) if present == generation => {}
                Some(present) => changes.push(format!("policy {name}@{generation} is now {name}@{present}")),
                None => changes.push(format!("policy {name}@{generation} no longer applies")),
            }
        }
        let injecting = policies.with_effect(PolicyEffect::Injected);
        let added = injecting.filter(|policy| !noted.contains_key(&*policy.name));
        changes.extend(added.map(|policy| format!("policy {}@{} is new", policy.name, policy.generation)));
        changes
    }
}

/// The name of an injector's container, with the container.
fn agent(container: &Value) -> Option<(&str, &Value)> {
    let name = container.get("name")?.as_str()?;
    [INIT_CONTAINER, SIDECAR_CONTAINER].contains(&name).then_some((name, container))
}

/// The injector's containers in a patch, added one by one or as a whole list.
fn planned_agents(patch: &Value) -> BTreeMap<&str, &Value> {
    let values = patch.as_array().into_iter().flatten().filter_map(|operation| operation.get("value"));
    let containers = values.flat_map(|value| match value {
        Value::Array(entries) => entries.iter().collect(),
        value => vec![value],
    });
    containers.filter(|container| container.get("image").is_some()).filter_map(agent).collect()
}

fn container_differences(name: &str, live: &Value, planned: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let image =
        |container: &Value| container.get("image").and_then(Value::as_str).unwrap_or_default().to_owned();
    let (live_image, planned_image) = (image(live), image(planned));
    if live_image != planned_image {
        found.push(format!("image {live_image} is now {planned_image}"));
    }
    let (live, planned) = (variables(live), variables(planned));
    let names: BTreeSet<_> = live.keys().chain(planned.keys()).collect();
    let changed: Vec<_> = names
        .into_iter()
        .filter(|variable| match (live.get(*variable), planned.get(*variable)) {
            (Some(live), Some(planned)) => live != planned,
            (None, Some(_)) => true,
            // Other webhooks add their own variables to every container.
            (Some(_), None) => ENVIRONMENT.iter().any(|spec| spec.name == **variable),
            (None, None) => false,
        })
        .copied()
        .collect();
    if !changed.is_empty() {
        found.push(format!("{} of {name}", changed.join(", ")));
    }
    found
}

fn variables(container: &Value) -> BTreeMap<&str, &str> {
    let list = container.get("env").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|variable| Some((variable.get("name")?.as_str()?, variable.get("value")?.as_str()?)))
        .collect()
}

#[cfg(test)]
mod tests;
