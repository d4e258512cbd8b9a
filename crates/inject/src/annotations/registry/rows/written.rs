//! Keys that the injector writes.

use super::{AnnotationSpec, DefaultValue::None as Nothing, ExactKey, Key::Exact, Setters};
use crate::annotations::value::ValueKind;

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact(ExactKey::Status),
        value: ValueKind::Written,
        default: Nothing,
        setters: Setters::Nobody,
        doc: "`injected`, or `skipped/<reason>` if a pod with problems was admitted.",
        examples: &["injected"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::Receipt),
        value: ValueKind::Written,
        default: Nothing,
        setters: Setters::Nobody,
        doc: "Data that `detach` needs and that cannot be derived from the pod.",
        examples: &["{\"v\":1}"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::WorkloadMutationMode),
        value: ValueKind::Written,
        default: Nothing,
        setters: Setters::Nobody,
        doc: "A copy of the workload's own `mutation-mode` for its pods. It is added to and removed from the pod \
              template together with the original, and is absent if a frozen workload keeps its existing injection.",
        examples: &["ignore"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::RestartedFor),
        value: ValueKind::Written,
        default: Nothing,
        setters: Setters::Nobody,
        doc: "The versions of secrets for which the restart controller last restarted the workload. The controller \
              writes it to the pod template.",
        examples: &["scaivault:environments/production/billing/database=7@1790000000"],
        set: |_, _| Ok(()),
    },
];
