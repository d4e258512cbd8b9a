//! What a workload gets from other sources today, and what it will get from `ScaiVault`.

use std::collections::{BTreeMap, BTreeSet};

use scaivault_contract::names::ANNOTATION_PREFIX;
use scaivault_usage::{ContainerKind, ContainerRef};
use serde_json::Value;

use super::map::{KeySource, MissingEntry};

/// The secrets of one pod (template), and the problems.
#[derive(Debug, Default)]
pub(super) struct Wants {
    pub(super) files: Vec<FileWant>,
    pub(super) variables: Vec<VariableWant>,
    /// Directories where secrets are mounted today, which already hide the image's content.
    pub(super) directories: BTreeSet<String>,
    /// Other annotations, by key without the prefix.
    pub(super) settings: BTreeMap<&'static str, String>,
    /// Files are updated while the pod runs.
    pub(super) is_refreshed: bool,
    /// RFC 6901 pointers to the removed parts, relative to the pod.
    pub(super) removals: BTreeSet<String>,
    /// Every native key that moves, for the comparison.
    pub(super) moved: BTreeMap<(String, String), KeySource>,
    /// Why the workload cannot be migrated, each with the fix.
    pub(super) problems: Vec<String>,
    pub(super) warnings: Vec<String>,
    pub(super) missing: BTreeSet<MissingEntry>,
}

/// A file of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileWant {
    /// The absolute path.
    pub(super) path: String,
    pub(super) content: Content,
    /// Permissions; `None` for the default.
    pub(super) mode: Option<u32>,
    pub(super) optional: bool,
    pub(super) container: ContainerRef,
    /// The name of the secret in the annotations of vault-k8s; `None` for a native Secret.
    pub(super) vault_name: Option<String>,
}

/// The source of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The value of `inject-secret-`, and whether its field is base64.
    Secret { source: String, is_base64: bool },
    /// The value of `inject-secret-` and a format.
    Formatted { source: String, format: String },
    /// The value of `inject-secret-` and a template.
    Template { source: String, template: String },
    /// The value of `inject-dynamic-`, and a template.
    Dynamic { source: String, template: Option<String> },
}

/// A variable of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VariableWant {
    pub(super) name: String,
    /// The value of `inject-env-`.
    pub(super) source: String,
    pub(super) container: ContainerRef,
}

impl Wants {
    /// Whether there is nothing to migrate and no problem.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
            && self.variables.is_empty()
            && self.removals.is_empty()
            && self.problems.is_empty()
            && self.missing.is_empty()
    }
}

/// The containers of a pod (template), init containers first.
pub(super) fn containers(pod: &Value) -> Vec<(ContainerRef, String, &Value)> {
    let lists = ["initContainers", "containers"].into_iter();
    let all = lists.flat_map(|field| {
        let list = pod.pointer(&format!("/spec/{field}")).and_then(Value::as_array);
        list.into_iter().flatten().enumerate().map(move |(index, value)| {
            let text = |key| value.get(key).and_then(Value::as_str).unwrap_or_default();
            let kind = match field {
                "containers" => ContainerKind::App,
                _ if text("restartPolicy") == "Always" => ContainerKind::Sidecar,
                _ => ContainerKind::Init,
            };
            let container = ContainerRef { name: text("name").to_owned(), kind };
            (container, format!("/spec/{field}/{index}"), value)
        })
    });
    all.collect()
}

/// The keys under the injector's prefix in a pod (template), without the prefix.
pub(super) fn injector_keys(pod: &Value) -> Vec<&str> {
    let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object);
    annotations.into_iter().flatten().filter_map(|(key, _)| key.strip_prefix(ANNOTATION_PREFIX)).collect()
}

/// Appends a path to a directory.
pub(super) fn join(directory: &str, path: &str) -> String {
    format!("{}/{}", directory.trim_end_matches('/'), path.trim_start_matches('/'))
}
