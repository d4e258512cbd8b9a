//! The read model of a container.

use serde::{Deserialize, de::IgnoredAny};

use super::{
    list::List,
    read::{self, QuantityText, Text},
};

/// A container or init container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ContainerView<'a> {
    /// Its index in its list in the document.
    #[serde(skip)]
    pub(crate) index: usize,
    #[serde(borrow, deserialize_with = "read::nullable")]
    pub(crate) name: Text<'a>,
    #[serde(borrow)]
    pub(crate) image: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) command: List<Text<'a>>,
    #[serde(borrow)]
    pub(crate) args: List<Text<'a>>,
    #[serde(borrow)]
    pub(crate) env: List<VariableView<'a>>,
    #[serde(borrow)]
    pub(crate) volume_mounts: List<MountView<'a>>,
    #[serde(deserialize_with = "read::nullable")]
    pub(crate) security_context: SecurityView,
    #[serde(borrow, deserialize_with = "read::nullable")]
    pub(crate) resources: ResourcesView<'a>,
    #[serde(borrow)]
    restart_policy: Option<Text<'a>>,
    #[serde(deserialize_with = "read::nullable")]
    lifecycle: LifecycleView,
    startup_probe: Option<IgnoredAny>,
}

impl ContainerView<'_> {
    /// Whether it is a native sidecar: an init container that keeps running.
    pub(crate) fn is_native_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }

    pub(crate) fn has_post_start(&self) -> bool {
        self.lifecycle.post_start.is_some()
    }

    pub(crate) fn has_startup_probe(&self) -> bool {
        self.startup_probe.is_some()
    }

    /// The value of a variable. If it is repeated, the last one, as for the process.
    pub(crate) fn variable(&self, name: &str) -> Option<VariableValue<'_>> {
        self.env.iter().rfind(|variable| &*variable.name == name).map(VariableView::value)
    }

    /// Whether a volume is mounted at any path.
    pub(crate) fn mounts(&self, volume: &str) -> bool {
        self.volume_mounts.iter().any(|mount| &*mount.name == volume)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LifecycleView {
    post_start: Option<IgnoredAny>,
}

/// The source of a variable's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VariableValue<'a> {
    /// A text; empty if there is none.
    Literal(&'a str),
    /// A field of the pod, such as `metadata.name`.
    Field(&'a str),
    /// A source that the injector never uses for its own containers.
    Other,
}

/// A variable: its name, and what distinguishes the injector's variables from others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct VariableView<'a> {
    #[serde(borrow, deserialize_with = "read::nullable")]
    pub(crate) name: Text<'a>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    #[serde(borrow)]
    value_from: Option<SourceView<'a>>,
}

impl VariableView<'_> {
    /// The volume that a `fileKeyRef` reads from.
    pub(crate) fn file_volume(&self) -> Option<&str> {
        self.value_from.as_ref()?.file_key_ref.as_ref().map(|reference| &*reference.volume_name)
    }

    fn value(&self) -> VariableValue<'_> {
        match &self.value_from {
            None => VariableValue::Literal(self.value.as_deref().unwrap_or("")),
            Some(SourceView { field_ref: Some(field), file_key_ref: None }) => {
                VariableValue::Field(&field.field_path)
            }
            Some(_) => VariableValue::Other,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SourceView<'a> {
    #[serde(borrow)]
    file_key_ref: Option<FileKeyRefView<'a>>,
    #[serde(borrow)]
    field_ref: Option<FieldRefView<'a>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FieldRefView<'a> {
    #[serde(borrow, deserialize_with = "read::nullable")]
    field_path: Text<'a>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileKeyRefView<'a> {
    #[serde(borrow, deserialize_with = "read::nullable")]
    volume_name: Text<'a>,
}

/// A mount: the volume and the path.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct MountView<'a> {
    #[serde(borrow, deserialize_with = "read::nullable")]
    pub(crate) name: Text<'a>,
    #[serde(borrow, deserialize_with = "read::nullable")]
    pub(crate) mount_path: Text<'a>,
    pub(crate) read_only: Option<bool>,
    #[serde(borrow)]
    pub(super) sub_path: Option<Text<'a>>,
    #[serde(borrow)]
    sub_path_expr: Option<Text<'a>>,
}

impl MountView<'_> {
    /// Whether only a part of the volume is mounted.
    pub(crate) fn is_partial(&self) -> bool {
        [&self.sub_path, &self.sub_path_expr].into_iter().flatten().any(|path| !path.is_empty())
    }
}

/// The fields of a security context that determine the user of a process.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SecurityView {
    #[serde(rename = "runAsUser")]
    pub(crate) user: Option<i64>,
    #[serde(rename = "runAsGroup")]
    pub(crate) group: Option<i64>,
    #[serde(rename = "runAsNonRoot")]
    pub(crate) non_root: Option<bool>,
    /// Only for pods: the group that owns the volumes.
    #[serde(rename = "fsGroup")]
    pub(crate) fs_group: Option<i64>,
    /// Only for pods: further groups of all processes.
    #[serde(rename = "supplementalGroups")]
    pub(crate) supplemental_groups: Option<IgnoredAny>,
}

/// Requests and limits of a container or of the whole pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ResourcesView<'a> {
    #[serde(borrow, deserialize_with = "read::nullable")]
    pub(crate) requests: AmountsView<'a>,
    #[serde(borrow, deserialize_with = "read::nullable")]
    pub(crate) limits: AmountsView<'a>,
}

impl ResourcesView<'_> {
    /// Whether any amount of CPU or memory is set.
    pub(crate) fn is_set(&self) -> bool {
        [&self.requests.cpu, &self.requests.memory, &self.limits.cpu, &self.limits.memory]
            .into_iter()
            .any(Option::is_some)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AmountsView<'a> {
    #[serde(borrow)]
    pub(crate) cpu: Option<QuantityText<'a>>,
    #[serde(borrow)]
    pub(crate) memory: Option<QuantityText<'a>>,
    #[serde(borrow, rename = "ephemeral-storage")]
    pub(crate) ephemeral_storage: Option<QuantityText<'a>>,
}
