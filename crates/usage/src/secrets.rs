//! The native Secrets that a pod uses.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::{
    container::{Container, ContainerRef, containers},
    json::{is_true, list, list_at, text, text_at},
    volumes::{Mount, SecretVolume, items, mounts_by_volume},
};

/// One use of a native Secret by a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretUse {
    /// The Secret's name; its namespace is the pod's.
    pub secret: String,
    /// Whether the pod starts without the Secret.
    pub optional: bool,
    /// RFC 6901 pointer to the field that names it, relative to the pod.
    #[serde(skip)]
    pub pointer: String,
    /// How it is used.
    #[serde(flatten)]
    pub via: Via,
}

/// How a pod uses a native Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "via", rename_all = "kebab-case")]
pub enum Via {
    /// As files.
    Volume(SecretVolume),
    /// One key as a variable: `env[].valueFrom.secretKeyRef`.
    Variable {
        /// The container.
        container: ContainerRef,
        /// The variable.
        variable: String,
        /// The Secret's key.
        key: String,
    },
    /// Every key as a variable: `envFrom[].secretRef`.
    AllVariables {
        /// The container.
        container: ContainerRef,
        /// The prefix of each variable name; may be empty.
        prefix: String,
    },
    /// The kubelet uses it to log in to a registry. Containers do not read it.
    ImagePull,
    /// A storage driver uses it to mount a volume. Containers do not read it.
    Storage {
        /// The volume's name.
        volume: String,
        /// The CSI driver, or the volume's type.
        driver: String,
    },
}

impl SecretUse {
    /// Whether a container can read the Secret's values.
    pub fn is_read_by_containers(&self) -> bool {
        matches!(self.via, Via::Volume(_) | Via::Variable { .. } | Via::AllVariables { .. })
    }
}

/// The volume types that name a Secret with credentials, and a pointer to that name within the
/// volume.
const STORAGE: [(&str, &str); 9] = [
    ("azureFile", "/secretName"),
    ("cephfs", "/secretRef/name"),
    ("cinder", "/secretRef/name"),
    ("csi", "/nodePublishSecretRef/name"),
    ("flexVolume", "/secretRef/name"),
    ("iscsi", "/secretRef/name"),
    ("rbd", "/secretRef/name"),
    ("scaleIO", "/secretRef/name"),
    ("storageos", "/secretRef/name"),
];

/// All uses of native Secrets by a pod or pod template: volumes, then variables by container, then
/// image pulls.
pub fn secrets(pod: &Value) -> Vec<SecretUse> {
    let containers = containers(pod);
    let mounts = mounts_by_volume(&containers);
    let mut found = Vec::new();
    for (index, volume) in list_at(pod, "/spec/volumes").iter().enumerate() {
        of_volume(volume, &format!("/spec/volumes/{index}"), &mounts, &mut found);
    }
    for container in &containers {
        of_container(container, &mut found);
    }
    for (index, reference) in list_at(pod, "/spec/imagePullSecrets").iter().enumerate() {
        found.extend(text(reference, "name").map(|name| SecretUse {
            secret: name.to_owned(),
            // If the Secret is missing, the kubelet still tries to pull the image.
            optional: true,
            pointer: format!("/spec/imagePullSecrets/{index}"),
            via: Via::ImagePull,
        }));
    }
    found
}

fn of_volume(
    volume: &Value,
    pointer: &str,
    mounts: &BTreeMap<String, Vec<Mount>>,
    found: &mut Vec<SecretUse>,
) {
    let name = text(volume, "name").unwrap_or_default();
    let as_files = |source: &Value, default_mode: Option<&Value>, projected: bool| {
        Via::Volume(SecretVolume {
            volume: name.to_owned(),
            projected,
            items: items(source),
            default_mode: default_mode.and_then(Value::as_i64),
            mounts: mounts.get(name).cloned().unwrap_or_default(),
        })
    };
    if let Some(secret) = volume.get("secret")
        && let Some(secret_name) = text(secret, "secretName")
    {
        found.push(SecretUse {
            secret: secret_name.to_owned(),
            optional: is_true(secret, "optional"),
            pointer: pointer.to_owned(),
            via: as_files(secret, secret.get("defaultMode"), false),
        });
    }
    for (index, source) in list_at(volume, "/projected/sources").iter().enumerate() {
        let Some(secret) = source.get("secret") else { continue };
        found.extend(text(secret, "name").map(|secret_name| SecretUse {
            secret: secret_name.to_owned(),
            optional: is_true(secret, "optional"),
            pointer: format!("{pointer}/projected/sources/{index}"),
            via: as_files(secret, volume.pointer("/projected/defaultMode"), true),
        }));
    }
    for (kind, reference) in STORAGE {
        let Some(source) = volume.get(kind) else { continue };
        found.extend(text_at(source, reference).map(|secret_name| SecretUse {
            secret: secret_name.to_owned(),
            optional: false,
            pointer: pointer.to_owned(),
            via: Via::Storage {
                volume: name.to_owned(),
                driver: text(source, "driver").unwrap_or(kind).to_owned(),
            },
        }));
    }
}

fn of_container(container: &Container<'_>, found: &mut Vec<SecretUse>) {
    let Container { reference: container, pointer, value } = container;
    for (index, variable) in list(value, "env").iter().enumerate() {
        let Some(reference) = variable.pointer("/valueFrom/secretKeyRef") else { continue };
        found.extend(text(reference, "name").map(|name| SecretUse {
            secret: name.to_owned(),
            optional: is_true(reference, "optional"),
            pointer: format!("{pointer}/env/{index}"),
            via: Via::Variable {
                container: container.clone(),
                variable: text(variable, "name").unwrap_or_default().to_owned(),
                key: text(reference, "key").unwrap_or_default().to_owned(),
            },
        }));
    }
    for (index, source) in list(value, "envFrom").iter().enumerate() {
        let Some(reference) = source.get("secretRef") else { continue };
        found.extend(text(reference, "name").map(|name| SecretUse {
            secret: name.to_owned(),
            optional: is_true(reference, "optional"),
            pointer: format!("{pointer}/envFrom/{index}"),
            via: Via::AllVariables {
                container: container.clone(),
                prefix: text(source, "prefix").unwrap_or_default().to_owned(),
            },
        }));
    }
}

#[cfg(test)]
mod tests;
