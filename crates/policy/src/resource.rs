//! The custom resource.

use std::collections::BTreeMap;

use kube_derive::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{Allow, Exception, Inject, InjectionPolicyStatus, LabelSelector, rules, text};

/// `apiVersion` of the resource.
pub const VERSION: &str = "scaivault.scailabs.ai/v1alpha1";

/// `kind` of the resource.
pub const KIND: &str = "InjectionPolicy";

/// Which pods get which secrets without annotations, and which values namespaces and pods may request.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "scaivault.scailabs.ai",
    version = "v1alpha1",
    kind = "InjectionPolicy",
    plural = "injectionpolicies",
    category = "scaivault",
    status = "InjectionPolicyStatus",
    derive = "PartialEq",
    doc = "Which pods get which secrets without annotations, and which values namespaces and pods may request.",
    crates(kube_core = "::kube_core"),
    selectable = ".spec.environment",
    printcolumn(name = "Environment", type_ = "string", json_path = ".spec.environment"),
    printcolumn(name = "Enforcement", type_ = "string", json_path = ".spec.enforcement"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Accepted")].status"#
    ),
    printcolumn(
        name = "Reachable",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Reachable")].status"#
    ),
    printcolumn(name = "Namespaces", type_ = "integer", json_path = ".status.namespaces"),
    printcolumn(name = "Injected", type_ = "integer", json_path = ".status.pods.injected"),
    printcolumn(name = "Refused", type_ = "integer", json_path = ".status.pods.refused"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority", priority = 1),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mutationMode", priority = 1),
    printcolumn(name = "Warned", type_ = "integer", json_path = ".status.pods.warned", priority = 1),
    printcolumn(name = "Audited", type_ = "integer", json_path = ".status.pods.audited", priority = 1),
    printcolumn(
        name = "Conflicted",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Conflicted")].status"#,
        priority = 1
    )
)]
#[x_kube(
    crates(kube_core = "::kube_core"),
    validation = rules::DELIVERED_AS_VARIABLES.cel(),
    validation = rules::CREDENTIALS_AS_VARIABLES.cel(),
    validation = rules::DELIVERED_AS_FILES.cel()
)]
#[serde(rename_all = "camelCase")]
pub struct InjectionPolicySpec {
    /// Decides which policy applies if several set the same setting: the one with the highest
    /// priority, then the one whose name is first in alphabetical order.
    #[serde(default)]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: i32,
    /// The namespaces, by their labels. `{}` selects all. A namespace has the label `kubernetes.io/metadata.name`.
    #[x_kube(merge_strategy = StructMerge::Atomic)]
    pub namespace_selector: LabelSelector,
    /// The pods, by their labels. Default: all pods of the namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = StructMerge::Atomic)]
    pub pod_selector: Option<LabelSelector>,
    /// Names of the service accounts that the pods use, with `*` and `?`. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = text::NAME_GLOB.list_rule())]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub service_accounts: Option<Vec<String>>,
    /// The containers that get the files and variables, as in the annotation `containers`. Default:
    /// all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    #[x_kube(validation = text::CONTAINER.list_rule())]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub containers: Option<Vec<String>>,
    /// The init containers that get them, as in the annotation `init-containers`. Default: those
    /// that start after the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    #[x_kube(validation = text::CONTAINER.list_rule())]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub init_containers: Option<Vec<String>>,
    /// The environment of the namespaces, which is the value of `${environment}`. A namespace has
    /// at most one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = text::ENVIRONMENT.rule())]
    pub environment: Option<String>,
    /// The secrets that the selected pods get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inject: Option<Inject>,
    /// Whether everything is delivered as files or as variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// The kind of container that delivers the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Pattern>,
    /// How the application is notified of changed files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<Reload>,
    /// Whether workloads are restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Defaults for the selected pods, by annotation key without the prefix: any key that a namespace may set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "defaults")]
    #[x_kube(validation = rules::default_keys())]
    pub defaults: BTreeMap<String, String>,
    /// The values that namespaces, service accounts and pods may request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1))]
    pub allow: Option<Allow>,
    /// Whether the selected pods are injected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutation_mode: Option<MutationMode>,
    /// Whether pods, workloads and namespaces may override `mutationMode`. Default: `true`, so pods
    /// may opt out; `false` if `mutationMode` is `ignore` or `ignore-and-detach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods_may_override: Option<bool>,
    /// `enforce` injects, and refuses pods with values that `allow` does not contain. `warn`
    /// injects, and warns of such values. `audit` changes nothing and reports what the policy would
    /// have done.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// Values that some pods may use until a date.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub exceptions: Vec<Exception>,
}

/// Delivers everything under `inject` in the same way: `files`, including what is listed under
/// `variables`; or `variables`, including the fields listed under `secrets`. Default: as listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// As files.
    Files,
    /// As environment variables.
    Variables,
}

/// How the files are delivered, as in the annotation `pattern`: `init` fetches them once, before
/// the application starts; `sidecar` keeps them up to date. Default: what the other settings need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// An init container.
    Init,
    /// A sidecar.
    Sidecar,
}

impl Pattern {
    /// The name in the annotation.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Sidecar => "sidecar",
        }
    }
}

/// How the application is notified of changed files: by a signal to a process, or by a POST to a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"), validation = rules::ONE_RELOAD.cel())]
#[serde(rename_all = "camelCase")]
pub struct Reload {
    /// The signal, such as `SIGHUP`, as in the annotation `reload-signal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub signal: Option<String>,
    /// The process, as in the annotation `reload-target`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub target: Option<String>,
    /// The URL on the pod's own loopback, as in the annotation `reload-url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub url: Option<String>,
}

/// Whether the restart controller restarts workloads after their secrets have changed: `auto`, or `manual` when their owners
/// release it, or `off`. Left out: the policy does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// They are.
    Auto,
    /// They are when their owners release it.
    Manual,
    /// They are not.
    Off,
}

/// `inject`: the selected pods are injected. `ignore`: they are not injected. `ignore-and-detach`:
/// they are not injected, and an injection in their templates is removed. Default: the policy does
/// not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MutationMode {
    /// They are injected.
    Inject,
    /// They are not injected.
    Ignore,
    /// They are not injected, and an existing injection is removed.
    IgnoreAndDetach,
}

/// What happens if a value is not allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    /// The pod is refused.
    #[default]
    Enforce,
    /// The pod is admitted with a warning.
    Warn,
    /// The policy changes nothing, and what it would have done is reported.
    Audit,
}

fn defaults(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "Defaults for the selected pods, by annotation key without the prefix: any key that a namespace may set.",
        "maxProperties": 64,
        "additionalProperties": {"type": "string", "maxLength": 4096},
    })
}
