//! Whether a pod is injected at all, how its secrets are kept up to date, when its workload is
//! restarted, what happens if ScaiVault is unavailable, and what the injector records.

use scaivault_contract::{Duration, defaults};

use super::{
    AnnotationSpec,
    DefaultValue::{None as Nothing, Value, Words},
    ExactKey,
    Key::Exact,
    Setters, parse,
};
use crate::{
    annotations::value::{self, ValueKind},
    mutation_mode::MutationMode,
};

pub(super) static MODE: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact(ExactKey::Inject),
        value: ValueKind::Bool,
        default: Words("`true` if an annotation names a secret"),
        setters: Setters::Pod,
        doc: "`false`: the pod is not injected, the same as `mutation-mode: ignore`.",
        examples: &["true", "false"],
        set: |draft, entry| {
            draft.inject = Some(value::boolean(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::MutationMode),
        value: ValueKind::Choice(MutationMode::ALL),
        default: Nothing,
        setters: Setters::PodWorkloadAndNamespace,
        doc: "`ignore`: nothing is added, and what the manifest already has stays; on a workload's own metadata, \
              existing injections stay frozen. `ignore-and-detach`: existing injections are also removed. The \
              strictest mode of pod, workload (Deployment, StatefulSet, DaemonSet, Job, CronJob, Argo Rollout, \
              OpenShift DeploymentConfig) and namespace applies.",
        examples: &["ignore", "ignore-and-detach"],
        // The mode is evaluated before any draft is made (see `mutation_mode`); here it is only
        // validated.
        set: |_, entry| Ok(parse::<MutationMode>(entry).map(drop)?),
    },
];

pub(super) static REFRESH: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact(ExactKey::RefreshInterval),
        value: ValueKind::Duration,
        default: Value(defaults::REFRESH_INTERVAL),
        setters: Setters::PodAndDefaults,
        doc: "How often the sidecar checks for new versions. On a pod it selects the pattern `sidecar`.",
        examples: &["5m", "30s", "1h"],
        set: |draft, entry| {
            draft.refresh_interval = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::RefreshOnEvent),
        value: ValueKind::Bool,
        default: Value(defaults::REFRESH_ON_EVENT),
        setters: Setters::PodAndDefaults,
        doc: "`true`: the sidecar subscribes to ScaiVault's events and fetches a secret when it is rotated or updated. \
              On a pod it selects the pattern `sidecar`.",
        examples: &["true", "false"],
        set: |draft, entry| {
            draft.refresh_on_event = value::boolean(entry.value)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::ReloadSignal),
        value: ValueKind::Signal,
        default: Nothing,
        setters: Setters::Pod,
        doc: "The signal that is sent to `reload-target` after each change. Selects the pattern `sidecar` and sets \
              `shareProcessNamespace`.",
        examples: &["SIGHUP", "SIGUSR1"],
        set: |draft, entry| {
            draft.reload_signal = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::ReloadTarget),
        value: ValueKind::ReloadTarget,
        default: Nothing,
        setters: Setters::Pod,
        doc: "The process that gets `reload-signal`. If several containers read the secrets, write its container too.",
        examples: &["app/nginx", "nginx"],
        set: |draft, entry| {
            draft.reload_target = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::ReloadUrl),
        value: ValueKind::ReloadUrl,
        default: Nothing,
        setters: Setters::Pod,
        doc: "The address that gets an HTTP POST after each change: an endpoint of the application on the pod's \
              loopback. Selects the pattern `sidecar`. Needs no shared process namespace. Excludes `reload-signal`.",
        examples: &["http://127.0.0.1:9090/-/reload", "http://localhost/", "http://[::1]:8080/a?b=$(HOME)"],
        set: |draft, entry| {
            draft.reload_url = Some(parse(entry)?);
            Ok(())
        },
    },
];

/// The restart controller reads these keys; they change no pod.
pub(super) static RESTART: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact(ExactKey::Restart),
        value: ValueKind::Choice(&["auto", "manual", "off"]),
        default: Words("`spec.restart` of a policy, or the controller's setting"),
        setters: Setters::PodWorkloadAndNamespace,
        doc: "Whether the restart controller restarts the workload after its secrets have changed. `manual`: the \
              restart waits for a release. Set on the workload or its pod template, it also applies to secrets that a \
              sidecar refreshes. On a native Secret or SecretProviderClass, `auto` restarts every workload that uses \
              it, and `off` none.",
        examples: &["auto", "manual", "off"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::RestartSecrets),
        value: ValueKind::RestartSelection,
        default: Words("native Secrets with `restart: auto`"),
        setters: Setters::PodWorkloadAndNamespace,
        doc: "The native Secrets whose changes restart the workload: `all` that it uses, `matching` (those with \
              `restart-match`), `none`, or names. A name with `*` selects among the Secrets that it uses; whole names also select \
              others.",
        examples: &["all", "matching", "none", "db-credentials, tls-*"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::RestartClasses),
        value: ValueKind::RestartSelection,
        default: Words("classes of the provider `scaivault`, and those with `restart: auto`"),
        setters: Setters::PodWorkloadAndNamespace,
        doc: "The SecretProviderClasses that the workload mounts and whose changes restart it, with the same values as \
              `restart-secrets`.",
        examples: &["all", "none", "billing-secrets"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::RestartMatch),
        value: ValueKind::Bool,
        default: Value("false"),
        setters: Setters::Sources,
        doc: "`true`: a change of this object restarts the workloads that use it and have `restart-secrets: matching` \
              (for a class: `restart-classes: matching`).",
        examples: &["true", "false"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::RestartCanary),
        value: ValueKind::Bool,
        default: Value("false"),
        setters: Setters::PodAndWorkload,
        doc: "`true`: this workload is restarted first among those that share a secret.",
        examples: &["true", "false"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::RestartWindows),
        value: ValueKind::RestartWindows,
        default: Words("the controller's setting"),
        setters: Setters::PodWorkloadAndNamespace,
        doc: "Maintenance windows in which restarts may begin. A restart does not wait longer than the old version \
              works.",
        examples: &["0 2 * * 1-5 for 4h in Europe/Amsterdam", "0 22 * * * for 2h; 0 12 * * 6 for 30m in UTC"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::RestartRelease),
        value: ValueKind::Line,
        default: Nothing,
        setters: Setters::Workload,
        doc: "A new text releases the pending restart. `scaivault-injector restart` sets it. \
              The first 63 characters count.",
        examples: &["2026-11-27T10:00:00Z"],
        set: |_, _| Ok(()),
    },
];

/// The longest initial fetch: a pod that waits for more than an hour should fail instead.
const MOST_FETCH_SECONDS: u64 = 3600;

pub(super) static FAILURE: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact(ExactKey::FailOpen),
        value: ValueKind::Bool,
        default: Value(defaults::FAIL_OPEN),
        setters: Setters::PodAndDefaults,
        doc: "`true`: if secrets cannot be fetched, for whatever reason, the application starts without them. It must \
              be able to run without them.",
        examples: &["true", "false"],
        set: |draft, entry| {
            draft.fail_open = value::boolean(entry.value)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::FetchTimeout),
        value: ValueKind::Duration,
        default: Value(defaults::FETCH_TIMEOUT),
        setters: Setters::PodAndDefaults,
        doc: "How long the first fetch may take, including retries.",
        examples: &["2m", "10s"],
        set: |draft, entry| {
            let timeout: Duration = parse(entry)?;
            if timeout.as_secs() > MOST_FETCH_SECONDS {
                return Err("longer than 1h".into());
            }
            draft.fetch_timeout = timeout;
            Ok(())
        },
    },
];

/// Keys that the injector writes.
pub(super) static WRITTEN: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact(ExactKey::Status),
        value: ValueKind::Written,
        default: Nothing,
        setters: Setters::Injector,
        doc: "`injected`, or `skipped/<reason>` if a pod with problems was admitted.",
        examples: &["injected"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::Receipt),
        value: ValueKind::Written,
        default: Nothing,
        setters: Setters::Injector,
        doc: "Data that `detach` needs and that cannot be derived from the pod.",
        examples: &["{\"v\":1}"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::WorkloadMutationMode),
        value: ValueKind::Written,
        default: Nothing,
        setters: Setters::Injector,
        doc: "A copy of the workload's own `mutation-mode` for its pods. It is added to and removed from the pod \
              template together with the original, and is absent if a frozen workload keeps its existing injection.",
        examples: &["ignore"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::RestartedFor),
        value: ValueKind::Written,
        default: Nothing,
        setters: Setters::Injector,
        doc: "The versions of secrets for which the restart controller last restarted the workload. The controller \
              writes it to the pod template.",
        examples: &["scaivault:environments/production/billing/database=7@1790000000"],
        set: |_, _| Ok(()),
    },
];
