//! Sentences that the reports share. Nothing is escaped here.

use scaivault_usage::{ContainerKind, ContainerRef, Evidence, Mount, SecretVolume, Via};

use crate::model::{NativeUse, Source, Workload};

/// Maximum number of characters of an annotation's value that a report quotes.
const VALUE_CHARS: usize = 120;

/// `1 pod`, `2 pods`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// What was audited, in one line.
pub(crate) fn source(source: &Source) -> String {
    match source {
        Source::Manifests { files } => format!("Manifests ({})", counted(*files, "file")),
        Source::Cluster { context, server, kube_version, namespace } => {
            let context =
                context.as_deref().map(|context| format!("context {context}, ")).unwrap_or_default();
            let namespace = match namespace {
                Some(namespace) => format!("namespace {namespace}"),
                None => "all namespaces".to_owned(),
            };
            format!("Cluster ({context}{server}, Kubernetes {kube_version}, {namespace})")
        }
    }
}

/// How a Secret is used, one line for each use.
pub(crate) fn uses(native: &NativeUse) -> Vec<String> {
    native.uses.iter().map(|found| with_optional(via(&found.via), found.optional)).collect()
}

fn with_optional(text: String, optional: bool) -> String {
    if optional { format!("{text}, optional") } else { text }
}

fn via(via: &Via) -> String {
    match via {
        Via::Volume(volume) => files(volume),
        Via::Variable { container, variable, key } => {
            format!("variable {variable} of {} (key {key})", self::container(container))
        }
        Via::AllVariables { container, prefix } if prefix.is_empty() => {
            format!("all keys as variables of {}", self::container(container))
        }
        Via::AllVariables { container, prefix } => {
            format!("all keys as variables {prefix}… of {}", self::container(container))
        }
        Via::ImagePull => "image pull".to_owned(),
        Via::Storage { volume, driver } => format!("volume {volume} of {driver}"),
    }
}

fn files(volume: &SecretVolume) -> String {
    let keys: Vec<&str> = volume.items.iter().map(|item| item.key.as_str()).collect();
    let keys = if keys.is_empty() { String::new() } else { format!(" (keys {})", keys.join(", ")) };
    let SecretVolume { volume, mounts, .. } = volume;
    if mounts.is_empty() {
        return format!("volume {volume}, mounted by no container{keys}");
    }
    let mounts: Vec<_> = mounts
        .iter()
        .map(|Mount { container, path, sub_path, .. }| {
            let sub_path = sub_path.as_deref().map(|path| format!(" (subPath {path})")).unwrap_or_default();
            format!("{path}{sub_path} of {}", self::container(container))
        })
        .collect();
    format!("files at {}{keys}", mounts.join(", "))
}

fn container(container: &ContainerRef) -> String {
    match container.kind {
        ContainerKind::App => container.name.clone(),
        kind => format!("{} ({})", container.name, kind.name()),
    }
}

/// The objects that write a Secret, if any are known: `ExternalSecret db`.
pub(crate) fn writers(native: &NativeUse) -> Option<String> {
    let mut writers: Vec<_> =
        native.written_by.iter().map(|writer| format!("{} {}", writer.kind, writer.name)).collect();
    writers.extend(native.token_of.as_ref().map(|account| format!("token of service account {account}")));
    (!writers.is_empty()).then(|| writers.join(", "))
}

/// The evidence that another product handles a workload.
pub(crate) fn evidence(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Annotation { key, value } => format!("{key}: {}", short(value)),
        Evidence::Variable { container, variable, value } => {
            format!("variable {variable} of {container}: {}", short(value))
        }
        Evidence::Csi { volume, class: Some(class) } => {
            format!("volume {volume}, SecretProviderClass {class}")
        }
        Evidence::Csi { volume, class: None } => format!("volume {volume}"),
    }
}

fn short(value: &str) -> String {
    match value.char_indices().nth(VALUE_CHARS) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// The service account tokens of a workload, one line each.
pub(crate) fn tokens(workload: &Workload) -> Vec<String> {
    let tokens = &workload.tokens;
    let api = match tokens.api_token {
        Some(true) => "a token for the API server is mounted",
        Some(false) => "no token for the API server",
        None => "a token for the API server is mounted, unless the service account says otherwise",
    };
    let projected = tokens.projected.iter().map(|token| {
        let audience = token.audience.as_deref().unwrap_or("the API server");
        let lifetime = token.expiration_seconds.map(|seconds| format!(", {seconds} s")).unwrap_or_default();
        format!("projected token for {audience}{lifetime} (volume {})", token.volume)
    });
    [api.to_owned()].into_iter().chain(projected).collect()
}

/// What the injector makes of a workload, in one line: `injected (sidecar, 2 secrets)`.
pub(crate) fn outcome(workload: &Workload) -> String {
    let outcome = &workload.becomes;
    let name = outcome.verdict.name();
    match outcome.secrets {
        0 => format!("{name} ({})", outcome.reason),
        secrets => format!("{name} ({}, {})", outcome.reason, counted(secrets, "secret")),
    }
}

/// The numbers of a workload's pods in one cell: `3`, `2 of 3 current`; empty for manifests.
pub(crate) fn pods(workload: &Workload) -> String {
    match &workload.pods {
        None => String::new(),
        Some(pods) if pods.drifted.is_empty() => pods.total.to_string(),
        Some(pods) => format!("{} ({} drifted)", pods.total, pods.drifted.len()),
    }
}
