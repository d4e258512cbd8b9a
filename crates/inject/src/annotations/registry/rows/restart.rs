//! Whether, when and for which secrets a workload is restarted. The restart controller reads these keys; no pod changes by them.

use super::{
    AnnotationSpec,
    DefaultValue::{None as Nothing, Value, Words},
    ExactKey,
    Key::Exact,
    Setters,
};
use crate::annotations::value::ValueKind;

pub(super) static ROWS: &[AnnotationSpec] = &[
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
              `restart-match`), `none`, or names.",
        examples: &["all", "matching", "none", "db-credentials, tls-*"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::RestartClasses),
        value: ValueKind::RestartSelection,
        default: Words("classes of the provider `scaivault`, and those with `restart: auto`"),
        setters: Setters::PodWorkloadAndNamespace,
        doc: "The SecretProviderClasses whose changes restart the workload, with the same values as `restart-secrets`. \
              The SecretProviderClasses whose changes restart the workload, with the same values as `restart-secrets`.",
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
        doc: "A new text releases the pending restart, whatever it waits for. `scaivault-injector restart` sets it. \
              The first 63 characters count.",
        examples: &["2026-11-27T10:00:00Z"],
        set: |_, _| Ok(()),
    },
];
