//! Formats the log line of an admission. It is written for each request, and tracing's own
//! formatter takes a third of the time of a decision, because it writes each field through several
//! layers of `fmt`. All other events use that formatter.

use std::fmt::{self, Write as _};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

use super::LogFormat;

/// The webhook's module that logs admissions.
const TARGET: &str = "scaivault_webhook::record";

/// Most lines are shorter.
const LINE_BYTES: usize = 512;

/// Formats the lines of admissions in the same way as `others`, which formats all other lines.
pub(super) struct AdmissionLine<F> {
    pub(super) others: F,
    pub(super) format: LogFormat,
}

impl<S, N, F> FormatEvent<S, N> for AdmissionLine<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        if metadata.target() != TARGET || writer.has_ansi_escapes() {
            return self.others.format_event(context, writer, event);
        }
        let mut line = Line { text: String::with_capacity(LINE_BYTES), format: self.format };
        let is_json = line.is_json();
        line.text.push_str(if is_json { r#"{"timestamp":""# } else { "" });
        SystemTime.format_time(&mut Writer::new(&mut line.text))?;
        if is_json {
            line.text.extend([r#"","level":""#, metadata.level().as_str(), "\""]);
        } else {
            let padding = if metadata.level().as_str().len() == 4 { "  " } else { " " };
            line.text.extend([padding, metadata.level().as_str(), " ", TARGET, ":"]);
        }
        event.record(&mut line);
        line.text.extend(if is_json { [r#","target":""#, TARGET, "\"}\n"] } else { ["\n", "", ""] });
        writer.write_str(&line.text)
    }
}

struct Line {
    text: String,
    format: LogFormat,
}

impl Line {
    fn is_json(&self) -> bool {
        self.format == LogFormat::Json
    }

    /// The field's name with separators.
    fn name(&mut self, field: &Field) {
        match field.name() {
            name if self.is_json() => self.text.extend([",\"", name, "\":"]),
            "message" => self.text.push(' '),
            name => self.text.extend([" ", name, "="]),
        }
    }

    /// A quoted text.
    fn quoted(&mut self, text: &str) {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
            self.text.extend(["\"", text, "\""]);
        } else if self.is_json() {
            self.text.push_str(&serde_json::Value::from(text).to_string());
        } else {
            let _ = write!(self.text, "{text:?}");
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, text: &str) {
        self.name(field);
        self.quoted(text);
    }

    fn record_u64(&mut self, field: &Field, number: u64) {
        self.name(field);
        let _ = write!(self.text, "{number}");
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field);
        self.text.push_str(if value { "true" } else { "false" });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        if self.is_json() {
            self.quoted(&format!("{value:?}"));
        } else {
            let _ = write!(self.text, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::fmt::format;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The output of a subscriber for some events, without the times.
    fn written(subscriber: impl Subscriber + Send + Sync + 'static, lines: &Lines) -> Vec<String> {
        tracing::subscriber::with_default(subscriber, || {
            for text in ["web", "", "a \"b\" \\ \n", "ä €\u{2028}\u{1b}[31m"] {
                let source = Some(tracing::field::display(std::net::Ipv4Addr::LOCALHOST));
                let owner = text.is_empty().then_some("owner");
                tracing::info!(target: TARGET, uid = text, source, owner, dry_run = true, problems = 3_usize, "admission");
                tracing::warn!(target: TARGET, uid = text, owner, dry_run = false, patch_bytes = &12_u64, "admission");
            }
            tracing::info!(text = "a", "not an admission");
        });
        let bytes = std::mem::take(&mut *lines.0.lock().unwrap());
        let without_time = |line: &str| {
            let time = line.find("20").unwrap();
            [&line[..time], &line[line.find('Z').unwrap()..]].concat()
        };
        String::from_utf8(bytes).unwrap().lines().map(without_time).collect()
    }

    #[test]
    fn the_line_equals_that_of_tracing() {
        let lines = Lines::default();
        let plain = || {
            let lines = lines.clone();
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || lines.clone())
        };
        let text = |others| AdmissionLine { others, format: LogFormat::Text };
        let expected = written(plain().finish(), &lines);
        assert_eq!(written(plain().map_event_format(text).finish(), &lines), expected);
        assert_eq!(expected.len(), 9);

        let json = |others: format::Format<format::Json>| AdmissionLine { others, format: LogFormat::Json };
        let expected = written(plain().json().flatten_event(true).finish(), &lines);
        assert_eq!(
            written(plain().json().flatten_event(true).map_event_format(json).finish(), &lines),
            expected
        );
    }
}
