//! Names that the injector, the agent and users' manifests share.

use std::ops::RangeInclusive;

/// The prefix of all annotations of the injector.
pub const ANNOTATION_PREFIX: &str = "scaivault.scailabs.ai/";
/// The label of namespaces all of whose pods are sent to the injector, because policies may select
/// them.
pub const INJECTION_LABEL: &str = "scaivault.scailabs.ai/injection";
/// The label with the same effect that the injector sets itself.
pub const INJECTION_BY_POLICY_LABEL: &str = "scaivault.scailabs.ai/injection-by-policy";
/// The value of both labels.
pub const LABEL_ENABLED: &str = "enabled";
/// The value of the injector's label if no enforced policy adds secrets; then pods can be created
/// while the injector is unavailable.
pub const LABEL_AUDIT: &str = "audit";
/// The service account's annotation with its ScaiKey identity, which is the default of `role`.
pub const SERVICE_ACCOUNT_ROLE_ANNOTATION: &str = "scaikey.scailabs.ai/role";

/// The init container, which fetches once.
pub const INIT_CONTAINER: &str = "scaivault-init";
/// The native sidecar, which fetches and keeps the files up to date.
pub const SIDECAR_CONTAINER: &str = "scaivault-sidecar";

/// The memory-backed volume with the secret files.
pub const SECRETS_VOLUME: &str = "scaivault-secrets";
/// The volume with the projected service account token.
pub const TOKEN_VOLUME: &str = "scaivault-token";
/// The memory-backed volume with the file that `fileKeyRef` variables are read from.
pub const ENV_VOLUME: &str = "scaivault-env";
/// The memory-backed volume with the agent's state (leases, login), which survives restarts of the
/// agent.
pub const STATE_VOLUME: &str = "scaivault-state";
/// The volume with the CA certificate of ScaiVault.
pub const CA_VOLUME: &str = "scaivault-ca";
/// The volume with client credentials, the fallback without an OIDC trust.
pub const CREDENTIALS_VOLUME: &str = "scaivault-credentials";

/// All volumes that the injector may add.
pub const RESERVED_VOLUMES: [&str; 6] =
    [SECRETS_VOLUME, TOKEN_VOLUME, ENV_VOLUME, STATE_VOLUME, CA_VOLUME, CREDENTIALS_VOLUME];

/// The agent's binary in its images.
pub const AGENT_BINARY: &str = "/scaivault-agent";
/// The subcommand that fetches once and exits.
pub const INIT_COMMAND: &str = "init";
/// The subcommand that fetches and then keeps the files up to date.
pub const SIDECAR_COMMAND: &str = "sidecar";
/// The subcommand that waits until a complete generation of files is on disk, for the `postStart`
/// hook.
pub const WAIT_COMMAND: &str = "wait";
/// The subcommand that reports whether a complete generation is on disk, for the `startupProbe`.
pub const HEALTHZ_COMMAND: &str = "healthz";
/// The subcommand that compares files with each other, or those of the pod with ScaiVault.
pub const VERIFY_COMMAND: &str = "verify";
/// The subcommand that writes one Kubernetes Secret and exits, for Jobs.
pub const SYNC_SECRET_COMMAND: &str = "sync-secret";
/// The label that marks Secrets which [`SYNC_SECRET_COMMAND`] may write; its value is that name.
pub const MANAGED_BY_LABEL: &str = "scaivault.scailabs.ai/managed-by";
/// The annotation of these Secrets with a random text that changes when the content changes.
pub const CONTENT_VERSION_ANNOTATION: &str = "scaivault.scailabs.ai/content-version";
/// How many seconds the hook and the probe wait longer than `FETCH_TIMEOUT`, so that the agent
/// fails first and its own message is shown.
pub const GATE_SPARE_SECONDS: u64 = 10;
/// The exit codes of a failed agent, as in `podFailurePolicy`. docs/agent.md describes them.
pub const FAILURE_EXIT_CODES: RangeInclusive<i64> = 1..=5;

/// The default of `mount-path`.
pub const DEFAULT_MOUNT_PATH: &str = "/run/secrets";
/// Directory of the projected token in the agent's containers.
pub const TOKEN_DIR: &str = "/var/run/secrets/scaivault";
/// File name of the projected token.
pub const TOKEN_FILE: &str = "token";
/// Directory of the variables' file in the agent's containers.
pub const ENV_DIR: &str = "/var/run/scaivault/env";
/// File name of the variables' file.
pub const ENV_FILE: &str = "variables";
/// Directory of the agent's state.
pub const STATE_DIR: &str = "/var/run/scaivault/state";
/// Directory of ScaiVault's CA certificate.
pub const CA_DIR: &str = "/var/run/scaivault/ca";
/// File name of the CA certificate, and by default its key in the ConfigMap.
pub const CA_FILE: &str = "ca.crt";
/// Directory of the client credentials.
pub const CREDENTIALS_DIR: &str = "/var/run/scaivault/credentials";
/// File name of the client id, and by default its key in the Secret.
pub const CLIENT_ID_FILE: &str = "client_id";
/// File name of the client secret, and by default its key in the Secret.
pub const CLIENT_SECRET_FILE: &str = "client_secret";
/// The directory inside a mount at `/run/secrets` that the container runtime needs for the service
/// account's own token.
pub const SERVICE_ACCOUNT_DIR: &str = "kubernetes.io/serviceaccount";
/// Where the API server mounts its own token into every container that has no mount at this path:
/// `DefaultAPITokenMountPath` of the admission plugin `ServiceAccount`.
pub const API_TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
