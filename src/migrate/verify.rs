//! Jobs that compare the current values of a workload with those from `ScaiVault`.
//!
//! The injector never sees a value: the Job's pod gets the native Secret from the kubelet (or
//! Vault's files from vault-k8s) and the new files from the agent, with the workload's own service
//! account. The agent's image compares them. So users of the command need no permission to read
//! Secrets.

use std::collections::{BTreeMap, BTreeSet};

use scaivault_contract::names::{AGENT_BINARY, ANNOTATION_PREFIX, VERIFY_COMMAND};
use scaivault_inject::Settings;
use serde_json::{Map, Value, json};

use super::{
    layout::{self, Layout, PlacedFile},
    wants::{Content, Wants, join},
};
use crate::object::Object;

/// The directory of ScaiVault's files in the Job's pod.
const NEW: &str = "/scaivault/new";
/// The directory of the native Secrets, each in a subdirectory of its name.
const TODAY: &str = "/scaivault/today";
/// The prefix of the Jobs' names.
const PREFIX: &str = "scaivault-verify-";
/// The maximum length of a Job's name, so that its pods' names fit.
const MAX_NAME: usize = 52;

/// The Job for a pod (template) of a workload; `None` if there is nothing to compare.
pub(super) fn job(
    object: &Object<'_>,
    namespace: &str,
    pod: &Value,
    wants: &Wants,
    layout: &Layout,
    settings: &Settings,
) -> Option<Value> {
    let mut comparison = Comparison::default();
    comparison.add_native(wants);
    comparison.add_vault(pod, layout);
    if comparison.pairs.is_empty() {
        return None;
    }
    comparison.add_settings(pod, wants);
    let mut metadata = json!({
        "name": name(object.name()),
        "labels": {"app.kubernetes.io/managed-by": "scaivault-injector"},
    });
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    Some(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": 600,
            "ttlSecondsAfterFinished": 86400,
            "template": {
                "metadata": {"annotations": comparison.annotations},
                "spec": comparison.spec(pod, settings),
            },
        },
    }))
}

#[derive(Default)]
struct Comparison {
    annotations: BTreeMap<String, String>,
    /// New file, current file.
    pairs: Vec<(String, String)>,
    /// Native Secrets and their keys.
    secrets: BTreeMap<String, BTreeSet<String>>,
}

impl Comparison {
    fn set(&mut self, key: &str, value: &str) {
        self.annotations.insert(format!("{ANNOTATION_PREFIX}{key}"), value.to_owned());
    }

    /// Adds each key that moves, as its own file.
    fn add_native(&mut self, wants: &Wants) {
        for (number, ((secret, key), source)) in wants.moved.iter().enumerate() {
            let name = format!("key-{number}");
            let file = format!("{secret}/{key}");
            self.set(&format!("inject-secret-{name}"), &source.secret.to_string());
            self.set(&format!("secret-file-{name}"), &file);
            if source.is_base64 {
                self.set(&format!("secret-encoding-{name}"), "base64");
            }
            self.pairs.push((join(NEW, &file), join(TODAY, &file)));
            self.secrets.entry(secret.clone()).or_default().insert(key.clone());
        }
    }

    /// Adds the files of vault-k8s, with its annotations in addition to the injector's. Dynamic
    /// credentials are skipped, because they differ each time.
    fn add_vault(&mut self, pod: &Value, layout: &Layout) {
        let is_static = |file: &&PlacedFile| !matches!(file.want.content, Content::Dynamic { .. });
        let of_vault = layout.files.iter().filter(|file| file.want.vault_name.is_some());
        let (compared, dynamic): (Vec<&PlacedFile>, Vec<&PlacedFile>) = of_vault.partition(is_static);
        if compared.is_empty() {
            return;
        }
        for placed in compared {
            let file = format!("vault/{}", placed.file);
            let placed =
                PlacedFile { file: file.clone(), name: placed.name.clone(), want: placed.want.clone() };
            for (key, value) in layout::annotations(&placed) {
                self.set(&key, &value);
            }
            self.pairs.push((join(NEW, &file), placed.want.path.clone()));
        }
        let Some(vault) = scaivault_usage::vault_agent(pod) else { return };
        let left_out: Vec<String> =
            dynamic.iter().filter_map(|file| Some(format!("-{}", file.want.vault_name.as_ref()?))).collect();
        let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object);
        for (key, value) in annotations.into_iter().flatten() {
            // File modes could prevent the comparison from reading the files.
            let is_left_out = left_out.iter().any(|end| key.ends_with(end.as_str()))
                || key.contains("/agent-inject-perms-");
            if let (true, false, Some(value)) = (key.starts_with(vault.prefix), is_left_out, value.as_str()) {
                self.annotations.insert(key.clone(), value.to_owned());
            }
        }
        for (key, value) in [("agent-pre-populate-only", "true"), ("agent-inject-containers", "verify")] {
            self.annotations.insert(format!("{}{key}", vault.prefix), value.to_owned());
        }
    }

    /// Copies identity and ScaiVault settings from the workload.
    fn add_settings(&mut self, pod: &Value, wants: &Wants) {
        self.set("mount-path", NEW);
        self.set("containers", "verify");
        self.set("init-containers", "");
        for key in [
            "url",
            "role",
            "audience",
            "client-credentials-secret",
            "client-credentials-id-key",
            "client-credentials-secret-key",
            "ca-configmap",
            "ca-configmap-key",
            "ca-trust",
            "scaikey-trust",
            "image",
        ] {
            let own = pod.pointer(&super::rewrite::annotation_pointer(&format!("{ANNOTATION_PREFIX}{key}")));
            let value = wants.settings.get(key).map(String::as_str).or_else(|| own.and_then(Value::as_str));
            if let Some(value) = value {
                self.set(key, value);
            }
        }
    }

    fn spec(&self, pod: &Value, settings: &Settings) -> Value {
        let mut arguments = vec![VERIFY_COMMAND.to_owned()];
        arguments.extend(self.pairs.iter().flat_map(|(new, today)| [new.clone(), today.clone()]));
        let volumes: Vec<Value> = self.secrets.iter().enumerate().map(|(number, (secret, keys))| {
            let items: Vec<Value> = keys.iter().map(|key| json!({"key": key, "path": key})).collect();
            // A missing optional Secret or key is reported by the comparison.
            json!({"name": format!("today-{number}"), "secret": {"secretName": secret, "optional": true, "items": items}})
        }).collect();
        let mounts: Vec<Value> = self.secrets.keys().enumerate().map(|(number, secret)| {
            json!({"name": format!("today-{number}"), "mountPath": join(TODAY, secret), "readOnly": true})
        }).collect();
        let mut container = json!({
            "name": "verify",
            "image": settings.init_image(),
            "command": [AGENT_BINARY],
            "args": arguments,
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "32Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "runAsNonRoot": true,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        });
        let mut spec = Map::new();
        for field in
            ["serviceAccountName", "serviceAccount", "imagePullSecrets", "nodeSelector", "tolerations"]
        {
            if let Some(value) = pod.pointer(&format!("/spec/{field}")) {
                spec.insert(field.to_owned(), value.clone());
            }
        }
        spec.insert("restartPolicy".to_owned(), "Never".into());
        // vault-k8s logs in with the automatically mounted token.
        if self.pairs.iter().all(|(_, today)| today.starts_with(TODAY)) {
            spec.insert("automountServiceAccountToken".to_owned(), false.into());
        }
        if !mounts.is_empty() {
            container["volumeMounts"] = mounts.into();
            spec.insert("volumes".to_owned(), volumes.into());
        }
        spec.insert("containers".to_owned(), json!([container]));
        Value::Object(spec)
    }
}

/// The name of the Job of a workload. A name that is too long is truncated and ends in a hash.
fn name(workload: &str) -> String {
    let room = MAX_NAME - PREFIX.len();
    let is_edge = |c: char| !c.is_ascii_alphanumeric();
    let clean: String = workload.chars().map(|c| if c == '.' { '-' } else { c }).collect();
    let clean = clean.trim_matches(is_edge);
    if clean.is_empty() {
        return format!("{PREFIX}workload");
    }
    if clean.len() <= room {
        return format!("{PREFIX}{clean}");
    }
    // FNV-1a: the same name gives the same Job in every run.
    let hash =
        clean.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{PREFIX}{}-{hash:08x}", clean[..room - 9].trim_end_matches(is_edge))
}

#[cfg(test)]
mod tests;
