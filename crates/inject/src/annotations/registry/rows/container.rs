//! The agent's container.

use super::{
    AnnotationSpec,
    DefaultValue::{Value, Words},
    Key::Exact,
    Layers, parse, quantity,
};
use crate::annotations::value::{self, LARGEST_ID, LogLevel, ValueKind};

const ID: ValueKind = ValueKind::Number { least: 0, most: LARGEST_ID };

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact("image"),
        value: ValueKind::Image,
        default: Words("the injector's `initImage` or `sidecarImage`"),
        layers: Layers::POD,
        doc: "The agent's image, for both containers. Only what the injector's `allowedImages` cover.",
        example: "scailabs/scaivault-sidecar:1.0",
        set: |draft, entry| {
            draft.image = Some(value::image(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("run-as-user"),
        value: ValueKind::RunAsUser,
        default: Words(
            "the reload target's uid; else the one non-zero uid that all containers share; else 65532",
        ),
        layers: Layers::ANY,
        doc: "The agent's uid. `unset` leaves it to the platform, as OpenShift's SCCs want.",
        example: "10001",
        set: |draft, entry| {
            draft.run_as_user = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("run-as-group"),
        value: ID,
        default: Words("the gid that belongs to the uid above"),
        layers: Layers::ANY,
        doc: "The agent's gid.",
        example: "10001",
        set: |draft, entry| {
            draft.run_as_group = Some(value::id(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("requests-cpu"),
        value: ValueKind::Quantity,
        default: Words("`10m`; in a Guaranteed pod the limit"),
        layers: Layers::ANY,
        doc: "CPU the scheduler sets aside for the agent.",
        example: "10m",
        set: |draft, entry| {
            draft.requests_cpu = Some(quantity(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("requests-memory"),
        value: ValueKind::Quantity,
        default: Words("`16Mi`; in a Guaranteed pod the limit"),
        layers: Layers::ANY,
        doc: "Memory the scheduler sets aside for the agent.",
        example: "16Mi",
        set: |draft, entry| {
            draft.requests_memory = Some(quantity(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("limits-cpu"),
        value: ValueKind::Quantity,
        default: Words("none; `50m` in a Guaranteed pod"),
        layers: Layers::ANY,
        doc: "CPU the agent may use.",
        example: "100m",
        set: |draft, entry| {
            draft.limits_cpu = Some(quantity(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("limits-memory"),
        value: ValueKind::Quantity,
        default: Words("`volume-size-limit` + 24Mi"),
        layers: Layers::ANY,
        doc: "Memory the agent may use, its files included: at least `volume-size-limit` + 16Mi. The volume is in memory and \
              holds two generations of the files during a refresh; 16Mi is what the agent needs besides.",
        example: "64Mi",
        set: |draft, entry| {
            draft.limits_memory = Some(quantity(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("log-level"),
        value: ValueKind::Choice(LogLevel::ALL),
        default: Value("info"),
        layers: Layers::ANY,
        doc: "How much the agent logs. No level logs a secret.",
        example: "debug",
        set: |draft, entry| {
            draft.log_level = parse(entry)?;
            Ok(())
        },
    },
];
