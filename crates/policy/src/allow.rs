//! The values that namespaces and pods may request, and exceptions.

use kube_derive::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{Date, LabelSelector, rules, text};

/// Limits, one list per field. A missing list does not limit; an empty list allows nothing. The
/// lists of all policies that select a pod are combined: a value is allowed if one of them matches
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"), validation = rules::UID_RANGES.cel())]
#[serde(rename_all = "camelCase")]
pub struct Allow {
    /// Secret paths. `*` is one level or a part of one, `**` any number of levels, `?` one character. Variables such as
    /// `${namespace}` are filled when a pod is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    #[x_kube(validation = text::PATH_GLOB.list_rule())]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub paths: Option<Vec<String>>,
    /// Dynamic credentials as `engine/role`, with the same wildcards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub dynamic: Option<Vec<String>>,
    /// Roles that the annotation `role` may name, with the same wildcards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub roles: Option<Vec<String>>,
    /// URLs that the annotation `url` may name: these, and those below them. Replaces the
    /// injector's `allowedUrls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub urls: Option<Vec<String>>,
    /// Images that the annotation `image` may name: these, and their tags, digests and
    /// sub-repositories. Replaces the injector's `allowedImages`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub images: Option<Vec<String>>,
    /// User IDs that the annotation `run-as-user` may name: a uid or a range, in quotes, such as `"1000-1999"`,
    /// or `unset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 21)))]
    #[x_kube(validation = text::UIDS.list_rule())]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub uids: Option<Vec<String>>,
    /// `ConfigMaps` that the annotation `ca-configmap` may name, with `*` and `?`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = text::OBJECT_GLOB.list_rule())]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub ca_config_maps: Option<Vec<String>>,
    /// Secrets that the annotation `client-credentials-secret` may name, with `*` and `?`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = text::OBJECT_GLOB.list_rule())]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub client_credentials_secrets: Option<Vec<String>>,
}

/// Values that some of the selected pods may use until a date, although no `allow` list contains
/// them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct Exception {
    /// The name, which is shown in warnings and reports.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = text::EXCEPTION_NAME.rule())]
    pub name: String,
    /// Names of namespaces, with `*` and `?`. Default: all that the policy selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = text::NAME_GLOB.list_rule())]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub namespaces: Option<Vec<String>>,
    /// Names of service accounts, with `*` and `?`. Default: all that the policy selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = text::NAME_GLOB.list_rule())]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub service_accounts: Option<Vec<String>>,
    /// Labels of pods. Default: all pods that the policy selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = StructMerge::Atomic)]
    pub pod_selector: Option<LabelSelector>,
    /// What is allowed in addition to the policy's own `allow`.
    #[schemars(extend("minProperties" = 1))]
    pub allow: Allow,
    /// Who requested it.
    #[schemars(length(min = 1, max = 253))]
    pub owner: String,
    /// Why it is needed.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// The last day on which it is valid, in UTC, such as `"2027-01-31"`.
    pub expires: Date,
}
