//! The read model of a volume: enough to compare one with a reserved name to the plan.

use serde::Deserialize;

use super::{
    container::MountView,
    list::List,
    read::{self, QuantityText, Text},
};

/// A volume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct VolumeView<'a> {
    #[serde(borrow, deserialize_with = "read::nullable")]
    pub(crate) name: Text<'a>,
    #[serde(borrow)]
    pub(crate) empty_dir: Option<EmptyDirView<'a>>,
    #[serde(borrow)]
    pub(crate) projected: Option<ProjectedView<'a>>,
    #[serde(borrow)]
    pub(crate) config_map: Option<ConfigMapView<'a>>,
    #[serde(borrow)]
    pub(crate) secret: Option<SecretView<'a>>,
    #[serde(borrow, rename = "downwardAPI")]
    downward_api: Option<SourceItems<'a>>,
    #[serde(borrow)]
    host_path: Option<HostPathView<'a>>,
}

/// What a container finds at the path of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MountKind {
    Directory,
    File,
    /// A part of a volume; the manifest does not determine what it is.
    UnknownPart,
    /// A hostPath without a type.
    UnknownHostPath,
}

impl VolumeView<'_> {
    /// What a mount of the volume is in the container. `files` is the sorted result of
    /// [`Self::files`].
    pub(crate) fn kind_of<'f>(
        &self,
        mount: &MountView<'_>,
        files: impl FnOnce() -> &'f [String],
    ) -> MountKind {
        let whole = || self.host_path.as_ref().map_or(MountKind::Directory, HostPathView::kind);
        if !mount.is_partial() {
            return whole();
        }
        let Some(sub_path) = mount.sub_path.as_deref().filter(|path| !path.is_empty()) else {
            return MountKind::UnknownPart;
        };
        let sub_path = normalised(sub_path);
        if sub_path.is_empty() {
            return whole();
        }
        // In volumes of keys, a key is a file unless an item puts it into a directory.
        let has_keys = self.config_map.is_some()
            || self.secret.is_some()
            || self.downward_api.is_some()
            || self.projected.is_some();
        if !has_keys {
            return MountKind::UnknownPart;
        }
        let (files, directory) = (files(), format!("{sub_path}/"));
        let first = files.partition_point(|file| *file < directory);
        let is_directory = files.get(first).is_some_and(|file| file.starts_with(&directory));
        if is_directory { MountKind::Directory } else { MountKind::File }
    }

    /// The normalised paths of the files that its items name.
    pub(crate) fn files(&self) -> impl Iterator<Item = String> {
        let Self { config_map, secret, downward_api, projected, .. } = self;
        let config_map = config_map.iter().flat_map(|volume| volume.items.iter());
        let secret = secret.iter().flat_map(|volume| volume.items.iter());
        let downward_api = downward_api.iter().flat_map(|volume| volume.items.iter());
        let items = config_map.chain(secret).chain(downward_api).map(|item| &*item.path);
        let sources = projected.iter().flat_map(|volume| volume.sources.iter());
        items.chain(sources.flat_map(ProjectionView::files)).map(normalised)
    }
}

/// A path relative to a volume's root without empty segments and `.`; it must not contain `..`.
fn normalised(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect();
    segments.join("/")
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct HostPathView<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
}

impl HostPathView<'_> {
    fn kind(&self) -> MountKind {
        match self.kind.as_deref() {
            Some("Directory" | "DirectoryOrCreate") => MountKind::Directory,
            Some("File" | "FileOrCreate" | "Socket" | "CharDevice" | "BlockDevice") => MountKind::File,
            _ => MountKind::UnknownHostPath,
        }
    }
}

/// A source whose items name files.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SourceItems<'a> {
    #[serde(borrow)]
    items: List<ItemView<'a>>,
}

/// A source that is one file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SourceFile<'a> {
    #[serde(borrow)]
    path: Option<Text<'a>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EmptyDirView<'a> {
    #[serde(borrow)]
    pub(crate) medium: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) size_limit: Option<QuantityText<'a>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ProjectedView<'a> {
    #[serde(borrow)]
    pub(crate) sources: List<ProjectionView<'a>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ProjectionView<'a> {
    #[serde(borrow)]
    pub(crate) service_account_token: Option<TokenView<'a>>,
    #[serde(borrow)]
    config_map: Option<SourceItems<'a>>,
    #[serde(borrow)]
    secret: Option<SourceItems<'a>>,
    #[serde(borrow, rename = "downwardAPI")]
    downward_api: Option<SourceItems<'a>>,
    #[serde(borrow)]
    cluster_trust_bundle: Option<SourceFile<'a>>,
}

impl ProjectionView<'_> {
    fn files(&self) -> impl Iterator<Item = &str> {
        let items = [&self.config_map, &self.secret, &self.downward_api];
        let token = self.service_account_token.as_ref().and_then(|token| token.path.as_deref());
        let bundle = self.cluster_trust_bundle.as_ref().and_then(|bundle| bundle.path.as_deref());
        let items =
            items.into_iter().flatten().flat_map(|source| source.items.iter().map(|item| &*item.path));
        items.chain([token, bundle].into_iter().flatten())
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TokenView<'a> {
    #[serde(borrow)]
    pub(crate) audience: Option<Text<'a>>,
    pub(crate) expiration_seconds: Option<i64>,
    #[serde(borrow)]
    pub(crate) path: Option<Text<'a>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConfigMapView<'a> {
    #[serde(borrow)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) items: List<ItemView<'a>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SecretView<'a> {
    #[serde(borrow)]
    pub(crate) secret_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) items: List<ItemView<'a>>,
}

/// A key of a ConfigMap or Secret, and the file that it becomes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ItemView<'a> {
    #[serde(borrow, deserialize_with = "read::nullable")]
    pub(crate) key: Text<'a>,
    #[serde(borrow, deserialize_with = "read::nullable")]
    pub(crate) path: Text<'a>,
}
