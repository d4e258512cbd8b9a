//! Durations and times in answers. Their format is not documented, so every likely one is parsed.

use std::time::{Duration, SystemTime};

use jiff::{Span, SpanRelativeTo, Timestamp, civil::DateTime, tz::TimeZone};
use scaivault_contract::Duration as Ttl;
use serde_json::value::RawValue;

/// The maximum; longer values are capped, so that adding them to a time cannot overflow.
const LIMIT: Duration = Ttl::MAX.to_std();

/// A duration: a number of seconds, or text such as `1h30m` or ISO 8601 such as `PT1H30M`. `None`
/// for other formats and negative values.
pub(crate) fn length(json: &RawValue) -> Option<Duration> {
    length_of(&text(json))
}

/// The same for a text.
pub(crate) fn length_of(text: &str) -> Option<Duration> {
    if let Some(seconds) = number(text) {
        return Some(seconds_of(seconds));
    }
    let span: Span = text.parse().or_else(|_| text.to_lowercase().parse()).ok()?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Some(Duration::try_from(length).ok()?.min(LIMIT))
}

/// The duration from `now` to a time: a timestamp, in UTC without an offset, or a number of seconds
/// since 1970 (or of milliseconds or smaller units, if it is too large for seconds). `None` for
/// other formats.
pub(crate) fn until(json: &RawValue, now: SystemTime) -> Option<Duration> {
    Some(time(json)?.duration_since(now).unwrap_or_default().min(LIMIT))
}

/// A point in time: a timestamp, of UTC if it names no offset, or a number of seconds since 1970 (or of milliseconds and
/// less, if it is too large for seconds). None if it is neither.
pub(crate) fn time(json: &RawValue) -> Option<SystemTime> {
    /// In the year 5138.
    const LARGEST_SECONDS: f64 = 1e11;
    /// The maximum of a timestamp. Later times are limited to it.
    const LATEST: Duration = Duration::from_secs(253_402_300_799);
    let text = text(json);
    Some(match number(&text) {
        Some(mut seconds) => {
            for _unit in ["ms", "µs", "ns"] {
                if seconds > LARGEST_SECONDS {
                    seconds /= 1000.0;
                }
            }
            let since_1970 = Duration::try_from_secs_f64(seconds).map_or(LATEST, |since| since.min(LATEST));
            SystemTime::UNIX_EPOCH + since_1970
        }
        None => match text.parse::<Timestamp>() {
            Ok(end) => end.into(),
            Err(_) => text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp().into(),
        },
    })
}

/// A JSON string without its quotes, or other JSON as written.
fn text(json: &RawValue) -> String {
    serde_json::from_str(json.get())
        .map_or_else(|_| json.get().to_owned(), |text: String| text.trim().to_owned())
}

/// A number that is not negative. Words such as `inf` and `NaN` are rejected; a number that is too
/// large is infinite.
fn number(text: &str) -> Option<f64> {
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| text.parse().ok())?
}

fn seconds_of(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).map_or(LIMIT, |length| length.min(LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_length_is_read_in_every_likely_form() {
        for (json, seconds) in [
            ("3600", 3600.0),
            ("3600.0", 3600.0),
            ("3.6e3", 3600.0),
            ("0.5", 0.5),
            ("0", 0.0),
            ("\"3600\"", 3600.0),
            ("\" 3600.5 \"", 3600.5),
            ("\"90s\"", 90.0),
            ("\"1h30m\"", 5400.0),
            ("\"1h 30m\"", 5400.0),
            ("\"1H30M\"", 5400.0),
            ("\"1.5h\"", 5400.0),
            ("\"1h30m0s\"", 5400.0),
            ("\"500ms\"", 0.5),
            ("\"7d\"", 604_800.0),
            ("\"1d12h\"", 129_600.0),
            ("\"2 hours\"", 7200.0),
            ("\"PT1H30M\"", 5400.0),
            ("\"P1DT2H\"", 93_600.0),
            ("\"pt90s\"", 90.0),
            ("\"P1W\"", 604_800.0),
            ("\"PT0S\"", 0.0),
        ] {
            assert_eq!(length(&raw(json)).map(|length| length.as_secs_f64()), Some(seconds), "{json}");
        }
    }

    #[test]
    fn an_invalid_length_is_refused() {
        for json in [
            "-1",
            "-0.5",
            "\"-1\"",
            "\"-1h\"",
            "\"1h ago\"",
            "\"NaN\"",
            "\"inf\"",
            "\"-inf\"",
            "\"Infinity\"",
            "true",
            "[]",
            "{}",
            "\"\"",
            "\"soon\"",
            "\"1 month\"",
            "\"P1Y\"",
            "\"1h30\"",
            "\"0x10\"",
            "[3600]",
        ] {
            assert_eq!(length(&raw(json)), None, "{json}");
        }
    }

    #[test]
    fn no_length_is_too_large_to_add() {
        for json in ["18446744073709551615", "1e400", "1e19", "\"99999999999999999999\"", "\"100000d\""] {
            assert_eq!(length(&raw(json)), Some(LIMIT), "{json}");
            assert!(SystemTime::now().checked_add(LIMIT).is_some());
        }
    }

    #[test]
    fn a_point_in_time_is_read_in_every_likely_form() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        for (json, seconds) in [
            ("\"2027-01-15T08:01:00Z\"", 60.0),
            ("\"2027-01-15T08:01:00.500000Z\"", 60.5),
            ("\"2027-01-15T09:01:00+01:00\"", 60.0),
            ("\"2027-01-15 08:01:00Z\"", 60.0),
            ("\"2027-01-15T08:01:00\"", 60.0),
            ("1800000060", 60.0),
            ("1800000060.5", 60.5),
            ("\"1800000060\"", 60.0),
            ("1800000060000", 60.0),
            ("1800000060000000", 60.0),
            ("1", 0.0),
            ("\"1969-12-31T00:00:00Z\"", 0.0),
            ("1e400", LIMIT.as_secs_f64()),
            ("\"9999-01-01T00:00:00Z\"", LIMIT.as_secs_f64()),
        ] {
            let found = until(&raw(json), now).map(|until| until.as_secs_f64());
            assert!(found.is_some_and(|found| (found - seconds).abs() < 0.01), "{json}: {found:?}");
        }
        for json in ["-1", "\"soon\"", "\"NaN\"", "null", "true", "{}", "\"10:00\""] {
            assert_eq!(until(&raw(json), now), None, "{json}");
        }
    }
}
