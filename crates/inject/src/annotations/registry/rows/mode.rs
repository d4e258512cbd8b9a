//! Whether anything is injected.

use super::{
    AnnotationSpec,
    DefaultValue::{None as Nothing, Words},
    Key::Exact,
    Layers, parse,
};
use crate::{
    annotations::value::{self, ValueKind},
    mutation_mode::MutationMode,
};

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact("inject"),
        value: ValueKind::Bool,
        default: Words("`true` as soon as a secret is named"),
        layers: Layers::POD,
        doc: "`false` leaves the pod alone, the same as `mutation-mode: ignore`.",
        example: "true",
        set: |draft, entry| {
            draft.inject = Some(value::boolean(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("mutation-mode"),
        value: ValueKind::Choice(MutationMode::ALL),
        default: Nothing,
        layers: Layers::POD_WORKLOAD_NAMESPACE,
        doc: "`ignore`: nothing is added, what the manifest carries stays; on a workload's own metadata it freezes what was \
              attached before. `ignore-and-detach`: what was injected is taken out as well. Of pod, workload (Deployment, \
              StatefulSet, DaemonSet, Job, CronJob) and namespace the strictest wins.",
        example: "ignore",
        // Read before any draft is made (see `mutation_mode`); here it is only checked.
        set: |_, entry| Ok(parse::<MutationMode>(entry).map(drop)?),
    },
];
