//! What the injector reports about a policy.

use kube_derive::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Types of conditions.
pub mod condition {
    /// The policy of this generation is in force.
    pub const ACCEPTED: &str = "Accepted";
    /// Another policy contradicts this one in the same namespaces or files.
    pub const CONFLICTED: &str = "Conflicted";
    /// The selected namespaces send pods without annotations to the injector, if the policy gives them anything.
    pub const REACHABLE: &str = "Reachable";
}

/// The pattern of a condition's type in `metav1.Condition`.
const TYPE_PATTERN: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$";
/// The pattern of a condition's reason.
const REASON_PATTERN: &str = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$";

/// What the injector reports about a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct InjectionPolicyStatus {
    /// The generation of the policy that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`: this generation is in force. `Conflicted`: another policy contradicts it. `Reachable`: the selected namespaces
    /// send pods without annotations to the injector, if the policy gives them anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The number of namespaces that the policy selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<i64>,
    /// The number of pods by what the policy did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodCounts>,
    /// The last pod that the policy refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_refusal: Option<LastRefusal>,
    /// The version that is in force while the current one cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<InForce>,
}

/// One aspect of the object's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The aspect, such as `Accepted`.
    #[serde(rename = "type")]
    #[schemars(length(max = 316), extend("pattern" = TYPE_PATTERN))]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// The reason, as one word.
    #[schemars(length(min = 1, max = 1024), extend("pattern" = REASON_PATTERN))]
    pub reason: String,
    /// The reason, as a message for users.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// When the status changed.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// The generation of the object that the condition is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
}

/// The number of pods by the effect of the policy, over all replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodCounts {
    /// Pods that got a value of the policy.
    #[serde(default)]
    pub injected: i64,
    /// Pods that were refused.
    #[serde(default)]
    pub refused: i64,
    /// Pods that were admitted with a warning.
    #[serde(default)]
    pub warned: i64,
    /// Pods for which `enforcement: audit` found something.
    #[serde(default)]
    pub audited: i64,
    /// The start of the counting period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub since: Option<String>,
}

/// A pod that the policy refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRefusal {
    /// When it was refused.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// The pod's namespace.
    #[schemars(length(max = 253))]
    pub namespace: String,
    /// The pod's name, or the name prefix of its controller.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// Why it was refused.
    #[schemars(length(max = 32768))]
    pub message: String,
}

/// The version of a policy that is in force while the current one cannot be used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
// Atomic, so that a version is always replaced as a whole and its fields need no separate owners.
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct InForce {
    /// The `apiVersion` of its `spec`. The API server converts the policy to other versions, but
    /// not this copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub api_version: Option<String>,
    /// Its generation.
    pub generation: i64,
    /// Its `spec`.
    #[schemars(schema_with = "any_object")]
    pub spec: Map<String, Value>,
}

/// An object with any content. With `additionalProperties`, the API server would drop everything
/// below the first level.
fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
