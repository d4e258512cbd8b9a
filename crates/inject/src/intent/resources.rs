//! The resource requests and limits of the agent.

use scaivault_contract::memory::{AGENT_MEMORY_MIB, AGENT_MEMORY_RESERVE_MIB};

use super::Diagnostics;
use crate::{
    annotations::{Draft, ExactKey},
    pod::{ContainerView, PodView, QuantityText, ResourcesView},
    problem::{Code, Layer},
    quantity::Quantity,
};

const REQUESTS_CPU_MILLIS: u32 = 10;
const REQUESTS_MEMORY_MEBIBYTES: u32 = 16;
/// The CPU limit if one is required by a Guaranteed pod or a quota. It does not throttle a start
/// noticeably.
const LIMITS_CPU_MILLIS: u32 = 50;
/// The agent writes nothing to the node's disk except its log.
const REQUESTS_EPHEMERAL_STORAGE_MEBIBYTES: u32 = 16;
/// Above the size of a container's log that the kubelet keeps by default (five files of 10Mi):
/// beyond its limit, a pod is evicted.
const LIMITS_EPHEMERAL_STORAGE_MEBIBYTES: u32 = 64;

/// Requests and limits of each of the injector's containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) requests_cpu: Option<Quantity>,
    pub(crate) requests_memory: Option<Quantity>,
    pub(crate) requests_ephemeral_storage: Option<Quantity>,
    pub(crate) limits_cpu: Option<Quantity>,
    pub(crate) limits_memory: Option<Quantity>,
    pub(crate) limits_ephemeral_storage: Option<Quantity>,
}

pub(super) fn resolve(draft: &Draft, pod: &PodView<'_>, diagnostics: &mut Diagnostics<'_>) -> Resources {
    check(draft, diagnostics);
    // Pod-level requests and limits are a budget that the user has divided without the agent, so
    // only amounts set by the pod itself are used.
    if pod.spec.resources.as_ref().is_some_and(ResourcesView::is_set) {
        return set_by_the_pod(draft);
    }
    let limits_memory = draft.limits_memory.clone().unwrap_or_else(|| {
        let default = draft.volume_size_limit.plus_mebibytes(AGENT_MEMORY_MIB + AGENT_MEMORY_RESERVE_MIB);
        draft.requests_memory.clone().map_or(default.clone(), |request| request.max(default))
    });
    let amounts = if is_guaranteed(pod) {
        guaranteed(draft, limits_memory)
    } else {
        not_guaranteed(draft, pod, limits_memory)
    };
    with_ephemeral_storage(amounts, pod)
}

fn check(draft: &Draft, diagnostics: &mut Diagnostics<'_>) {
    let floor = draft.volume_size_limit.plus_mebibytes(AGENT_MEMORY_MIB);
    if let Some(limit) = draft.limits_memory.as_ref().filter(|limit| **limit < floor) {
        diagnostics.problem(
            Code::Resources,
            ExactKey::LimitsMemory,
            Some(limit.as_str()),
            format!(
                "the files count in the agent's memory: volume-size-limit + {AGENT_MEMORY_MIB}Mi is {floor}"
            ),
            format!("set at least {floor}, or a smaller volume-size-limit"),
        );
    }
    for (what, request, limit) in [
        (ExactKey::RequestsCpu, &draft.requests_cpu, &draft.limits_cpu),
        (ExactKey::RequestsMemory, &draft.requests_memory, &draft.limits_memory),
    ] {
        if let (Some(request), Some(limit)) = (request, limit)
            && request > limit
        {
            diagnostics.problem(
                Code::Resources,
                what,
                Some(request.as_str()),
                format!("more than the limit {limit}"),
                "lower the request or raise the limit",
            );
        }
    }
}

/// Only the amounts in the pod's own annotations.
fn set_by_the_pod(draft: &Draft) -> Resources {
    let own = |key: ExactKey, amount: &Option<Quantity>| {
        amount.clone().filter(|_| *draft.layer_of(key) == Layer::Pod)
    };
    Resources {
        requests_cpu: own(ExactKey::RequestsCpu, &draft.requests_cpu),
        requests_memory: own(ExactKey::RequestsMemory, &draft.requests_memory),
        limits_cpu: own(ExactKey::LimitsCpu, &draft.limits_cpu),
        limits_memory: own(ExactKey::LimitsMemory, &draft.limits_memory),
        ..Resources::default()
    }
}

/// Requests equal to the limits, so that the pod remains Guaranteed.
fn guaranteed(draft: &Draft, limits_memory: Quantity) -> Resources {
    let cpu = draft.limits_cpu.clone().or_else(|| draft.requests_cpu.clone());
    let cpu = Some(cpu.unwrap_or_else(|| Quantity::millis(LIMITS_CPU_MILLIS)));
    Resources {
        requests_cpu: cpu.clone(),
        limits_cpu: cpu,
        requests_memory: Some(limits_memory.clone()),
        limits_memory: Some(limits_memory),
        ..Resources::default()
    }
}

fn not_guaranteed(draft: &Draft, pod: &PodView<'_>, limits_memory: Quantity) -> Resources {
    let requests_cpu = draft.requests_cpu.clone().unwrap_or_else(|| {
        let default = Quantity::millis(REQUESTS_CPU_MILLIS);
        draft.limits_cpu.clone().map_or(default.clone(), |limit| limit.min(default))
    });
    let requests_memory = draft
        .requests_memory
        .clone()
        .unwrap_or_else(|| limits_memory.clone().min(Quantity::mebibytes(REQUESTS_MEMORY_MEBIBYTES)));
    // A quota on limits.cpu rejects a pod if one of its containers has no limit.
    let limits_cpu = draft.limits_cpu.clone().or_else(|| {
        let is_limited = every_container(pod, |container| container.resources.limits.cpu.is_some());
        is_limited.then(|| requests_cpu.clone().max(Quantity::millis(LIMITS_CPU_MILLIS)))
    });
    Resources {
        requests_cpu: Some(requests_cpu),
        requests_memory: Some(requests_memory),
        limits_cpu,
        limits_memory: Some(limits_memory),
        ..Resources::default()
    }
}

/// Adds ephemeral storage if every container of the pod has some, because a quota may require it.
fn with_ephemeral_storage(amounts: Resources, pod: &PodView<'_>) -> Resources {
    let storage = |has: fn(&ContainerView<'_>) -> bool, mebibytes| {
        every_container(pod, has).then(|| Quantity::mebibytes(mebibytes))
    };
    Resources {
        limits_ephemeral_storage: storage(
            |container| container.resources.limits.ephemeral_storage.is_some(),
            LIMITS_EPHEMERAL_STORAGE_MEBIBYTES,
        ),
        // If the request is missing, the API server sets it to the limit.
        requests_ephemeral_storage: storage(
            |container| {
                let ResourcesView { requests, limits } = &container.resources;
                requests.ephemeral_storage.is_some() || limits.ephemeral_storage.is_some()
            },
            REQUESTS_EPHEMERAL_STORAGE_MEBIBYTES,
        ),
        ..amounts
    }
}

fn every_container(pod: &PodView<'_>, has: impl Fn(&ContainerView<'_>) -> bool) -> bool {
    !pod.spec.containers.as_slice().is_empty() && pod.all_containers().all(has)
}

/// Whether the kubelet would classify the pod as Guaranteed: every container has CPU and memory
/// limits, and its requests are equal to them or absent.
fn is_guaranteed(pod: &PodView<'_>) -> bool {
    let amount =
        |text: &Option<QuantityText<'_>>| text.as_ref().and_then(|text| text.0.parse::<Quantity>().ok());
    let holds = |container: &ContainerView<'_>| {
        let (requests, limits) = (&container.resources.requests, &container.resources.limits);
        [(&requests.cpu, &limits.cpu), (&requests.memory, &limits.memory)].into_iter().all(
            |(request, limit)| {
                amount(limit).is_some_and(|limit| {
                    limit.is_positive() && (request.is_none() || amount(request) == Some(limit))
                })
            },
        )
    };
    every_container(pod, holds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotations::{DefaultValue, spec_for};

    #[test]
    fn documented_requests_are_the_defaults() {
        let cpu = Quantity::millis(REQUESTS_CPU_MILLIS);
        let memory = Quantity::mebibytes(REQUESTS_MEMORY_MEBIBYTES);
        let limit = Quantity::millis(LIMITS_CPU_MILLIS);
        for (key, words) in [
            (ExactKey::RequestsCpu, format!("`{cpu}`; in a Guaranteed pod the limit")),
            (ExactKey::RequestsMemory, format!("`{memory}`; in a Guaranteed pod the limit")),
            (ExactKey::LimitsCpu, format!("none; `{limit}` in a pod whose containers all have one")),
        ] {
            assert!(
                matches!(spec_for(key).default, DefaultValue::Words(text) if text == words),
                "{key}: {words}"
            );
        }
    }
}
