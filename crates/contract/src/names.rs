//! Names that are fixed between the injector, the agent and users' manifests.

use std::ops::RangeInclusive;

/// Every annotation of ours starts with this.
pub const ANNOTATION_PREFIX: &str = "scaivault.scailabs.ai/";
/// The label of namespaces whose pods are all sent to the injector, because policies may select them.
pub const INJECTION_LABEL: &str = "scaivault.scailabs.ai/injection";
/// The label with the same effect that the injector itself sets.
pub const INJECTION_BY_POLICY_LABEL: &str = "scaivault.scailabs.ai/injection-by-policy";
/// The value of both.
pub const LABEL_ENABLED: &str = "enabled";
/// The value of the second one where no policy that enforces gives secrets: pods do not depend on the injector's answer.
pub const LABEL_AUDIT: &str = "audit";
/// The service account's annotation with its ScaiKey identity, the default of `role`.
pub const SERVICE_ACCOUNT_ROLE_ANNOTATION: &str = "scaikey.scailabs.ai/role";

/// The init container that fetches once.
pub const INIT_CONTAINER: &str = "scaivault-init";
/// The native sidecar that fetches and keeps fresh.
pub const SIDECAR_CONTAINER: &str = "scaivault-sidecar";

/// The memory-backed volume with the secrets' files.
pub const SECRETS_VOLUME: &str = "scaivault-secrets";
/// The projected service-account token.
pub const TOKEN_VOLUME: &str = "scaivault-token";
/// The memory-backed volume with the file that `fileKeyRef` variables are read from.
pub const ENV_VOLUME: &str = "scaivault-env";
/// The memory-backed volume with the agent's state (leases, login), for its next start.
pub const STATE_VOLUME: &str = "scaivault-state";
/// The CA certificate of ScaiVault.
pub const CA_VOLUME: &str = "scaivault-ca";
/// The client credentials of the fallback without an OIDC trust.
pub const CREDENTIALS_VOLUME: &str = "scaivault-credentials";

/// All volumes the injector may add.
pub const RESERVED_VOLUMES: [&str; 6] =
    [SECRETS_VOLUME, TOKEN_VOLUME, ENV_VOLUME, STATE_VOLUME, CA_VOLUME, CREDENTIALS_VOLUME];

/// The agent's binary in its images.
pub const AGENT_BINARY: &str = "/scaivault-agent";
/// The subcommand that fetches once and exits.
pub const INIT_COMMAND: &str = "init";
/// The subcommand that fetches, then keeps fresh.
pub const SIDECAR_COMMAND: &str = "sidecar";
/// The subcommand that returns when a complete generation of files is on disk: the `postStart` gate.
pub const WAIT_COMMAND: &str = "wait";
/// The subcommand that says at once whether a complete generation is on disk: the `startupProbe`.
pub const HEALTHZ_COMMAND: &str = "healthz";
/// The subcommand that compares files: with each other, or those of the pod with ScaiVault.
pub const VERIFY_COMMAND: &str = "verify";
/// The subcommand that writes one Secret of Kubernetes and exits: for Jobs.
pub const SYNC_SECRET_COMMAND: &str = "sync-secret";
/// The label of the Secrets that [`SYNC_SECRET_COMMAND`] may write, with that as its value.
pub const MANAGED_BY_LABEL: &str = "scaivault.scailabs.ai/managed-by";
/// The annotation of these Secrets with a random text that changes when their content does.
pub const CONTENT_VERSION_ANNOTATION: &str = "scaivault.scailabs.ai/content-version";
/// How long either gate outlives `FETCH_TIMEOUT`, seconds: the agent gives up first, so that its own message is seen.
pub const GATE_SPARE_SECONDS: u64 = 10;
/// The exit codes of an agent that failed, a process's status as in `podFailurePolicy`. Their meanings are in docs/agent.md.
pub const FAILURE_EXIT_CODES: RangeInclusive<i64> = 1..=5;

/// Where the secrets' files are mounted unless `mount-path` says otherwise.
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
/// The directory below a mount at `/run/secrets` that the container runtime needs for the service account's own token.
pub const SERVICE_ACCOUNT_DIR: &str = "kubernetes.io/serviceaccount";
/// Where the API server mounts a token for itself into every container that has no mount there, as it writes it:
/// `DefaultAPITokenMountPath` of its admission plugin `ServiceAccount`.
pub const API_TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
