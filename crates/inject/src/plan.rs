//! What is to be in the pod: an intent spelled out as Kubernetes objects.

mod container;
mod environment;
mod volumes;

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, FileKeySelector, Volume, VolumeMount};
use scaivault_contract::names::{ENV_FILE, ENV_VOLUME, SECRETS_VOLUME};

use crate::{
    intent::{Intent, Reload},
    pattern::Pattern,
    pod::PodView,
    receipt::Receipt,
    settings::Settings,
};

/// All that is to be there. It says nothing about what already is.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) volumes: Vec<Volume>,
    /// Our containers, in the order in which they start.
    pub(crate) agents: Vec<Container>,
    /// Where the first of them goes, counted without ours.
    pub(crate) insert_at: usize,
    /// The mount of every reader; none where no secret becomes a file.
    pub(crate) mount: Option<VolumeMount>,
    /// The variables of every reader.
    pub(crate) variables: Vec<EnvVar>,
    pub(crate) share_process_namespace: bool,
    pub(crate) receipt: Receipt,
}

impl Plan {
    /// The plan of an intent for a pod that is seen without anything of ours.
    pub(crate) fn of(intent: &Intent<'_>, pod: &PodView<'_>, settings: &Settings) -> Self {
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
        // A container without files to mount keeps its mounts; only its variables are touched.
        let receipt = Receipt::of(pod, touched, share_process_namespace);
        Self {
            volumes: volumes::of(intent),
            agents,
            insert_at: intent.insert_at,
            mount: intent.has_files().then(|| VolumeMount {
                name: SECRETS_VOLUME.to_owned(),
                mount_path: intent.draft.mount_path.as_str().to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
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

/// The variable is read from a file that the agent writes, so its value stands in no API object.
fn variable(mapping: &scaivault_contract::VariableMapping, fail_open: bool) -> EnvVar {
    let name = mapping.variable.as_str().to_owned();
    EnvVar {
        name: name.clone(),
        value: None,
        value_from: Some(EnvVarSource {
            file_key_ref: Some(FileKeySelector {
                key: name,
                optional: fail_open.then_some(true),
                path: ENV_FILE.to_owned(),
                volume_name: ENV_VOLUME.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    }
}
