//! The parts of Kubernetes objects that an injection consists of, borrowed from the intent.
//!
//! A typed object of `k8s-openapi` owns each of its strings, and an injection has several hundred.
//! These types have the fields that an injection sets, with the same names; a test deserialises
//! their output as the typed objects and compares.

use std::borrow::Cow;

use super::json::{WriteJson, object};

object! {
    /// `v1.Container`
    Container<'a> {
        args: [&'static str; 1] = "args",
        command: [&'static str; 1] = "command",
        env: Vec<EnvVar<'a>> = "env",
        image: &'a str = "image",
        image_pull_policy: Option<&'static str> = "imagePullPolicy",
        lifecycle: Option<Lifecycle> = "lifecycle",
        name: &'static str = "name",
        resources: Option<ResourceRequirements<'a>> = "resources",
        restart_policy: Option<&'static str> = "restartPolicy",
        security_context: SecurityContext = "securityContext",
        startup_probe: Option<Probe> = "startupProbe",
        volume_mounts: Vec<VolumeMount<'a>> = "volumeMounts",
    }
}

object! {
    /// `v1.EnvVar`
    EnvVar<'a> {
        name: &'a str = "name",
        value: Option<Cow<'a, str>> = "value",
        value_from: Option<EnvVarSource<'a>> = "valueFrom",
    }
}

/// `v1.EnvVarSource`
#[derive(Clone, Debug)]
pub(crate) enum EnvVarSource<'a> {
    FieldRef(ObjectFieldSelector),
    FileKeyRef(FileKeySelector<'a>),
}

impl WriteJson for EnvVarSource<'_> {
    fn write_json(&self, json: &mut String) {
        match self {
            Self::FieldRef(source) => member("{\"fieldRef\":", source, json),
            Self::FileKeyRef(source) => member("{\"fileKeyRef\":", source, json),
        }
        json.push('}');
    }
}

fn member(key: &str, value: &impl WriteJson, json: &mut String) {
    json.push_str(key);
    value.write_json(json);
}

object! {
    /// `v1.ObjectFieldSelector`
    ObjectFieldSelector {
        field_path: &'static str = "fieldPath",
    }
}

object! {
    /// `v1.FileKeySelector`
    FileKeySelector<'a> {
        key: &'a str = "key",
        optional: Option<bool> = "optional",
        path: &'static str = "path",
        volume_name: &'static str = "volumeName",
    }
}

object! {
    /// `v1.Lifecycle` with a `postStart` hook.
    Lifecycle {
        post_start: LifecycleHandler = "postStart",
    }
}

object! {
    /// `v1.LifecycleHandler` that runs a command.
    LifecycleHandler {
        exec: ExecAction = "exec",
    }
}

object! {
    /// `v1.ExecAction`
    ExecAction {
        command: [&'static str; 2] = "command",
    }
}

object! {
    /// `v1.Probe` that runs a command.
    Probe {
        exec: ExecAction = "exec",
        failure_threshold: i32 = "failureThreshold",
        period_seconds: i32 = "periodSeconds",
    }
}

object! {
    /// `v1.ResourceRequirements`
    ResourceRequirements<'a> {
        limits: Amounts<'a> = "limits" unless Amounts::is_empty,
        requests: Amounts<'a> = "requests" unless Amounts::is_empty,
    }
}

object! {
    /// Amounts by resource name.
    Amounts<'a> {
        cpu: Option<&'a str> = "cpu",
        ephemeral_storage: Option<&'a str> = "ephemeral-storage",
        memory: Option<&'a str> = "memory",
    }
}

impl Amounts<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.cpu.is_none() && self.ephemeral_storage.is_none() && self.memory.is_none()
    }
}

object! {
    /// `v1.SecurityContext`
    SecurityContext {
        allow_privilege_escalation: bool = "allowPrivilegeEscalation",
        capabilities: Capabilities = "capabilities",
        read_only_root_filesystem: bool = "readOnlyRootFilesystem",
        run_as_group: Option<i64> = "runAsGroup",
        run_as_non_root: bool = "runAsNonRoot",
        run_as_user: Option<i64> = "runAsUser",
        seccomp_profile: SeccompProfile = "seccompProfile",
    }
}

object! {
    /// `v1.Capabilities`
    Capabilities {
        add: Option<[&'static str; 1]> = "add",
        drop: [&'static str; 1] = "drop",
    }
}

object! {
    /// `v1.SeccompProfile`
    SeccompProfile {
        kind: &'static str = "type",
    }
}

object! {
    /// `v1.VolumeMount`
    VolumeMount<'a> {
        mount_path: &'a str = "mountPath",
        name: &'static str = "name",
        read_only: bool = "readOnly" unless is_false,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "a member is handed over by reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// `v1.Volume`
#[derive(Clone, Debug)]
pub(crate) struct Volume<'a> {
    pub(crate) name: &'static str,
    pub(crate) source: VolumeSource<'a>,
}

impl WriteJson for Volume<'_> {
    fn write_json(&self, json: &mut String) {
        let Self { name, source } = self;
        member("{\"name\":", name, json);
        match source {
            VolumeSource::ConfigMap(source) => member(",\"configMap\":", source, json),
            VolumeSource::EmptyDir(source) => member(",\"emptyDir\":", source, json),
            VolumeSource::Projected(source) => member(",\"projected\":", source, json),
            VolumeSource::Secret(source) => member(",\"secret\":", source, json),
        }
        json.push('}');
    }
}

/// The source of a volume's files.
#[derive(Clone, Debug)]
pub(crate) enum VolumeSource<'a> {
    ConfigMap(ConfigMapVolumeSource<'a>),
    EmptyDir(EmptyDirVolumeSource<'a>),
    Projected(ProjectedVolumeSource<'a>),
    Secret(SecretVolumeSource<'a>),
}

object! {
    /// `v1.ConfigMapVolumeSource`
    ConfigMapVolumeSource<'a> {
        items: Vec<KeyToPath<'a>> = "items",
        name: &'a str = "name",
    }
}

object! {
    /// `v1.EmptyDirVolumeSource`
    EmptyDirVolumeSource<'a> {
        medium: &'static str = "medium",
        size_limit: &'a str = "sizeLimit",
    }
}

object! {
    /// `v1.SecretVolumeSource`
    SecretVolumeSource<'a> {
        items: Vec<KeyToPath<'a>> = "items" unless Vec::is_empty,
        secret_name: &'a str = "secretName",
    }
}

object! {
    /// `v1.KeyToPath`
    KeyToPath<'a> {
        key: &'a str = "key",
        path: &'static str = "path",
    }
}

object! {
    /// `v1.ProjectedVolumeSource`
    ProjectedVolumeSource<'a> {
        sources: [VolumeProjection<'a>; 1] = "sources",
    }
}

object! {
    /// `v1.VolumeProjection`
    VolumeProjection<'a> {
        service_account_token: ServiceAccountTokenProjection<'a> = "serviceAccountToken",
    }
}

object! {
    /// `v1.ServiceAccountTokenProjection`
    ServiceAccountTokenProjection<'a> {
        audience: &'a str = "audience",
        expiration_seconds: i64 = "expirationSeconds",
        path: &'static str = "path",
    }
}
