//! The plan of an injection: an intent as Kubernetes objects.

mod container;
mod digest;
mod environment;
pub(crate) mod json;
pub(crate) mod objects;
mod volumes;

use scaivault_contract::{
    VariableMapping,
    names::{ENV_FILE, ENV_VOLUME, SECRETS_VOLUME},
};

use objects::{Container, EnvVar, EnvVarSource, FileKeySelector, Volume, VolumeMount};

use crate::{
    intent::{Intent, Reload},
    pattern::Pattern,
    pod::PodView,
    policy::{Applied, Policy},
    receipt::Receipt,
    settings::Settings,
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
        applied: &Applied<'_>,
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
        let touched = intent.readers.of(pod).map(|container| (container, has_variables));
        // A container that gets no mount keeps its list of mounts; only its variables change.
        let receipt = Receipt::of(pod, touched, share_process_namespace)
            .with_plan(digest::digest(intent.draft, &agents))
            .with_policies(applied.giving().map(Policy::reference));
        Self {
            volumes: volumes::of(intent),
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
