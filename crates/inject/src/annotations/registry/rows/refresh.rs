//! How the secrets are kept up to date.

use super::{
    AnnotationSpec,
    DefaultValue::{None as Nothing, Value},
    ExactKey,
    Key::Exact,
    Setters, parse,
};
use crate::annotations::value::{self, ValueKind};
use scaivault_contract::defaults;

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact(ExactKey::RefreshInterval),
        value: ValueKind::Duration,
        default: Value(defaults::REFRESH_INTERVAL),
        setters: Setters::PodAndDefaults,
        doc: "How often the sidecar asks for new versions. On a pod it selects the pattern `sidecar`.",
        examples: &["5m", "30s", "1h"],
        set: |draft, entry| {
            draft.refresh_interval = parse(entry)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::RefreshOnEvent),
        value: ValueKind::Bool,
        default: Value(defaults::REFRESH_ON_EVENT),
        setters: Setters::PodAndDefaults,
        doc: "The sidecar subscribes to rotations and updates and fetches when one arrives. On a pod it selects the pattern \
              `sidecar`.",
        examples: &["true", "false"],
        set: |draft, entry| {
            draft.refresh_on_event = value::boolean(entry.value)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::ReloadSignal),
        value: ValueKind::Signal,
        default: Nothing,
        setters: Setters::Pod,
        doc: "The signal sent to `reload-target` once per change. Selects the pattern `sidecar` and sets \
              `shareProcessNamespace`.",
        examples: &["SIGHUP", "SIGUSR1"],
        set: |draft, entry| {
            draft.reload_signal = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::ReloadTarget),
        value: ValueKind::ReloadTarget,
        default: Nothing,
        setters: Setters::Pod,
        doc: "The process that gets `reload-signal`, with its container where several read the secrets.",
        examples: &["app/nginx", "nginx"],
        set: |draft, entry| {
            draft.reload_target = Some(parse(entry)?);
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::ReloadUrl),
        value: ValueKind::ReloadUrl,
        default: Nothing,
        setters: Setters::Pod,
        doc: "The address that gets an HTTP POST after a change: an endpoint of the application on the pod's own loopback. \
              Selects the pattern `sidecar`; needs no shared process namespace. Excludes `reload-signal`.",
        examples: &["http://127.0.0.1:9090/-/reload", "http://localhost/", "http://[::1]:8080/a?b=$(HOME)"],
        set: |draft, entry| {
            draft.reload_url = Some(parse(entry)?);
            Ok(())
        },
    },
];
