//! The behaviour if ScaiVault is unavailable.

use scaivault_contract::{Duration, defaults};

use super::{AnnotationSpec, DefaultValue::Value, ExactKey, Key::Exact, Setters, parse};
use crate::annotations::value::{self, ValueKind};

/// The longest initial fetch: a pod that waits for more than an hour should fail instead.
const MOST_FETCH_SECONDS: u64 = 3600;

pub(super) static ROWS: &[AnnotationSpec] = &[
    AnnotationSpec {
        key: Exact(ExactKey::FailOpen),
        value: ValueKind::Bool,
        default: Value(defaults::FAIL_OPEN),
        setters: Setters::PodAndDefaults,
        doc: "`true`: if secrets cannot be fetched, for whatever reason, the application starts without them. It must \
              be able to run without them.",
        examples: &["true", "false"],
        set: |draft, entry| {
            draft.fail_open = value::boolean(entry.value)?;
            Ok(())
        },
    },
    AnnotationSpec {
        key: Exact(ExactKey::FetchTimeout),
        value: ValueKind::Duration,
        default: Value(defaults::FETCH_TIMEOUT),
        setters: Setters::PodAndDefaults,
        doc: "How long the first fetch may take, including retries.",
        examples: &["2m", "10s"],
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
