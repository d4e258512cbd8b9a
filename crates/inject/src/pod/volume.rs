//! What the core looks at of a volume: enough to say whether one with a reserved name is what the plan would add.

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
    /// The manifest does not say.
    Unknown,
}

impl VolumeView<'_> {
    pub(crate) fn kind_of(&self, mount: &MountView<'_>) -> MountKind {
        if !mount.is_partial() {
            return self.host_path.as_ref().map_or(MountKind::Directory, HostPathView::kind);
        }
        let Some(sub_path) = mount.sub_path.as_deref().filter(|path| !path.is_empty()) else {
            return MountKind::Unknown;
        };
        // Volumes of keys: a key is a file, unless an item puts it into a directory.
        let is_directory = match self {
            Self { config_map: Some(volume), .. } => has_file_in(&volume.items, sub_path),
            Self { secret: Some(volume), .. } => has_file_in(&volume.items, sub_path),
            Self { downward_api: Some(volume), .. } => has_file_in(&volume.items, sub_path),
            Self { projected: Some(volume), .. } => {
                volume.sources.iter().any(|source| source.puts_files_into(sub_path))
            }
            _ => return MountKind::Unknown,
        };
        if is_directory { MountKind::Directory } else { MountKind::File }
    }
}

fn has_file_in(items: &List<ItemView<'_>>, directory: &str) -> bool {
    items.iter().any(|item| is_in(&item.path, directory))
}

/// Whether a file's path is below a directory.
fn is_in(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
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
            _ => MountKind::Unknown,
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
    fn puts_files_into(&self, directory: &str) -> bool {
        let items = [&self.config_map, &self.secret, &self.downward_api];
        let token = self.service_account_token.as_ref().and_then(|token| token.path.as_deref());
        let bundle = self.cluster_trust_bundle.as_ref().and_then(|bundle| bundle.path.as_deref());
        items.into_iter().flatten().any(|source| has_file_in(&source.items, directory))
            || [token, bundle].into_iter().flatten().any(|path| is_in(path, directory))
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
