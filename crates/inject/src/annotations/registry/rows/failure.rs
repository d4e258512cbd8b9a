//! What happens when ScaiVault does not answer.

use scaivault_contract::Duration;

use super::{AnnotationSpec, DefaultValue::Value, Key::Exact, Layers, parse};
use crate::annotations::value::{self, ValueKind};

/// The longest first fetch: a pod that waits longer than an hour is better told so.
const MOST_FETCH_SECONDS: u64 = 3600;

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact("fail-open"),
        value: ValueKind::Bool,
        default: Value("false"),
        layers: Layers::ANY,
        doc: "`true` starts the app with what could be fetched, whatever network or server say. The app needs a way to do \
              without.",
        example: "true",
        set: |draft, entry| {
            draft.fail_open = value::boolean(entry.value)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact("fetch-timeout"),
        value: ValueKind::Duration,
        default: Value("60s"),
        layers: Layers::ANY,
        doc: "How long the first fetch may take, retries included.",
        example: "2m",
        set: |draft, entry| {
            let timeout: Duration = parse(entry)?;
            if timeout.as_secs() > MOST_FETCH_SECONDS {
                return Err("longer than 1h".into());
            }
            draft.fetch_timeout = timeout;
            Ok(())
        },
    },
];
