//! How it stays fresh.

use super::{
    AnnotationSpec,
    DefaultValue::{None as Nothing, Value},
    Key::Exact,
    Layers, parse,
};
use crate::annotations::value::{self, ValueKind};

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact("refresh-interval"),
        value: ValueKind::Duration,
        default: Value("5m"),
        layers: Layers::ANY,
        doc: "How often the sidecar asks for new versions. On a pod it selects the pattern `sidecar`.",
        example: "5m",
        set: |draft, entry| {
            draft.refresh_interval = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("refresh-on-event"),
        value: ValueKind::Bool,
        default: Value("false"),
        layers: Layers::ANY,
        doc: "The sidecar subscribes to rotations and updates and fetches when one arrives. On a pod it selects the pattern \
              `sidecar`.",
        example: "true",
        set: |draft, entry| {
            draft.refresh_on_event = value::boolean(entry.value)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("reload-signal"),
        value: ValueKind::Signal,
        default: Nothing,
        layers: Layers::POD,
        doc: "The signal sent to `reload-target` once per change. Selects the pattern `sidecar` and sets \
              `shareProcessNamespace`.",
        example: "SIGHUP",
        set: |draft, entry| {
            draft.reload_signal = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("reload-target"),
        value: ValueKind::ReloadTarget,
        default: Nothing,
        layers: Layers::POD,
        doc: "The process that gets `reload-signal`, with its container where several read the secrets.",
        example: "app/nginx",
        set: |draft, entry| {
            draft.reload_target = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("reload-url"),
        value: ValueKind::ReloadUrl,
        default: Nothing,
        layers: Layers::POD,
        doc: "The address that gets an HTTP POST after a change: an endpoint of the application on the pod's own loopback. \
              Selects the pattern `sidecar`; needs no shared process namespace. Excludes `reload-signal`.",
        example: "http://127.0.0.1:9090/-/reload",
        set: |draft, entry| {
            draft.reload_url = Some(parse(entry)?);
            Ok(())
        },
    },
];
