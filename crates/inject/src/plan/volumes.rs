//! The volumes of an injection, and their mounts in the agent's containers.

use scaivault_contract::names::{
    API_TOKEN_DIR, CA_DIR, CA_FILE, CA_VOLUME, CLIENT_ID_FILE, CLIENT_SECRET_FILE, CREDENTIALS_DIR,
    CREDENTIALS_VOLUME, ENV_DIR, ENV_VOLUME, SECRETS_VOLUME, STATE_DIR, STATE_VOLUME, TOKEN_DIR, TOKEN_FILE,
    TOKEN_VOLUME,
};

use super::objects::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, ProjectedVolumeSource, SecretVolumeSource,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection, VolumeSource,
};
use crate::{annotations::Draft, intent::Intent};

/// Size of the volumes for variables and for state. A kubelet reads at most 64 KiB of a variables
/// file, and the state is a login and a few leases.
const SMALL_VOLUME: &str = "1Mi";

pub(super) fn of<'i>(intent: &'i Intent<'_>) -> Vec<Volume<'i>> {
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

/// The mounts of the agent's containers.
pub(super) fn mounts<'i>(intent: &'i Intent<'_>) -> Vec<VolumeMount<'i>> {
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
