//! The parts of Kubernetes objects that an injection is made of, borrowed from the intent.
//!
//! A typed object of `k8s-openapi` owns each of its strings, and an injection has some hundred of them. These types
//! have the same fields under the same names, those that an injection sets; a test reads what they write as the typed
//! objects and compares.

use std::borrow::Cow;

use serde::Serialize;

/// `v1.Container`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container<'a> {
    pub(crate) args: [&'static str; 1],
    pub(crate) command: [&'static str; 1],
    pub(crate) env: Vec<EnvVar<'a>>,
    pub(crate) image: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image_pull_policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lifecycle: Option<Lifecycle>,
    pub(crate) name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resources: Option<ResourceRequirements<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restart_policy: Option<&'static str>,
    pub(crate) security_context: SecurityContext,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) startup_probe: Option<Probe>,
    pub(crate) volume_mounts: Vec<VolumeMount<'a>>,
}

/// `v1.EnvVar`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EnvVar<'a> {
    pub(crate) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value_from: Option<EnvVarSource<'a>>,
}

/// `v1.EnvVarSource`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum EnvVarSource<'a> {
    FieldRef(ObjectFieldSelector),
    FileKeyRef(FileKeySelector<'a>),
}

/// `v1.ObjectFieldSelector`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ObjectFieldSelector {
    pub(crate) field_path: &'static str,
}

/// `v1.FileKeySelector`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileKeySelector<'a> {
    pub(crate) key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) optional: Option<bool>,
    pub(crate) path: &'static str,
    pub(crate) volume_name: &'static str,
}

/// `v1.Lifecycle` with a hook behind the start.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Lifecycle {
    pub(crate) post_start: LifecycleHandler,
}

/// `v1.LifecycleHandler` that runs a command.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LifecycleHandler {
    pub(crate) exec: ExecAction,
}

/// `v1.ExecAction`
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ExecAction {
    pub(crate) command: [&'static str; 2],
}

/// `v1.Probe` that runs a command.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Probe {
    pub(crate) exec: ExecAction,
    pub(crate) failure_threshold: i32,
    pub(crate) period_seconds: i32,
}

/// `v1.ResourceRequirements`
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ResourceRequirements<'a> {
    #[serde(skip_serializing_if = "Amounts::is_empty")]
    pub(crate) limits: Amounts<'a>,
    #[serde(skip_serializing_if = "Amounts::is_empty")]
    pub(crate) requests: Amounts<'a>,
}

/// Amounts by resource.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Amounts<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu: Option<&'a str>,
    #[serde(rename = "ephemeral-storage", skip_serializing_if = "Option::is_none")]
    pub(crate) ephemeral_storage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<&'a str>,
}

impl Amounts<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.cpu.is_none() && self.ephemeral_storage.is_none() && self.memory.is_none()
    }
}

/// `v1.SecurityContext`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecurityContext {
    pub(crate) allow_privilege_escalation: bool,
    pub(crate) capabilities: Capabilities,
    pub(crate) read_only_root_filesystem: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run_as_group: Option<i64>,
    pub(crate) run_as_non_root: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run_as_user: Option<i64>,
    pub(crate) seccomp_profile: SeccompProfile,
}

/// `v1.Capabilities`
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Capabilities {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) add: Option<[&'static str; 1]>,
    pub(crate) drop: [&'static str; 1],
}

/// `v1.SeccompProfile`
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SeccompProfile {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
}

/// `v1.VolumeMount`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VolumeMount<'a> {
    pub(crate) mount_path: &'a str,
    pub(crate) name: &'static str,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) read_only: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// `v1.Volume`
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Volume<'a> {
    pub(crate) name: &'static str,
    #[serde(flatten)]
    pub(crate) source: VolumeSource<'a>,
}

/// Where a volume's files come from.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum VolumeSource<'a> {
    ConfigMap(ConfigMapVolumeSource<'a>),
    EmptyDir(EmptyDirVolumeSource<'a>),
    Projected(ProjectedVolumeSource<'a>),
    Secret(SecretVolumeSource<'a>),
}

/// `v1.ConfigMapVolumeSource`
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ConfigMapVolumeSource<'a> {
    pub(crate) items: Vec<KeyToPath<'a>>,
    pub(crate) name: &'a str,
}

/// `v1.EmptyDirVolumeSource`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EmptyDirVolumeSource<'a> {
    pub(crate) medium: &'static str,
    pub(crate) size_limit: &'a str,
}

/// `v1.SecretVolumeSource`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretVolumeSource<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) items: Vec<KeyToPath<'a>>,
    pub(crate) secret_name: &'a str,
}

/// `v1.KeyToPath`
#[derive(Clone, Debug, Serialize)]
pub(crate) struct KeyToPath<'a> {
    pub(crate) key: &'a str,
    pub(crate) path: &'static str,
}

/// `v1.ProjectedVolumeSource`
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProjectedVolumeSource<'a> {
    pub(crate) sources: [VolumeProjection<'a>; 1],
}

/// `v1.VolumeProjection`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VolumeProjection<'a> {
    pub(crate) service_account_token: ServiceAccountTokenProjection<'a>,
}

/// `v1.ServiceAccountTokenProjection`
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceAccountTokenProjection<'a> {
    pub(crate) audience: &'a str,
    pub(crate) expiration_seconds: i64,
    pub(crate) path: &'static str,
}
