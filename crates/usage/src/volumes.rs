//! The volumes of a pod that hold secrets, and the containers that mount them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::{
    container::{Container, ContainerRef, containers},
    json::{is_true, list, list_at, text, text_at},
};

/// A volume with keys of a native Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretVolume {
    /// The volume's name.
    pub volume: String,
    /// Whether it is a source of a `projected` volume, and not a volume of type `secret`.
    pub projected: bool,
    /// The keys that become files; empty if every key becomes a file of the same name.
    pub items: Vec<Item>,
    /// The files' mode, as in the API (decimal in JSON); `None` for the default 0644.
    pub default_mode: Option<i64>,
    /// The containers that mount the volume; may be empty.
    pub mounts: Vec<Mount>,
}

/// A key that becomes a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The Secret's key.
    pub key: String,
    /// The file's path relative to the volume.
    pub path: String,
    /// The file's mode, if it differs from the volume's.
    pub mode: Option<i64>,
}

/// A mount of a volume in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// The container.
    pub container: ContainerRef,
    /// RFC 6901 pointer to the mount, relative to the pod.
    #[serde(skip)]
    pub pointer: String,
    /// `mountPath`.
    pub path: String,
    /// `subPath` or `subPathExpr`. The kubelet never updates such a mount when the Secret changes.
    pub sub_path: Option<String>,
    /// Whether it is read-only.
    pub read_only: bool,
}

/// An inline CSI volume of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CsiVolume {
    /// The volume's name.
    pub volume: String,
    /// RFC 6901 pointer to the volume, relative to the pod.
    #[serde(skip)]
    pub pointer: String,
    /// The driver's name.
    pub driver: String,
    /// The `SecretProviderClass` of a secrets-store volume.
    pub class: Option<String>,
    /// The containers that mount the volume.
    pub mounts: Vec<Mount>,
}

/// The CSI volumes of a pod or pod template.
pub fn csi_volumes(pod: &Value) -> Vec<CsiVolume> {
    let mounts = mounts_by_volume(&containers(pod));
    let volumes = list_at(pod, "/spec/volumes").iter().enumerate();
    let csi = volumes.filter_map(|(index, volume)| {
        let csi = volume.get("csi").filter(|csi| csi.is_object())?;
        let name = text(volume, "name").unwrap_or_default();
        Some(CsiVolume {
            volume: name.to_owned(),
            pointer: format!("/spec/volumes/{index}"),
            driver: text(csi, "driver").unwrap_or_default().to_owned(),
            class: text_at(csi, "/volumeAttributes/secretProviderClass").map(str::to_owned),
            mounts: mounts.get(name).cloned().unwrap_or_default(),
        })
    });
    csi.collect()
}

/// The mounts of all containers, by the volume's name.
pub(crate) fn mounts_by_volume(containers: &[Container<'_>]) -> BTreeMap<String, Vec<Mount>> {
    let mut found: BTreeMap<String, Vec<Mount>> = BTreeMap::new();
    for Container { reference, pointer, value } in containers {
        for (index, mount) in list(value, "volumeMounts").iter().enumerate() {
            let Some(volume) = text(mount, "name") else { continue };
            found.entry(volume.to_owned()).or_default().push(Mount {
                container: reference.clone(),
                pointer: format!("{pointer}/volumeMounts/{index}"),
                path: text(mount, "mountPath").unwrap_or_default().to_owned(),
                sub_path: text(mount, "subPath").or_else(|| text(mount, "subPathExpr")).map(str::to_owned),
                read_only: is_true(mount, "readOnly"),
            });
        }
    }
    found
}

/// The items of a `secret` volume or of a projected source.
pub(crate) fn items(source: &Value) -> Vec<Item> {
    let items = list(source, "items").iter().map(|item| Item {
        key: text(item, "key").unwrap_or_default().to_owned(),
        path: text(item, "path").unwrap_or_default().to_owned(),
        mode: item.get("mode").and_then(Value::as_i64),
    });
    items.collect()
}
