//! What the injector writes.

use super::{AnnotationSpec, DefaultValue::None as Nothing, Key::Exact, Layers};
use crate::annotations::value::ValueKind;

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact("status"),
        value: ValueKind::Written,
        default: Nothing,
        layers: Layers::WRITTEN,
        doc: "`injected`, or `skipped/<reason>` where a pod with problems was let through.",
        example: "injected",
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact("receipt"),
        value: ValueKind::Written,
        default: Nothing,
        layers: Layers::WRITTEN,
        doc: "What cannot be seen in the pod otherwise and detaching has to know.",
        example: "{\"v\":1}",
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact("workload-mutation-mode"),
        value: ValueKind::Written,
        default: Nothing,
        layers: Layers::WRITTEN,
        doc: "Carries the `mutation-mode` of the workload's own metadata to its pods: put into the pod template with it, taken \
              away with it, and absent where a frozen workload keeps what was attached before.",
        example: "ignore",
        set: |_, _| Ok(()),
    },
];
