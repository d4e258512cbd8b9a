//! The volumes, and how the agent's own containers mount them.

use k8s_openapi::{
    api::core::v1::{
        ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, ProjectedVolumeSource, SecretVolumeSource,
        ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
    },
    apimachinery::pkg::api::resource::Quantity as KubeQuantity,
};
use scaivault_contract::names::{
    API_TOKEN_DIR, CA_DIR, CA_FILE, CA_VOLUME, CLIENT_ID_FILE, CLIENT_SECRET_FILE, CREDENTIALS_DIR,
    CREDENTIALS_VOLUME, ENV_DIR, ENV_VOLUME, SECRETS_VOLUME, STATE_DIR, STATE_VOLUME, TOKEN_DIR, TOKEN_FILE,
    TOKEN_VOLUME,
};

use crate::{annotations::Draft, intent::Intent};

/// Size of the volumes for variables and for state. A kubelet reads at most 64 KiB of a variables' file, and a state
/// is a login and a few leases.
const SMALL_VOLUME: &str = "1Mi";

pub(super) fn of(intent: &Intent<'_>) -> Vec<Volume> {
    let mut volumes = Vec::with_capacity(4);
    if intent.has_files() {
        volumes.push(memory(SECRETS_VOLUME, intent.draft.volume_size_limit.as_str()));
    }
    match &intent.draft.client_credentials_secret {
        None => volumes.push(token(intent)),
        Some(secret) => volumes.push(Volume {
            name: CREDENTIALS_VOLUME.to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.clone()),
                items: credentials_items(intent.draft),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
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
            name: CA_VOLUME.to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: name.clone(),
                items: Some(vec![item(&intent.draft.ca_configmap_key, CA_FILE)]),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
    volumes
}

/// The keys that become the files the agent reads; none where the Secret names them as the agent does, so that a missing
/// key is reported by the agent instead of keeping the pod from starting without a word in its log.
fn credentials_items(draft: &Draft) -> Option<Vec<KeyToPath>> {
    let pairs = [
        (draft.client_credentials_id_key.as_str(), CLIENT_ID_FILE),
        (draft.client_credentials_secret_key.as_str(), CLIENT_SECRET_FILE),
    ];
    let is_renamed = pairs.iter().any(|(key, file)| key != file);
    is_renamed.then(|| pairs.into_iter().map(|(key, file)| item(key, file)).collect())
}

fn item(key: &str, path: &str) -> KeyToPath {
    KeyToPath { key: key.to_owned(), path: path.to_owned(), mode: None }
}

/// The mounts of our own containers.
pub(super) fn mounts(intent: &Intent<'_>) -> Vec<VolumeMount> {
    let mut mounts = Vec::with_capacity(6);
    let mut mount = |name: &str, path: &str, read_only: bool| {
        mounts.push(VolumeMount {
            name: name.to_owned(),
            mount_path: path.to_owned(),
            read_only: read_only.then_some(true),
            ..VolumeMount::default()
        });
    };
    if intent.has_files() {
        mount(SECRETS_VOLUME, intent.draft.mount_path.as_str(), false);
    }
    let (login, login_dir) = match intent.draft.client_credentials_secret {
        None => (TOKEN_VOLUME, TOKEN_DIR),
        Some(_) => (CREDENTIALS_VOLUME, CREDENTIALS_DIR),
    };
    mount(login, login_dir, true);
    // Keeps the API server's own token out, which the agent has no use for. Where it came in, behind our answer, the API
    // server would call us a second time. What is there instead tells the agent nothing that it does not have anyway.
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

fn memory(name: &str, size_limit: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: Some("Memory".to_owned()),
            size_limit: Some(KubeQuantity(size_limit.to_owned())),
        }),
        ..Volume::default()
    }
}

fn token(intent: &Intent<'_>) -> Volume {
    let projection = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            audience: Some(intent.draft.audience.clone()),
            expiration_seconds: Some(intent.draft.token_expiration_seconds),
            path: TOKEN_FILE.to_owned(),
        }),
        ..VolumeProjection::default()
    };
    Volume {
        name: TOKEN_VOLUME.to_owned(),
        projected: Some(ProjectedVolumeSource { sources: Some(vec![projection]), default_mode: None }),
        ..Volume::default()
    }
}
