//! What the core looks at of a volume: enough to say whether one with a reserved name is what the plan would add.

use serde::Deserialize;

use super::{
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
