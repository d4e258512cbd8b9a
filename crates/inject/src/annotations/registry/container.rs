//! The agent's container.

use super::{
    AnnotationSpec,
    DefaultValue::{Value, Words},
    ExactKey,
    Key::Exact,
    Setters, cpu, memory, parse,
};
use scaivault_contract::defaults;

use crate::annotations::value::{self, LARGEST_ID, LogLevel, ValueKind};

const ID: ValueKind = ValueKind::Number { least: 0, most: LARGEST_ID };

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact(ExactKey::Image),
        value: ValueKind::Image,
        default: Words("the injector's `initImage`, for the sidecar its `sidecarImage` if that is set"),
        setters: Setters::Pod,
        doc: "The image of both injected containers. It must be covered by the injector's `allowedImages`, which is \
              empty by default. With `run-as-user: unset`, the image's user must be a number other than 0.",
        examples: &[
            concat!("scailabs/scaivault-init:", env!("CARGO_PKG_VERSION")),
            "registry.example/agent:2",
        ],
        set: |draft, entry| {
            draft.image = Some(value::image(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::RunAsUser),
        value: ValueKind::RunAsUser,
        default: Words(
            "the uid of the reload target; else the non-zero uid that all containers share (known sidecars do not count); else 65532",
        ),
        setters: Setters::PodAndDefaults,
        doc: "The agent's uid. `unset` sets none: the platform (such as OpenShift's SCCs) or the image chooses it. The \
              user of the default image is 65532.",
        examples: &["10001", "1000", "unset"],
        set: |draft, entry| {
            draft.run_as_user = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::RunAsGroup),
        value: ID,
        default: Words("the gid that belongs to the uid above"),
        setters: Setters::PodAndDefaults,
        doc: "The agent's gid.",
        examples: &["10001", "1000"],
        set: |draft, entry| {
            draft.run_as_group = Some(value::id(entry.value)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::RequestsCpu),
        value: ValueKind::Quantity,
        default: Words("`10m`; in a Guaranteed pod the limit"),
        setters: Setters::PodAndDefaults,
        doc: "CPU request of the agent.",
        examples: &["10m"],
        set: |draft, entry| {
            draft.requests_cpu = Some(cpu(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::RequestsMemory),
        value: ValueKind::Quantity,
        default: Words("`16Mi`; in a Guaranteed pod the limit"),
        setters: Setters::PodAndDefaults,
        doc: "Memory request of the agent.",
        examples: &["16Mi"],
        set: |draft, entry| {
            draft.requests_memory = Some(memory(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::LimitsCpu),
        value: ValueKind::Quantity,
        default: Words("none; `50m` in a pod whose containers all have one"),
        setters: Setters::PodAndDefaults,
        doc: "CPU limit of the agent.",
        examples: &["100m"],
        set: |draft, entry| {
            draft.limits_cpu = Some(cpu(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::LimitsMemory),
        value: ValueKind::Quantity,
        default: Words("`volume-size-limit` + 24Mi"),
        setters: Setters::PodAndDefaults,
        doc: "Memory limit of the agent, at least `volume-size-limit` + 16Mi. The files are in memory and count \
              towards it; during a refresh the volume holds the old and the new ones. The agent itself needs 16Mi.",
        examples: &["64Mi", "128Mi"],
        set: |draft, entry| {
            draft.limits_memory = Some(memory(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::LogLevel),
        value: ValueKind::Choice(LogLevel::ALL),
        default: Value(defaults::LOG_LEVEL),
        setters: Setters::PodAndDefaults,
        doc: "The agent's log level. Secrets are never logged.",
        examples: &["debug", "info"],
        set: |draft, entry| {
            draft.log_level = parse(entry)?;
            Ok(())
        },
    },
];
