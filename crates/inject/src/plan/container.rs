//! The injector's containers, their environment and their mounts. They set every relevant field themselves and
//! pass the Pod Security Standard `restricted` in any pod.

use std::borrow::Cow;

use scaivault_contract::{
    Duration, PodVariable,
    env::{self, ENVIRONMENT},
    escape_env_value,
    names::{
        AGENT_BINARY, API_TOKEN_DIR, CA_DIR, CA_FILE, CA_VOLUME, CREDENTIALS_DIR, CREDENTIALS_VOLUME,
        ENV_DIR, ENV_FILE, ENV_VOLUME, GATE_SPARE_SECONDS, HEALTHZ_COMMAND, INIT_COMMAND, INIT_CONTAINER,
        SECRETS_VOLUME, SIDECAR_COMMAND, SIDECAR_CONTAINER, STATE_DIR, STATE_VOLUME, TOKEN_DIR, TOKEN_FILE,
        TOKEN_VOLUME, WAIT_COMMAND,
    },
};

use super::objects::{
    Amounts, Capabilities, Container, EnvVar, EnvVarSource, ExecAction, Lifecycle, LifecycleHandler,
    ObjectFieldSelector, Probe, ResourceRequirements, SeccompProfile, SecurityContext, VolumeMount,
};
use crate::{
    annotations::StartGate,
    intent::{Identity, Intent, Reload, Resources, lines},
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
        env: environment(intent, settings, pattern),
        image: intent.draft.image.as_deref().unwrap_or(image),
        image_pull_policy: settings.config.image_pull_policy.map(ImagePullPolicy::name),
        lifecycle: None,
        name,
        resources: resources(&intent.resources),
        restart_policy: None,
        security_context: security_context(intent.identity, pattern),
        startup_probe: None,
        volume_mounts: mounts(intent),
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

/// The mounts of the agent's containers.
fn mounts<'i>(intent: &'i Intent<'_>) -> Vec<VolumeMount<'i>> {
    let mut mounts = Vec::with_capacity(6);
    let mut mount = |name, mount_path, read_only| mounts.push(VolumeMount { mount_path, name, read_only });
    if intent.has_files() {
        mount(SECRETS_VOLUME, intent.draft.mount_path.as_str(), false);
    }
    let (login, login_dir) = match intent.draft.client_credentials_secret {
        None => (TOKEN_VOLUME, TOKEN_DIR),
        Some(_) => (CREDENTIALS_VOLUME, CREDENTIALS_DIR),
    };
    mount(login, login_dir, true);
    // Prevents the API server from mounting its own token, which the agent does not need. If the
    // API server added it after this response, it would call the webhook again. The mounted login
    // volume contains nothing that the agent does not already have.
    mount(login, API_TOKEN_DIR, true);
    if !intent.variables.is_empty() {
        mount(ENV_VOLUME, ENV_DIR, false);
    }
    if intent.has_state() {
        mount(STATE_VOLUME, STATE_DIR, false);
    }
    if intent.draft.ca_configmap.is_some() {
        mount(CA_VOLUME, CA_DIR, true);
    }
    mounts
}

/// The variables of the init container or of the sidecar: published ones first, without values that
/// are the agent's own default.
fn environment<'i>(intent: &'i Intent<'_>, settings: &'i Settings, container: Pattern) -> Vec<EnvVar<'i>> {
    let is_sidecar = container == Pattern::Sidecar;
    let mut variables = Variables(Vec::with_capacity(12));
    variables.always(env::SCAIVAULT_URL, intent.draft.url.as_str());
    if intent.draft.client_credentials_secret.is_none() {
        variables.always(env::SCAIVAULT_TOKEN_FILE, [TOKEN_DIR, "/", TOKEN_FILE].concat());
    } else {
        variables.always(env::SCAIVAULT_CREDENTIALS_DIR, CREDENTIALS_DIR);
        variables
            .unless_default(env::SCAIKEY_TOKEN_URL, settings.config.token_url.as_deref().unwrap_or_default());
    }
    variables.unless_default(env::SCAIVAULT_ROLE, intent.draft.role.as_deref().unwrap_or_default());
    variables.unless_default(env::SCAIVAULT_AUDIENCE, &intent.draft.audience);
    variables.unless_default(env::SCAIVAULT_ALLOW_HTTP, word(intent.draft.url.is_plain_http()));
    if intent.draft.ca_configmap.is_some() {
        variables.always(env::SCAIVAULT_CA_FILE, [CA_DIR, "/", CA_FILE].concat());
    }
    if let Some(trust) = intent.trust.scaivault {
        variables.always(env::SCAIVAULT_TRUST, trust.to_string());
    }
    if let Some(trust) = intent.trust.scaikey {
        variables.always(env::SCAIKEY_TRUST, trust.to_string());
    }
    variables
        .unless_empty(if is_sidecar { env::WATCH_PATHS } else { env::SECRETS }, &intent.mappings.secrets);
    variables.unless_empty(env::DYNAMIC, &intent.mappings.dynamic);
    variables.unless_empty(env::SECRET_ENV, &intent.mappings.variables);
    if !intent.variables.is_empty() {
        variables.always(env::SCAIVAULT_ENV_FILE, [ENV_DIR, "/", ENV_FILE].concat());
    }
    if intent.has_state() {
        variables.always(env::SCAIVAULT_STATE_DIR, STATE_DIR);
    }
    if is_sidecar {
        variables.always(env::REFRESH_INTERVAL, intent.draft.refresh_interval.to_string());
        variables.unless_default(env::REFRESH_ON_EVENT, word(intent.draft.refresh_on_event));
        if intent.draft.refresh_on_event {
            variables.pod_variable(PodVariable::Pod);
            variables.field(env::SCAIVAULT_POD_UID, "metadata.uid");
        }
        match &intent.reload {
            None => {}
            Some(Reload::Signal(target)) => {
                variables.always(env::RELOAD_SIGNAL, target.signal.to_string());
                variables.always(env::RELOAD_TARGET, target.process.clone());
            }
            Some(Reload::Url(url)) => variables.always(env::RELOAD_URL, url.to_string()),
        }
        // A native sidecar stops after the application, so no draining application needs its
        // database user any more.
        variables.unless_default(env::SCAIVAULT_REVOKE_DELAY, Duration::ZERO.to_string());
    }
    for variable in PodVariable::ALL.into_iter().filter(|variable| intent.uses(*variable)) {
        variables.pod_variable(variable);
    }
    variables.unless_default(env::FETCH_TIMEOUT, intent.draft.fetch_timeout.to_string());
    variables.unless_default(env::FAIL_OPEN, word(intent.draft.fail_open));
    variables.unless_default(env::LOG_LEVEL, intent.draft.log_level.0.to_string());
    // Last, where it also goes if it is added later because another webhook has added a mount.
    variables.unless_empty(env::MOUNT_POINTS, lines(&intent.mount_points));
    variables.0
}

/// A boolean as the agent parses it.
const fn word(is_on: bool) -> &'static str {
    if is_on { "true" } else { "false" }
}

struct Variables<'i>(Vec<EnvVar<'i>>);

impl<'i> Variables<'i> {
    fn always(&mut self, name: &'static str, value: impl Into<Cow<'i, str>>) {
        let value = match value.into() {
            Cow::Borrowed(value) => escape_env_value(value),
            Cow::Owned(value) if value.contains('$') => escape_env_value(&value).into_owned().into(),
            Cow::Owned(value) => value.into(),
        };
        self.0.push(EnvVar { name, value: Some(value), value_from: None });
    }

    /// Adds a variable if its value differs from the agent's default.
    fn unless_default(&mut self, name: &'static str, value: impl Into<Cow<'i, str>>) {
        let value = value.into();
        if !value.is_empty()
            && ENVIRONMENT.iter().find(|spec| spec.name == name).is_none_or(|spec| spec.default != value)
        {
            self.always(name, value);
        }
    }

    fn unless_empty(&mut self, name: &'static str, value: impl Into<Cow<'i, str>>) {
        let value = value.into();
        if !value.is_empty() {
            self.always(name, value);
        }
    }

    /// Adds the source of a `${…}` variable, unless it was already added for another purpose.
    fn pod_variable(&mut self, variable: PodVariable) {
        if self.0.iter().all(|added| added.name != variable.env()) {
            self.field(variable.env(), variable.field_path());
        }
    }

    /// Adds a variable that the kubelet sets from a field of the pod.
    fn field(&mut self, name: &'static str, field_path: &'static str) {
        let source = EnvVarSource::FieldRef(ObjectFieldSelector { field_path });
        self.0.push(EnvVar { name, value: None, value_from: Some(source) });
    }
}
