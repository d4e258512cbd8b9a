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
        doc: "Whether the restart controller restarts the workload after its secrets have changed. `manual`: it waits until the \
              restart is released. On the workload or its pod template, it also counts for secrets that a sidecar refreshes. \
              On a native Secret or SecretProviderClass, `auto` restarts every workload that uses it, and `off` none.",
        examples: &["auto", "manual", "off"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::RestartSecrets),
        value: ValueKind::RestartSelection,
        default: Words("native Secrets with `restart: auto`"),
        setters: Setters::PodWorkloadAndNamespace,
        doc: "The native Secrets that the workload is restarted for: `all` that it uses, those of them that are marked by \
              `restart-match` (`matching`), `none`, or names.",
        examples: &["all", "matching", "none", "db-credentials, tls-*"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::RestartClasses),
        value: ValueKind::RestartSelection,
        default: Words("classes of the provider `scaivault`, and those with `restart: auto`"),
        setters: Setters::PodWorkloadAndNamespace,
        doc: "The SecretProviderClasses that the workload is restarted for, as `restart-secrets` selects Secrets.",
        examples: &["all", "none", "billing-secrets"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::RestartMatch),
        value: ValueKind::Bool,
        default: Value("false"),
        setters: Setters::Sources,
        doc: "`true`: workloads with `restart-secrets: matching` (of a class: `restart-classes: matching`) that use it are \
              restarted for it.",
        examples: &["true", "false"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::RestartCanary),
        value: ValueKind::Bool,
        default: Value("false"),
        setters: Setters::PodAndWorkload,
        doc: "`true`: of the workloads that share a secret, this one is restarted first.",
        examples: &["true", "false"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::RestartWindows),
        value: ValueKind::RestartWindows,
        default: Words("the controller's setting"),
        setters: Setters::PodWorkloadAndNamespace,
        doc: "When restarts may begin. Outside of the windows they wait, but not beyond the end of the old version.",
        examples: &["0 2 * * 1-5 for 4h in Europe/Amsterdam", "0 22 * * * for 2h; 0 12 * * 6 for 30m in UTC"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::RestartRelease),
        value: ValueKind::Line,
        default: Nothing,
        setters: Setters::Workload,
        doc: "A new text releases the restart that waits, whatever it waits for; `scaivault-injector restart` writes it. \
              The first 63 characters count.",
        examples: &["2026-11-27T10:00:00Z"],
        set: |_, _| Ok(()),
    },
];
