//! The injector's containers. They set every relevant field themselves and pass the Pod Security
//! Standard `restricted` in any pod.

use scaivault_contract::names::{
    AGENT_BINARY, GATE_SPARE_SECONDS, HEALTHZ_COMMAND, INIT_COMMAND, INIT_CONTAINER, SIDECAR_COMMAND,
    SIDECAR_CONTAINER, WAIT_COMMAND,
};

use super::{
    environment,
    objects::{
        Amounts, Capabilities, Container, ExecAction, Lifecycle, LifecycleHandler, Probe,
        ResourceRequirements, SeccompProfile, SecurityContext,
    },
    volumes,
};
use crate::{
    annotations::StartGate,
    intent::{Identity, Intent, Resources},
    pattern::Pattern,
    quantity::Quantity,
    settings::{ImagePullPolicy, Settings},
};

pub(super) fn init<'i>(intent: &'i Intent<'_>, settings: &'i Settings) -> Container<'i> {
    agent(intent, settings, Pattern::Init)
}

pub(super) fn sidecar<'i>(intent: &'i Intent<'_>, settings: &'i Settings) -> Container<'i> {
    let (lifecycle, startup_probe) = gate(intent);
    Container {
        restart_policy: Some("Always"),
        lifecycle,
        startup_probe,
        ..agent(intent, settings, Pattern::Sidecar)
    }
}

fn agent<'i>(intent: &'i Intent<'_>, settings: &'i Settings, pattern: Pattern) -> Container<'i> {
    let (name, command, image) = match pattern {
        Pattern::Init => (INIT_CONTAINER, INIT_COMMAND, settings.init_image()),
        // Without a uid, the platform chooses the user, or the image's user applies. The security
        // context forbids root, so the image whose user is not root is used.
        Pattern::Sidecar if intent.identity.uid.is_none() => {
            (SIDECAR_CONTAINER, SIDECAR_COMMAND, settings.init_image())
        }
        Pattern::Sidecar => (SIDECAR_CONTAINER, SIDECAR_COMMAND, settings.sidecar_image()),
    };
    Container {
        args: [command],
        command: [AGENT_BINARY],
        env: environment::of(intent, settings, pattern),
        image: intent.draft.image.as_deref().unwrap_or(image),
        image_pull_policy: settings.config.image_pull_policy.map(ImagePullPolicy::name),
        lifecycle: None,
        name,
        resources: resources(&intent.resources),
        restart_policy: None,
        security_context: security_context(intent.identity, pattern),
        startup_probe: None,
        volume_mounts: volumes::mounts(intent),
    }
}

/// Amounts in Kubernetes' notation.
fn texts<const N: usize>(amounts: [&Option<Quantity>; N]) -> [Option<&str>; N] {
    amounts.map(|amount| amount.as_ref().map(Quantity::as_str))
}

/// The hook and the probe that delay everything that starts after the sidecar until the secrets are
/// on disk.
fn gate(intent: &Intent<'_>) -> (Option<Lifecycle>, Option<Probe>) {
    let exec = |command| ExecAction { command: [AGENT_BINARY, command] };
    match intent.draft.start_gate {
        StartGate::Hook => {
            (Some(Lifecycle { post_start: LifecycleHandler { exec: exec(WAIT_COMMAND) } }), None)
        }
        StartGate::Probe => {
            let failures = intent.draft.fetch_timeout.as_secs() + GATE_SPARE_SECONDS;
            let probe = Probe {
                exec: exec(HEALTHZ_COMMAND),
                failure_threshold: i32::try_from(failures).unwrap_or(i32::MAX),
                period_seconds: 1,
            };
            (None, Some(probe))
        }
    }
}

fn security_context(identity: Identity, pattern: Pattern) -> SecurityContext {
    let may_signal = identity.kill && pattern == Pattern::Sidecar;
    SecurityContext {
        allow_privilege_escalation: false,
        capabilities: Capabilities { add: may_signal.then_some(["KILL"]), drop: ["ALL"] },
        read_only_root_filesystem: true,
        run_as_group: identity.gid,
        run_as_non_root: identity.uid != Some(0),
        run_as_user: identity.uid,
        seccomp_profile: SeccompProfile { kind: "RuntimeDefault" },
    }
}

fn resources(resources: &Resources) -> Option<ResourceRequirements<'_>> {
    let Resources {
        requests_cpu,
        requests_memory,
        requests_ephemeral_storage,
        limits_cpu,
        limits_memory,
        limits_ephemeral_storage,
    } = resources;
    let [cpu, memory, ephemeral_storage] = texts([requests_cpu, requests_memory, requests_ephemeral_storage]);
    let requests = Amounts { cpu, ephemeral_storage, memory };
    let [cpu, memory, ephemeral_storage] = texts([limits_cpu, limits_memory, limits_ephemeral_storage]);
    let limits = Amounts { cpu, ephemeral_storage, memory };
    (!requests.is_empty() || !limits.is_empty()).then_some(ResourceRequirements { limits, requests })
}
