//! Keys that the injector writes.

use super::{AnnotationSpec, DefaultValue::None as Nothing, ExactKey, Key::Exact, Setters};
use crate::annotations::value::ValueKind;

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact(ExactKey::Status),
        value: ValueKind::Written,
        default: Nothing,
        setters: Setters::Nobody,
        doc: "`injected`, or `skipped/<reason>` where a pod with problems was let through.",
        examples: &["injected"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::Receipt),
        value: ValueKind::Written,
        default: Nothing,
        setters: Setters::Nobody,
        doc: "What detaching needs and cannot derive from the pod.",
        examples: &["{\"v\":1}"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::WorkloadMutationMode),
        value: ValueKind::Written,
        default: Nothing,
        setters: Setters::Nobody,
        doc: "Carries the `mutation-mode` of the workload's own metadata to its pods: put into the pod template with it, taken \
              away with it, and absent where a frozen workload keeps what was attached before.",
        examples: &["ignore"],
        set: |_, _| Ok(()),
    },
    AnnotationSpec {
        key: Exact(ExactKey::RestartedFor),
        value: ValueKind::Written,
        default: Nothing,
        setters: Setters::Nobody,
        doc: "The versions of secrets that the restart controller has last restarted the workload for. It writes this key into the \
              pod template.",
        examples: &["scaivault:environments/production/billing/database=7@1790000000"],
        set: |_, _| Ok(()),
    },
];
