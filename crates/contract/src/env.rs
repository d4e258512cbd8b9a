//! The environment variables of the agent, declared once for the injector, which writes them, the
//! agent, which reads them, and the documentation.

use crate::{defaults, names};

/// Address of ScaiVault.
pub const SCAIVAULT_URL: &str = "SCAIVAULT_URL";
/// File with the token that is exchanged.
pub const SCAIVAULT_TOKEN_FILE: &str = "SCAIVAULT_TOKEN_FILE";
/// Mappings of secrets to files, read once.
pub const SECRETS: &str = "SECRETS";
/// Mappings of secrets to files, kept up to date.
pub const WATCH_PATHS: &str = "WATCH_PATHS";
/// Mappings of dynamic secrets to files.
pub const DYNAMIC: &str = "DYNAMIC";
/// Interval at which the files are compared with ScaiVault.
pub const REFRESH_INTERVAL: &str = "REFRESH_INTERVAL";
/// The signal that is sent after a change.
pub const RELOAD_SIGNAL: &str = "RELOAD_SIGNAL";
/// The process that gets the signal.
pub const RELOAD_TARGET: &str = "RELOAD_TARGET";
/// Whether the pod may start without its secrets.
pub const FAIL_OPEN: &str = "FAIL_OPEN";
/// Mappings of fields to variables.
pub const SECRET_ENV: &str = "SECRET_ENV";
/// File that the variables are written to.
pub const SCAIVAULT_ENV_FILE: &str = "SCAIVAULT_ENV_FILE";
/// Mount points that are created in the volume.
pub const MOUNT_POINTS: &str = "MOUNT_POINTS";
/// Whether the agent subscribes to ScaiVault's events.
pub const REFRESH_ON_EVENT: &str = "REFRESH_ON_EVENT";
/// Timeout of the initial fetch.
pub const FETCH_TIMEOUT: &str = "FETCH_TIMEOUT";
/// The requested `ScaiKey` identity.
pub const SCAIVAULT_ROLE: &str = "SCAIVAULT_ROLE";
/// The tenant of all requests.
pub const SCAIVAULT_TENANT_ID: &str = "SCAIVAULT_TENANT_ID";
/// Audience of the token.
pub const SCAIVAULT_AUDIENCE: &str = "SCAIVAULT_AUDIENCE";
/// Additional certificate authority.
pub const SCAIVAULT_CA_FILE: &str = "SCAIVAULT_CA_FILE";
/// Directory of client credentials.
pub const SCAIVAULT_CREDENTIALS_DIR: &str = "SCAIVAULT_CREDENTIALS_DIR";
/// URL where client credentials are exchanged for a token.
pub const SCAIKEY_TOKEN_URL: &str = "SCAIKEY_TOKEN_URL";
/// Directory of the agent's persistent state.
pub const SCAIVAULT_STATE_DIR: &str = "SCAIVAULT_STATE_DIR";
/// Whether plain HTTP is allowed.
pub const SCAIVAULT_ALLOW_HTTP: &str = "SCAIVAULT_ALLOW_HTTP";
/// How long leases are kept after the termination signal.
pub const SCAIVAULT_REVOKE_DELAY: &str = "SCAIVAULT_REVOKE_DELAY";
/// Listen address of the metrics.
pub const SCAIVAULT_METRICS_LISTEN: &str = "SCAIVAULT_METRICS_LISTEN";
/// The URL that is called after a change.
pub const RELOAD_URL: &str = "RELOAD_URL";
/// Name of the pod.
pub const SCAIVAULT_POD: &str = "SCAIVAULT_POD";
/// Name of the pod's node.
pub const SCAIVAULT_NODE: &str = "SCAIVAULT_NODE";
/// UID of the pod.
pub const SCAIVAULT_POD_UID: &str = "SCAIVAULT_POD_UID";
/// Which certificate authorities are trusted for ScaiVault.
pub const SCAIVAULT_TRUST: &str = "SCAIVAULT_TRUST";
/// Which certificate authorities are trusted for ScaiKey.
pub const SCAIKEY_TRUST: &str = "SCAIKEY_TRUST";
/// Name of the Secret that `sync-secret` writes.
pub const SYNC_SECRET_NAME: &str = "SYNC_SECRET_NAME";
/// Type of that Secret.
pub const SYNC_SECRET_TYPE: &str = "SYNC_SECRET_TYPE";
/// Labels of that Secret.
pub const SYNC_SECRET_LABELS: &str = "SYNC_SECRET_LABELS";
/// Annotations of that Secret.
pub const SYNC_SECRET_ANNOTATIONS: &str = "SYNC_SECRET_ANNOTATIONS";
/// Whether that Secret is immutable.
pub const SYNC_SECRET_IMMUTABLE: &str = "SYNC_SECRET_IMMUTABLE";
/// Directory with the credentials for the API server.
pub const SYNC_SECRET_API_DIR: &str = "SYNC_SECRET_API_DIR";
/// The log level.
pub const LOG_LEVEL: &str = "LOG_LEVEL";
/// The log format.
pub const LOG_FORMAT: &str = "LOG_FORMAT";

/// An environment variable of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvSpec {
    /// The name.
    pub name: &'static str,
    /// Whether ScaiVault's Kubernetes page documents it, so its meaning cannot change.
    pub published: bool,
    /// The value that applies if the variable is absent or empty; empty if there is no default.
    pub default: &'static str,
    /// Its description in one sentence.
    pub doc: &'static str,
    /// The containers that read it.
    pub containers: Containers,
}

/// The agent's containers that read a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Containers {
    /// Only the init container.
    Init,
    /// Only the sidecar.
    Sidecar,
    /// Both.
    Both,
    /// Neither of them, but the Job that runs `sync-secret`.
    SyncSecret,
}

impl Containers {
    /// Whether the init container reads it.
    pub const fn has_init(self) -> bool {
        matches!(self, Self::Init | Self::Both)
    }

    /// Whether the sidecar reads it.
    pub const fn has_sidecar(self) -> bool {
        matches!(self, Self::Sidecar | Self::Both)
    }
}

/// All environment variables of the agent, published ones first. The manifests of ScaiVault's
/// Kubernetes page set only the published ones and must keep working.
pub static ENVIRONMENT: &[EnvSpec] = &[
    EnvSpec {
        name: SCAIVAULT_URL,
        published: true,
        default: defaults::URL,
        doc: "Address of ScaiVault.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SCAIVAULT_TOKEN_FILE,
        published: true,
        default: "/var/run/secrets/scaivault/token",
        doc: "File with the service account's token, which is exchanged for one of ScaiVault.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SECRETS,
        published: true,
        default: "",
        doc: "Secrets to write once, one `path[#field][@version] -> file [option=…]…` or `alias=path… -> file [option=…]…` a line.",
        containers: Containers::Init,
    },
    EnvSpec {
        name: WATCH_PATHS,
        published: true,
        default: "",
        doc: "Secrets to write and keep up to date, in the grammar of `SECRETS`.",
        containers: Containers::Sidecar,
    },
    EnvSpec {
        name: REFRESH_INTERVAL,
        published: true,
        default: defaults::REFRESH_INTERVAL,
        doc: "How often the files are compared with ScaiVault, a duration.",
        containers: Containers::Sidecar,
    },
    EnvSpec {
        name: RELOAD_SIGNAL,
        published: true,
        default: "",
        doc: "Signal sent after a change, such as `SIGHUP`; needs `RELOAD_TARGET`.",
        containers: Containers::Sidecar,
    },
    EnvSpec {
        name: RELOAD_TARGET,
        published: true,
        default: "",
        doc: "Name of the process that gets the signal; needs `RELOAD_SIGNAL` and `shareProcessNamespace: true`.",
        containers: Containers::Sidecar,
    },
    EnvSpec {
        name: DYNAMIC,
        published: true,
        default: "",
        doc: "Dynamic secrets, one `engine=E role=R [ttl=D] -> file [option=…]…` a line.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: FAIL_OPEN,
        published: true,
        default: defaults::FAIL_OPEN,
        doc: "`true` lets the pod start without secrets that could not be fetched, because ScaiVault cannot be reached or refuses.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SECRET_ENV,
        published: false,
        default: "",
        doc: "Fields that become environment variables, one `path#field[@version] -> VARIABLE` a line.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SCAIVAULT_ENV_FILE,
        published: false,
        default: "/var/run/scaivault/env/variables",
        doc: "File that the variables of `SECRET_ENV` are written to, for `fileKeyRef`.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: MOUNT_POINTS,
        published: false,
        default: "",
        doc: "Mount points to create in the files' volume, for other volumes that applications mount below it; one absolute path a line, with a slash at the end of a directory.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: REFRESH_ON_EVENT,
        published: false,
        default: defaults::REFRESH_ON_EVENT,
        doc: "`true` subscribes to ScaiVault's events, so that a change is noticed at once; polling continues as a fallback.",
        containers: Containers::Sidecar,
    },
    EnvSpec {
        name: FETCH_TIMEOUT,
        published: false,
        default: defaults::FETCH_TIMEOUT,
        doc: "How long the first fetch may take with all its retries, a duration.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SCAIVAULT_ROLE,
        published: false,
        default: "",
        doc: "ScaiKey identity to request in the exchange, such as `sa:billing-prod`; default: ScaiVault decides.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SCAIVAULT_TENANT_ID,
        published: false,
        default: "",
        doc: "Tenant to act in, such as `tnt_acme_prod`, for an identity with partner rights; default: the identity's own.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SCAIVAULT_AUDIENCE,
        published: false,
        default: defaults::AUDIENCE,
        doc: "Audience in the exchange; the token must have the same audience.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SCAIVAULT_CA_FILE,
        published: false,
        default: "",
        doc: "PEM file with your own certificate authorities; see `SCAIVAULT_TRUST`.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SCAIVAULT_CREDENTIALS_DIR,
        published: false,
        default: "",
        doc: "Directory with the files `client_id` and `client_secret`, which are used instead of the service account's token.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SCAIKEY_TOKEN_URL,
        published: false,
        default: "https://scaikey.scailabs.ai/oauth/token",
        doc: "Address at which client credentials are exchanged for a token.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SCAIVAULT_STATE_DIR,
        published: false,
        default: "",
        doc: "Memory-backed directory for leases and login, so that the next start resumes them; default: nothing is kept.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SCAIVAULT_ALLOW_HTTP,
        published: false,
        default: "false",
        doc: "`true` allows an `http://` address, for tests; secrets are then sent unencrypted.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SCAIVAULT_REVOKE_DELAY,
        published: false,
        default: "20s",
        doc: "How long leases stay valid after SIGTERM, a duration or `0s`, so that the application can use its credentials while it drains.",
        containers: Containers::Sidecar,
    },
    EnvSpec {
        name: SCAIVAULT_METRICS_LISTEN,
        published: false,
        default: "",
        doc: "Address and port to serve metrics on, such as `0.0.0.0:9102`; default: none.",
        containers: Containers::Sidecar,
    },
    EnvSpec {
        name: RELOAD_URL,
        published: false,
        default: "",
        doc: "Address on the pod's own loopback that gets a POST after a change, such as `http://127.0.0.1:9090/-/reload`.",
        containers: Containers::Sidecar,
    },
    EnvSpec {
        name: SCAIVAULT_POD,
        published: false,
        default: "",
        doc: "Name of the pod, for `${pod}` and the name of its subscription to events; default for the latter: the container's host name.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SCAIVAULT_NODE,
        published: false,
        default: "",
        doc: "Name of the pod's node, for `${node}`.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SCAIVAULT_POD_UID,
        published: false,
        default: "",
        doc: "UID of the pod, which distinguishes its subscription and its files from those of another pod; default: no subscription is resumed, and files must be in an `emptyDir`.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SCAIVAULT_TRUST,
        published: false,
        default: "",
        doc: "Authorities trusted for ScaiVault: `private` (only `SCAIVAULT_CA_FILE`), `public` or `both`; default: `private` with a CA file, else `public`.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SCAIKEY_TRUST,
        published: false,
        default: "",
        doc: "Authorities trusted for ScaiKey's token endpoint, with the values of `SCAIVAULT_TRUST`; default: the same as for ScaiVault.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: SYNC_SECRET_NAME,
        published: false,
        default: "",
        doc: "Name of the Secret to write, in the pod's own namespace.",
        containers: Containers::SyncSecret,
    },
    EnvSpec {
        name: SYNC_SECRET_TYPE,
        published: false,
        default: "Opaque",
        doc: "Type of the Secret, such as `kubernetes.io/tls`.",
        containers: Containers::SyncSecret,
    },
    EnvSpec {
        name: SYNC_SECRET_LABELS,
        published: false,
        default: "",
        doc: "Labels of the Secret, one `key=value` a line.",
        containers: Containers::SyncSecret,
    },
    EnvSpec {
        name: SYNC_SECRET_ANNOTATIONS,
        published: false,
        default: "",
        doc: "Annotations of the Secret, one `key=value` a line.",
        containers: Containers::SyncSecret,
    },
    EnvSpec {
        name: SYNC_SECRET_IMMUTABLE,
        published: false,
        default: "false",
        doc: "`true` makes the Secret immutable: its content can never be changed.",
        containers: Containers::SyncSecret,
    },
    EnvSpec {
        name: SYNC_SECRET_API_DIR,
        published: false,
        default: names::API_TOKEN_DIR,
        doc: "Directory with `token`, `ca.crt` and `namespace` for the Kubernetes API server.",
        containers: Containers::SyncSecret,
    },
    EnvSpec {
        name: LOG_LEVEL,
        published: false,
        default: defaults::LOG_LEVEL,
        doc: "How much is logged: `error`, `warn`, `info`, `debug` or `trace`.",
        containers: Containers::Both,
    },
    EnvSpec {
        name: LOG_FORMAT,
        published: false,
        default: "json",
        doc: "How the log is written: `json` or `text`.",
        containers: Containers::Both,
    },
];

#[cfg(test)]
mod tests;
