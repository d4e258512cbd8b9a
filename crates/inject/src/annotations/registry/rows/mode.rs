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
        default: Words("`true` as soon as a secret is named"),
        setters: Setters::Pod,
        doc: "`false` leaves the pod alone, the same as `mutation-mode: ignore`.",
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
        doc: "`ignore`: nothing is added, what the manifest carries stays; on a workload's own metadata it freezes what was \
              attached before. `ignore-and-detach`: what was injected is taken out as well. Of pod, workload (Deployment, \
              StatefulSet, DaemonSet, Job, CronJob, Argo Rollout, OpenShift DeploymentConfig) and namespace the strictest wins.",
        examples: &["ignore", "ignore-and-detach"],
        // The mode is evaluated before any draft is made (see `mutation_mode`); here it is only
        // validated.
        set: |_, entry| Ok(parse::<MutationMode>(entry).map(drop)?),
    },
];
