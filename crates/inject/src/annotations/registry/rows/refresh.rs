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
        doc: "How often the sidecar checks for new versions. On a pod it selects the pattern `sidecar`.",
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
        doc: "`true`: the sidecar subscribes to ScaiVault's events and fetches a secret when it is rotated or updated. \
              On a pod it selects the pattern `sidecar`.",
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
        doc: "The signal that is sent to `reload-target` after each change. Selects the pattern `sidecar` and sets \
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
        doc: "The process that gets `reload-signal`. If several containers read the secrets, write its container too. \
              The process that gets `reload-signal`. If several containers read the secrets, write its container too.",
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
        doc: "The address that gets an HTTP POST after each change: an endpoint of the application on the pod's \
              loopback. Selects the pattern `sidecar`. Needs no shared process namespace. Excludes `reload-signal`.",
        examples: &["http://127.0.0.1:9090/-/reload", "http://localhost/", "http://[::1]:8080/a?b=$(HOME)"],
        set: |draft, entry| {
            draft.reload_url = Some(parse(entry)?);
            Ok(())
        },
    },
];
