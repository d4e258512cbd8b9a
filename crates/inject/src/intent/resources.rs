//! What the agent asks of the node.

use scaivault_contract::memory::{AGENT_MEMORY_MIB, AGENT_MEMORY_RESERVE_MIB};

use super::Findings;
use crate::{
    annotations::{Draft, ExactKey},
    pod::{ContainerView, PodView, QuantityText, ResourcesView},
    problem::{Code, Layer},
    quantity::Quantity,
};

const REQUESTS_CPU_MILLIS: u32 = 10;
const REQUESTS_MEMORY_MEBIBYTES: u32 = 16;
/// A Guaranteed pod needs a CPU limit on every container; this much never throttles a start noticeably.
const GUARANTEED_CPU_MILLIS: u32 = 50;

/// Requests and limits of each of our containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) requests_cpu: Option<Quantity>,
    pub(crate) requests_memory: Option<Quantity>,
    pub(crate) limits_cpu: Option<Quantity>,
    pub(crate) limits_memory: Option<Quantity>,
}

pub(super) fn resolve(draft: &Draft, pod: &PodView<'_>, findings: &mut Findings<'_>) -> Resources {
    let floor = draft.volume_size_limit.plus_mebibytes(AGENT_MEMORY_MIB);
    if let Some(limit) = draft.limits_memory.as_ref().filter(|limit| **limit < floor) {
        findings.problem(
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
            findings.problem(
                Code::Resources,
                what,
                Some(request.as_str()),
                format!("more than the limit {limit}"),
                "lower the request or raise the limit",
            );
        }
    }
    // Pod-level requests and limits are a budget that the user divided up without us: only what the pod itself gives us
    // counts.
    if pod.spec.resources.as_ref().is_some_and(ResourcesView::is_set) {
        let own = |key: ExactKey, amount: &Option<Quantity>| {
            amount.clone().filter(|_| *draft.layer_of(key) == Layer::Pod)
        };
        return Resources {
            requests_cpu: own(ExactKey::RequestsCpu, &draft.requests_cpu),
            requests_memory: own(ExactKey::RequestsMemory, &draft.requests_memory),
            limits_cpu: own(ExactKey::LimitsCpu, &draft.limits_cpu),
            limits_memory: own(ExactKey::LimitsMemory, &draft.limits_memory),
        };
    }
    let limits_memory = draft.limits_memory.clone().unwrap_or_else(|| {
        let default = draft.volume_size_limit.plus_mebibytes(AGENT_MEMORY_MIB + AGENT_MEMORY_RESERVE_MIB);
        draft.requests_memory.clone().map_or(default.clone(), |request| request.max(default))
    });
    if is_guaranteed(pod) {
        let cpu = draft.limits_cpu.clone().or_else(|| draft.requests_cpu.clone());
        let cpu = Some(cpu.unwrap_or_else(|| Quantity::millis(GUARANTEED_CPU_MILLIS)));
        return Resources {
            requests_cpu: cpu.clone(),
            limits_cpu: cpu,
            requests_memory: Some(limits_memory.clone()),
            limits_memory: Some(limits_memory),
        };
    }
    let requests_cpu = draft.requests_cpu.clone().unwrap_or_else(|| {
        let default = Quantity::millis(REQUESTS_CPU_MILLIS);
        draft.limits_cpu.clone().map_or(default.clone(), |limit| limit.min(default))
    });
    let requests_memory = draft
        .requests_memory
        .clone()
        .unwrap_or_else(|| limits_memory.clone().min(Quantity::mebibytes(REQUESTS_MEMORY_MEBIBYTES)));
    Resources {
        requests_cpu: Some(requests_cpu),
        requests_memory: Some(requests_memory),
        limits_cpu: draft.limits_cpu.clone(),
        limits_memory: Some(limits_memory),
    }
}

/// Whether the kubelet would class the pod as Guaranteed: every container has CPU and memory limits, and requests that
/// are equal or left to default to them.
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
    !pod.spec.containers.as_slice().is_empty() && pod.all_containers().all(holds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotations::{DefaultValue, spec_for};

    #[test]
    fn documented_requests_are_the_defaults() {
        let cpu = Quantity::millis(REQUESTS_CPU_MILLIS);
        let memory = Quantity::mebibytes(REQUESTS_MEMORY_MEBIBYTES);
        let guaranteed = Quantity::millis(GUARANTEED_CPU_MILLIS);
        for (key, words) in [
            (ExactKey::RequestsCpu, format!("`{cpu}`; in a Guaranteed pod the limit")),
            (ExactKey::RequestsMemory, format!("`{memory}`; in a Guaranteed pod the limit")),
            (ExactKey::LimitsCpu, format!("none; `{guaranteed}` in a Guaranteed pod")),
        ] {
            assert!(
                matches!(spec_for(key).default, DefaultValue::Words(text) if text == words),
                "{key}: {words}"
            );
        }
    }
}
