//! The secrets that a policy injects, in terms of the annotations.

use kube_derive::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{rules, text};

/// The secrets that the selected pods get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"), validation = rules::NAMES_DIFFER.cel())]
#[serde(rename_all = "camelCase")]
pub struct Inject {
    /// Files with secrets, like those of the annotations `inject-secret-<name>` and
    /// `secret-…-<name>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub secrets: Vec<Secret>,
    /// Files with dynamic credentials, like those of the annotation `inject-dynamic-<name>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub dynamic: Vec<Dynamic>,
    /// Environment variables, like those of the annotation `inject-env-<VAR>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub variables: Vec<Variable>,
}

/// A file with a secret, one field of it, or several secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    crates(kube_core = "::kube_core"),
    validation = rules::FORMAT_OR_TEMPLATE.cel(),
    validation = rules::ENCODING_NEEDS_FIELD.cel(),
    validation = rules::RAW_NEEDS_FIELD.cel()
)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// The name of the file below the mount path, unless `file` names another.
    #[schemars(length(min = 1, max = 47))]
    #[x_kube(validation = text::FILE_NAME.rule())]
    pub name: String,
    /// The secret as `path[#field][@version]`, or several as `alias=path[#field][@version]`.
    /// Variables such as `${namespace}` are filled when a pod is created.
    #[schemars(length(min = 1, max = 4096))]
    pub path: String,
    /// The path of the file below the mount path, for names that `name` cannot hold. Default: `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub file: Option<String>,
    /// The format of the file: `json`, `raw`, `env`, `dotenv`, `yaml` or `properties`. Default:
    /// `json`; `raw` with a `#field`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub format: Option<String>,
    /// A minijinja template that writes the file. Excludes `format`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub template: Option<String>,
    /// The mode of the file, octal and in quotes, such as `"0400"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub mode: Option<String>,
    /// The encoding of the field. `base64` writes the decoded bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub encoding: Option<String>,
    /// `true`: the application starts without this file if the secret does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// A file with credentials that an engine generates for the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    crates(kube_core = "::kube_core"),
    validation = rules::FORMAT_OR_TEMPLATE.cel(),
    validation = rules::CREDENTIALS_ARE_NOT_RAW.cel()
)]
#[serde(rename_all = "camelCase")]
pub struct Dynamic {
    /// The name of the file below the mount path, unless `file` names another.
    #[schemars(length(min = 1, max = 47))]
    #[x_kube(validation = text::FILE_NAME.rule())]
    pub name: String,
    /// The engine.
    #[schemars(length(min = 1, max = 512))]
    pub engine: String,
    /// The role of the engine.
    #[schemars(length(min = 1, max = 512))]
    pub role: String,
    /// The duration of a lease, such as `1h`. Default: the role's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub ttl: Option<String>,
    /// The path of the file below the mount path, for names that `name` cannot hold. Default: `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub file: Option<String>,
    /// The format of the file: `json`, `env`, `dotenv`, `yaml` or `properties`. Default: `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub format: Option<String>,
    /// A minijinja template that writes the file. Excludes `format`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub template: Option<String>,
    /// The mode of the file, octal and in quotes, such as `"0400"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub mode: Option<String>,
}

/// An environment variable with one field of a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"), validation = rules::VARIABLE_NEEDS_FIELD.cel())]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// The name of the variable.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = text::VARIABLE_NAME.rule())]
    pub name: String,
    /// The field of a secret as `path#field[@version]`.
    #[schemars(length(min = 1, max = 1024))]
    pub secret: String,
}
