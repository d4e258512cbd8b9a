//! How and to whom it is brought.

use super::{
    AnnotationSpec,
    DefaultValue::{Value, Words},
    Key::Exact,
    Layers, parse, quantity,
};
use crate::{
    annotations::value::{Position, StartGate, ValueKind},
    pattern::Pattern,
    quantity::Quantity,
};

/// The largest volume: it is memory of the node, and a secret has kilobytes.
const MOST_VOLUME_MEBIBYTES: u32 = 1024;

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact("pattern"),
        value: ValueKind::Choice(Pattern::ALL),
        default: Words("`sidecar` if the pod asks for dynamic credentials, refresh or reload, else `init`"),
        layers: Layers::POD,
        doc: "`init`: fetched once by an init container. `sidecar`: fetched and kept fresh by a native sidecar.",
        example: "sidecar",
        set: |draft, entry| {
            draft.pattern = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("containers"),
        value: ValueKind::Selection,
        default: Value("*"),
        layers: Layers::POD,
        doc: "Which app containers get the mount and the variables. `*` leaves the proxies of known service meshes out.",
        example: "app, worker",
        set: |draft, entry| {
            draft.containers = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("init-containers"),
        value: ValueKind::Selection,
        default: Value("*"),
        layers: Layers::POD,
        doc: "Which init containers get the mount and the variables. `*` means those that start after the agent, without \
              the proxies of known service meshes; a name always may.",
        example: "migrate",
        set: |draft, entry| {
            draft.init_containers = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("mount-path"),
        value: ValueKind::MountPath,
        default: Value("/run/secrets"),
        layers: Layers::ANY,
        doc: "The directory in the containers, mounted read-only. Containers may mount other volumes below it, such as the token of \
              a cloud provider at `/var/run/secrets/…`: the agent makes their mount points.",
        example: "/run/secrets",
        set: |draft, entry| {
            draft.mount_path = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("volume-size-limit"),
        value: ValueKind::Quantity,
        default: Value("8Mi"),
        layers: Layers::ANY,
        doc: "Size of the memory-backed volume. Two generations exist during a refresh, so data may take half of it; what \
              is written counts in the agent's memory.",
        example: "16Mi",
        set: |draft, entry| {
            let limit = quantity(entry)?;
            if limit > Quantity::mebibytes(MOST_VOLUME_MEBIBYTES) {
                return Err("more than 1Gi of memory".into());
            }
            draft.volume_size_limit = limit;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("position"),
        value: ValueKind::Choice(Position::ALL),
        default: Value("first"),
        layers: Layers::ANY,
        doc: "Where the agent stands among the init containers. `first` is behind the proxies of known service meshes that \
              are native sidecars: without them there is no network.",
        example: "last",
        set: |draft, entry| {
            draft.position = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("start-gate"),
        value: ValueKind::Choice(StartGate::ALL),
        default: Value("hook"),
        layers: Layers::ANY,
        doc: "What holds the app back until the sidecar has fetched. `hook`: a `postStart` hook, about 0.2 s of pod start; \
              a kubelet that restarts while it runs may start the app early. `probe`: a `startupProbe`, one to two seconds, \
              without that hole.",
        example: "probe",
        set: |draft, entry| {
            draft.start_gate = parse(entry)?;
            Ok(())
        },
    },
];
