//! Maps the vault-k8s annotations that do not concern a single file.

/// The mapping of an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapping {
    /// It is dropped: ScaiVault's agent does not need it.
    Drop,
    /// It is dropped with a warning.
    Warn(&'static str),
    /// It becomes the annotation with this key and the same value.
    Set(&'static str),
    /// It becomes the annotation with this key and this value.
    SetTo(&'static str, &'static str),
    /// It becomes `refresh-interval`.
    Interval,
    /// The workload is not migrated.
    Refuse(&'static str),
}

/// The mapping of an annotation, by its key without the prefix.
pub(super) fn mapping(key: &str, value: &str) -> Mapping {
    use Mapping::{Drop, Interval, Refuse, Set, SetTo, Warn};
    let is_true = matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True");
    match key {
        "agent-limits-cpu" if !value.is_empty() => Set("limits-cpu"),
        "agent-limits-mem" if !value.is_empty() => Set("limits-memory"),
        "agent-requests-cpu" if !value.is_empty() => Set("requests-cpu"),
        "agent-requests-mem" if !value.is_empty() => Set("requests-memory"),
        "agent-run-as-user" => Set("run-as-user"),
        "agent-run-as-group" => Set("run-as-group"),
        "agent-set-security-context" if !is_true => SetTo("run-as-user", "unset"),
        "log-level" if ["error", "warn", "info", "debug", "trace"].contains(&value) => Set("log-level"),
        "template-static-secret-render-interval" => Interval,
        "agent-inject-token" if is_true => Refuse(
            "the token for ScaiVault is not passed to the application; remove the annotation if \
             the application does not need it",
        ),
        "agent-configmap" => {
            Refuse("the agent has no configuration file; write its templates as annotations")
        }
        "agent-extra-secret" => Refuse(
            "nothing can be mounted into the agent; remove the annotation if it was for the login \
             to Vault",
        ),
        "auth-type" if value != "kubernetes" => Refuse(
            "it is a login to Vault; remove it, and see client-credentials-secret if ScaiKey does not trust the cluster",
        ),
        "agent-pre-populate" if !is_true => {
            Warn("the application starts after the first fetch; see fail-open")
        }
        "agent-copy-volume-mounts" | "agent-json-patch" | "agent-init-json-patch" => {
            Warn("it changed Vault's agent and is left out")
        }
        "proxy-address" => Warn("it is left out: the agent takes no proxy from annotations"),
        "ca-cert" | "ca-key" | "tls-secret" | "tls-server-name" | "client-cert" | "client-key" => {
            Warn("it was for Vault and is left out; a CA of ScaiVault is named by ca-configmap")
        }
        "service" | "namespace" | "auth-type" | "auth-path" | "tls-skip-verify" => Drop,
        _ if DROPPED.contains(&key) || DROPPED_STARTS.iter().any(|start| key.starts_with(start)) => Drop,
        _ => Warn("vault-k8s has no such annotation; it is left out"),
    }
}

/// Annotations that need no counterpart.
const DROPPED: &[&str] = &[
    "agent-auto-auth-exit-on-err",
    "agent-disable-idle-connections",
    "agent-disable-keep-alives",
    "agent-enable-quit",
    "agent-extra-secret",
    "agent-image",
    "agent-init-first",
    "agent-inject-default-template",
    "agent-inject-status",
    "agent-inject-token",
    "agent-limits-cpu",
    "agent-limits-ephemeral",
    "agent-limits-mem",
    "agent-pre-populate",
    "agent-request-namespace",
    "agent-requests-cpu",
    "agent-requests-ephemeral",
    "agent-requests-mem",
    "agent-revoke-grace",
    "agent-revoke-on-shutdown",
    "agent-run-as-same-user",
    "agent-service-account-token-volume-name",
    "agent-set-security-context",
    "agent-share-process-namespace",
    "auth-max-backoff",
    "auth-min-backoff",
    "client-max-retries",
    "client-timeout",
    "go-max-procs",
    "log-format",
    "log-level",
    "preserve-secret-case",
    "template-config-exit-on-retry-failure",
    "template-lease-renewal-threshold",
    "template-max-connections-per-host",
];

/// The same, for prefixes of keys.
const DROPPED_STARTS: &[&str] = &[
    "agent-cache-",
    "agent-inject-command-",
    "agent-inject-file-",
    "agent-inject-perms-",
    "agent-telemetry-",
    "auth-config-",
    "error-on-missing-key-",
    "preserve-secret-case-",
    "secret-volume-path-",
];
