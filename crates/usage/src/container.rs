//! The containers of a pod.

use serde::Serialize;
use serde_json::Value;

use crate::json::{list, text};

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ContainerRef {
    /// Its name; empty if the manifest does not name it.
    pub name: String,
    /// Its kind.
    pub kind: ContainerKind,
}

/// The kinds of containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerKind {
    /// In `containers`.
    App,
    /// In `initContainers`.
    Init,
    /// In `initContainers`, with `restartPolicy: Always`.
    Sidecar,
    /// In `ephemeralContainers`, for debugging.
    Ephemeral,
}

impl ContainerKind {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Init => "init",
            Self::Sidecar => "sidecar",
            Self::Ephemeral => "ephemeral",
        }
    }
}

/// A container and its location in the pod.
pub(crate) struct Container<'a> {
    pub(crate) reference: ContainerRef,
    /// RFC 6901 pointer to it, relative to the pod.
    pub(crate) pointer: String,
    pub(crate) value: &'a Value,
}

/// All containers of a pod or pod template, list by list in the order below.
pub(crate) fn containers(pod: &Value) -> Vec<Container<'_>> {
    const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
    let Some(spec) = pod.get("spec") else { return Vec::new() };
    let all = LISTS.into_iter().flat_map(|field| {
        list(spec, field).iter().enumerate().map(move |(index, value)| {
            let kind = match field {
                "containers" => ContainerKind::App,
                "ephemeralContainers" => ContainerKind::Ephemeral,
                _ if text(value, "restartPolicy") == Some("Always") => ContainerKind::Sidecar,
                _ => ContainerKind::Init,
            };
            let name = text(value, "name").unwrap_or_default().to_owned();
            let pointer = format!("/spec/{field}/{index}");
            Container { reference: ContainerRef { name, kind }, pointer, value }
        })
    });
    all.collect()
}
