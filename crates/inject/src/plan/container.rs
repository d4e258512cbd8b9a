//! Our containers. They set everything that matters themselves and pass Pod Security `restricted` in any pod.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, ExecAction, Lifecycle, LifecycleHandler, Probe, ResourceRequirements,
        SeccompProfile, SecurityContext,
    },
    apimachinery::pkg::api::resource::Quantity as KubeQuantity,
};
use scaivault_contract::names::{
    AGENT_BINARY, GATE_SPARE_SECONDS, HEALTHZ_COMMAND, INIT_COMMAND, INIT_CONTAINER, SIDECAR_COMMAND,
    SIDECAR_CONTAINER, WAIT_COMMAND,
};

use super::{environment, volumes};
use crate::{
    annotations::StartGate,
    intent::{Identity, Intent, Resources},
    pattern::Pattern,
    quantity::Quantity,
    settings::{ImagePullPolicy, Settings},
};

pub(super) fn init(intent: &Intent<'_>, settings: &Settings) -> Container {
    agent(intent, settings, Pattern::Init)
}

pub(super) fn sidecar(intent: &Intent<'_>, settings: &Settings) -> Container {
    let (lifecycle, startup_probe) = gate(intent);
    Container {
        restart_policy: Some("Always".to_owned()),
        lifecycle,
        startup_probe,
        ..agent(intent, settings, Pattern::Sidecar)
    }
}

fn agent(intent: &Intent<'_>, settings: &Settings, pattern: Pattern) -> Container {
    let (name, command, image) = match pattern {
        Pattern::Init => (INIT_CONTAINER, INIT_COMMAND, settings.init_image()),
        Pattern::Sidecar => (SIDECAR_CONTAINER, SIDECAR_COMMAND, settings.sidecar_image()),
    };
    Container {
        name: name.to_owned(),
        image: Some(intent.draft.image.as_deref().unwrap_or(image).to_owned()),
        image_pull_policy: settings.config.image_pull_policy.map(ImagePullPolicy::name).map(str::to_owned),
        command: Some(vec![AGENT_BINARY.to_owned()]),
        args: Some(vec![command.to_owned()]),
        env: Some(environment::of(intent, settings, pattern)),
        volume_mounts: Some(volumes::mounts(intent)),
        resources: resources(&intent.resources),
        security_context: Some(security_context(intent.identity, pattern)),
        ..Container::default()
    }
}

/// What holds back everything that starts after the sidecar until the secrets are on disk.
fn gate(intent: &Intent<'_>) -> (Option<Lifecycle>, Option<Probe>) {
    let exec =
        |command: &str| ExecAction { command: Some(vec![AGENT_BINARY.to_owned(), command.to_owned()]) };
    match intent.draft.start_gate {
        StartGate::Hook => {
            let hook = LifecycleHandler { exec: Some(exec(WAIT_COMMAND)), ..LifecycleHandler::default() };
            (Some(Lifecycle { post_start: Some(hook), ..Lifecycle::default() }), None)
        }
        StartGate::Probe => {
            let failures = intent.draft.fetch_timeout.as_secs() + GATE_SPARE_SECONDS;
            let probe = Probe {
                exec: Some(exec(HEALTHZ_COMMAND)),
                period_seconds: Some(1),
                failure_threshold: Some(i32::try_from(failures).unwrap_or(i32::MAX)),
                ..Probe::default()
            };
            (None, Some(probe))
        }
    }
}

fn security_context(identity: Identity, pattern: Pattern) -> SecurityContext {
    let may_signal = identity.kill && pattern == Pattern::Sidecar;
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            add: may_signal.then(|| vec!["KILL".to_owned()]),
            drop: Some(vec!["ALL".to_owned()]),
        }),
        read_only_root_filesystem: Some(true),
        run_as_user: identity.uid,
        run_as_group: identity.gid,
        run_as_non_root: Some(identity.uid != Some(0)),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..SecurityContext::default()
    }
}

fn resources(resources: &Resources) -> Option<ResourceRequirements> {
    let amounts = |cpu: &Option<Quantity>, memory: &Option<Quantity>| {
        let amounts: BTreeMap<String, KubeQuantity> = [("cpu", cpu), ("memory", memory)]
            .into_iter()
            .filter_map(|(name, amount)| Some((name.to_owned(), KubeQuantity(amount.as_ref()?.to_string()))))
            .collect();
        (!amounts.is_empty()).then_some(amounts)
    };
    let Resources { requests_cpu, requests_memory, limits_cpu, limits_memory } = resources;
    let requests = amounts(requests_cpu, requests_memory);
    let limits = amounts(limits_cpu, limits_memory);
    (requests.is_some() || limits.is_some()).then(|| ResourceRequirements {
        requests,
        limits,
        ..ResourceRequirements::default()
    })
}
