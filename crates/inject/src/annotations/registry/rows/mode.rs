//! Whether a pod is injected at all.

use super::{
    AnnotationSpec,
    DefaultValue::{None as Nothing, Words},
    ExactKey,
    Key::Exact,
    Setters, parse,
};
use crate::{
    annotations::value::{self, ValueKind},
    mutation_mode::MutationMode,
};

pub(super) static ROWS: &[AnnotationSpec] = &[
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
