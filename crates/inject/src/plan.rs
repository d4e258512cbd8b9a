//! The plan of an injection: an intent as Kubernetes objects.

use scaivault_contract::{
    VariableMapping,
    names::{
        CA_FILE, CA_VOLUME, CLIENT_ID_FILE, CLIENT_SECRET_FILE, CREDENTIALS_VOLUME, ENV_FILE, ENV_VOLUME,
        SECRETS_VOLUME, STATE_VOLUME, TOKEN_FILE, TOKEN_VOLUME,
    },
};

use crate::{
    annotations::Draft,
    intent::{Intent, Reload},
    pattern::Pattern,
    pod::PodView,
    policy::{AppliedPolicies, Policy},
    receipt::Receipt,
    settings::Settings,
};

mod container;
mod digest;
pub(crate) mod json;
pub(crate) mod objects;

use objects::{
    ConfigMapVolumeSource, Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, FileKeySelector, KeyToPath,
    ProjectedVolumeSource, SecretVolumeSource, ServiceAccountTokenProjection, Volume, VolumeMount,
    VolumeProjection, VolumeSource,
};

/// All objects of an injection, regardless of what the pod already has.
#[derive(Debug)]
pub(crate) struct Plan<'i> {
    pub(crate) volumes: Vec<Volume<'i>>,
    /// The injector's containers, in their start order.
    pub(crate) agents: Vec<Container<'i>>,
    /// The index of the first one, counted without the injector's containers.
    pub(crate) insert_at: usize,
    /// The mount of every reader; `None` if no secret becomes a file.
    pub(crate) mount: Option<VolumeMount<'i>>,
    /// The variables of every reader, sorted by name.
    pub(crate) variables: Vec<EnvVar<'i>>,
    pub(crate) share_process_namespace: bool,
    pub(crate) receipt: Receipt,
}

impl<'i> Plan<'i> {
    /// The plan of an intent for a pod without the injection.
    pub(crate) fn new(
        intent: &'i Intent<'_>,
        pod: &PodView<'_>,
        settings: &'i Settings,
        applied: &AppliedPolicies<'_>,
    ) -> Self {
        let mut agents = Vec::with_capacity(2);
        if intent.pattern == Pattern::Init || intent.init_before_sidecar {
            agents.push(container::init(intent, settings));
        }
        if intent.pattern == Pattern::Sidecar {
            agents.push(container::sidecar(intent, settings));
        }
        let share_process_namespace = matches!(intent.reload, Some(Reload::Signal(_)));
        let has_variables = !intent.variables.is_empty();
        let touched = intent.readers.containers_of(pod).map(|container| (container, has_variables));
        // A container that gets no mount keeps its list of mounts; only its variables change.
        let receipt = Receipt::from_pod(pod, touched, share_process_namespace)
            .with_plan(digest::digest(intent.draft, &agents))
            .with_policies(applied.giving().map(Policy::reference));
        Self {
            volumes: volumes(intent),
            agents,
            insert_at: intent.insert_at,
            mount: intent.has_files().then(|| VolumeMount {
                name: SECRETS_VOLUME,
                mount_path: intent.draft.mount_path.as_str(),
                read_only: true,
            }),
            variables: intent
                .variables
                .iter()
                .map(|mapping| variable(mapping, intent.draft.fail_open))
                .collect(),
            share_process_namespace,
            receipt,
        }
    }
}

/// The variable is read from a file that the agent writes, so its value is in no API object.
fn variable(mapping: &VariableMapping, fail_open: bool) -> EnvVar<'_> {
    let name = mapping.variable.as_str();
    let selector = FileKeySelector {
        key: name,
        optional: fail_open.then_some(true),
        path: ENV_FILE,
        volume_name: ENV_VOLUME,
    };
    EnvVar { name, value: None, value_from: Some(EnvVarSource::FileKeyRef(selector)) }
}

/// Size of the volumes for variables and for state. A kubelet reads at most 64 KiB of a variables
/// file, and the state is a login and a few leases.
const SMALL_VOLUME: &str = "1Mi";

fn volumes<'i>(intent: &'i Intent<'_>) -> Vec<Volume<'i>> {
    let mut volumes = Vec::with_capacity(5);
    if intent.has_files() {
        volumes.push(memory(SECRETS_VOLUME, intent.draft.volume_size_limit.as_str()));
    }
    match &intent.draft.client_credentials_secret {
        None => volumes.push(token(intent)),
        Some(secret) => volumes.push(Volume {
            name: CREDENTIALS_VOLUME,
            source: VolumeSource::Secret(SecretVolumeSource {
                items: credentials_items(intent.draft),
                secret_name: secret,
            }),
        }),
    }
    if !intent.variables.is_empty() {
        volumes.push(memory(ENV_VOLUME, SMALL_VOLUME));
    }
    if intent.has_state() {
        volumes.push(memory(STATE_VOLUME, SMALL_VOLUME));
    }
    if let Some(name) = &intent.draft.ca_configmap {
        volumes.push(Volume {
            name: CA_VOLUME,
            source: VolumeSource::ConfigMap(ConfigMapVolumeSource {
                items: vec![KeyToPath { key: &intent.draft.ca_configmap_key, path: CA_FILE }],
                name,
            }),
        });
    }
    volumes
}

/// The keys that become the files which the agent reads; empty if the Secret uses the agent's
/// names. Then the agent reports a missing key, instead of the kubelet not starting the pod without
/// any agent log.
fn credentials_items(draft: &Draft) -> Vec<KeyToPath<'_>> {
    let items = [
        KeyToPath { key: &draft.client_credentials_id_key, path: CLIENT_ID_FILE },
        KeyToPath { key: &draft.client_credentials_secret_key, path: CLIENT_SECRET_FILE },
    ];
    let is_renamed = items.iter().any(|item| item.key != item.path);
    if is_renamed { items.into() } else { Vec::new() }
}

fn memory<'i>(name: &'static str, size_limit: &'i str) -> Volume<'i> {
    Volume { name, source: VolumeSource::EmptyDir(EmptyDirVolumeSource { medium: "Memory", size_limit }) }
}

fn token<'i>(intent: &'i Intent<'_>) -> Volume<'i> {
    let projection = VolumeProjection {
        service_account_token: ServiceAccountTokenProjection {
            audience: &intent.draft.audience,
            expiration_seconds: intent.draft.token_expiration_seconds,
            path: TOKEN_FILE,
        },
    };
    Volume {
        name: TOKEN_VOLUME,
        source: VolumeSource::Projected(ProjectedVolumeSource { sources: [projection] }),
    }
}
