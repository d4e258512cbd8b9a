//! How and to which containers the secrets are delivered.

use super::{
    AnnotationSpec,
    DefaultValue::{Value, Words},
    ExactKey,
    Key::Exact,
    Setters, memory, parse,
};
use scaivault_contract::names;

use crate::{
    annotations::value::{Position, StartGate, ValueKind},
    pattern::Pattern,
    quantity::Quantity,
};

/// The largest volume. It uses memory of the node, and a secret has kilobytes.
const MOST_VOLUME_MEBIBYTES: u32 = 1024;

/// The smallest volume that can hold two generations of one small file with their metadata.
const LEAST_VOLUME_KIBIBYTES: u32 = 16;

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact(ExactKey::Pattern),
        value: ValueKind::Choice(Pattern::ALL),
        default: Words("`sidecar` if the pod asks for dynamic credentials, refresh or reload, else `init`"),
        setters: Setters::Pod,
        doc: "`init`: an init container fetches the secrets once. `sidecar`: a native sidecar fetches them and keeps \
              them up to date.",
        examples: &["sidecar", "init"],
        set: |draft, entry| {
            draft.pattern = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::Containers),
        value: ValueKind::Selection,
        default: Value("*"),
        setters: Setters::Pod,
        doc: "Which app containers get the mount and the variables. `*`: all except known sidecars of other products, \
              such as proxies of service meshes. A warning names containers that are left out but may be applications. \
              A container that is listed by name always gets them.",
        examples: &["app, worker", "*", ""],
        set: |draft, entry| {
            draft.containers = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::InitContainers),
        value: ValueKind::Selection,
        default: Value("*"),
        setters: Setters::Pod,
        doc: "Which init containers get the mount and the variables. `*`: all that start after the agent, except known \
              sidecars of other products. A container that is listed by name always gets them.",
        examples: &["migrate", "*", ""],
        set: |draft, entry| {
            draft.init_containers = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::MountPath),
        value: ValueKind::MountPath,
        default: Value(names::DEFAULT_MOUNT_PATH),
        setters: Setters::PodAndDefaults,
        doc: "The directory in the containers, mounted read-only. Containers may mount other volumes below it, such as \
              the token of a cloud provider at `/var/run/secrets/…`: the agent creates their mount points.",
        examples: &["/run/secrets", "/secrets", "/etc/app/credentials"],
        set: |draft, entry| {
            draft.mount_path = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::VolumeSizeLimit),
        value: ValueKind::Quantity,
        default: Value("8Mi"),
        setters: Setters::PodAndDefaults,
        doc: "Size of the memory-backed volume. During a refresh it holds the old and the new files, so all files \
              together may take half of it. The files count towards the agent's memory limit.",
        examples: &["16Mi", "4Mi", "8Mi"],
        set: |draft, entry| {
            let limit = memory(entry)?;
            if limit > Quantity::mebibytes(MOST_VOLUME_MEBIBYTES) {
                return Err("it must be at most 1Gi".into());
            }
            if limit < Quantity::kibibytes(LEAST_VOLUME_KIBIBYTES) {
                return Err(
                    "it must be at least 16Ki: during a refresh the volume holds the old and the new files"
                        .into(),
                );
            }
            draft.volume_size_limit = limit;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::Position),
        value: ValueKind::Choice(Position::ALL),
        default: Value("first"),
        setters: Setters::PodAndDefaults,
        doc: "Position of the agent among the init containers. `first`: first, but after proxies of known service \
              meshes that are native sidecars, because it needs them for network access.",
        examples: &["last", "first"],
        set: |draft, entry| {
            draft.position = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::StartGate),
        value: ValueKind::Choice(StartGate::ALL),
        default: Value("hook"),
        setters: Setters::PodAndDefaults,
        doc: "What delays the application until the sidecar has fetched the secrets. `hook`: a `postStart` hook, which \
              adds about 0.2 s to the pod's start; if the kubelet restarts while it runs, the application may start \
              too early. `probe`: a `startupProbe`, which adds one to two seconds and always works.",
        examples: &["probe", "hook"],
        set: |draft, entry| {
            draft.start_gate = parse(entry)?;
            Ok(())
        },
    },
];
