//! Maintenance windows.

use std::str::FromStr;

use cronexpr::{Crontab, MakeTimestamp};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use scaivault_contract::{Duration, Excerpt};
use thiserror::Error;

use crate::source::digest;

/// The maximum length of a window, because a longer one could be open all the time.
const MAX_DURATION: u64 = 7 * 24 * 3600;

/// The maximum length of a window's text in bytes.
const MAX_BYTES: usize = 256;

/// A period in which restarts are allowed: from each time of a cron expression, for a duration.
#[derive(Clone, Debug)]
pub struct Window {
    cron: Crontab,
    duration: SignedDuration,
    text: Box<str>,
}

impl PartialEq for Window {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Whether restarts are allowed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Restarts are allowed.
    Open,
    /// Restarts are not allowed.
    Closed {
        /// When the next window opens, Unix seconds; `None` if none opens again.
        opens: Option<i64>,
    },
}

impl Window {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "a cron expression of five fields, `for` a duration of at most 7d, and `in` a time zone, such as \
         \"0 2 * * 1-5 for 4h in Europe/Amsterdam\" (without `in`, UTC)";

    /// Whether the window is open at `now`, Unix seconds.
    pub fn opening(&self, now: i64) -> Opening {
        let Some(now) = Timestamp::from_second(now).ok() else { return Opening::Closed { opens: None } };
        let began = now.checked_sub(self.duration).ok();
        // The search finds a window that begins exactly at the end of another one.
        let last = began.and_then(|began| next(&self.cron, began));
        if last.is_some_and(|last| last <= now) {
            return Opening::Open;
        }
        Opening::Closed { opens: last.map(Timestamp::as_second) }
    }
}

/// The first time of a cron expression after `time`, within four years.
fn next(cron: &Crontab, time: Timestamp) -> Option<Timestamp> {
    cron.find_next(MakeTimestamp(time)).ok().map(|next| next.timestamp())
}

/// A digest that identifies a list of windows.
pub(crate) fn digest_of(windows: &[Window]) -> u64 {
    digest(&windows.iter().map(|window| &*window.text).collect::<Vec<_>>())
}

/// Whether one of the windows is open; without any, restarts are always allowed.
pub(crate) fn opening(windows: &[Window], now: i64) -> Opening {
    let mut opens: Option<i64> = None;
    for window in windows {
        match window.opening(now) {
            Opening::Open => return Opening::Open,
            Opening::Closed { opens: next } => opens = [opens, next].into_iter().flatten().min(),
        }
    }
    if windows.is_empty() { Opening::Open } else { Opening::Closed { opens } }
}

/// A text that is not a maintenance window.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not a maintenance window: {fault}; allowed: {}", Window::ALLOWED)]
pub struct WindowError {
    /// The text.
    pub text: Excerpt,
    /// What is wrong with it.
    pub fault: WindowFault,
}

/// What is wrong with a maintenance window.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WindowFault {
    /// The text is too long.
    #[error("it has more than {MAX_BYTES} bytes")]
    TooLong,
    /// The duration is missing.
    #[error("`for` and a duration are missing")]
    NoDuration,
    /// The duration is invalid.
    #[error("the duration {0} is not between 1m and 7d")]
    Duration(Excerpt),
    /// The cron expression does not have five fields.
    #[error("the cron expression has {0} fields instead of five")]
    Fields(usize),
    /// The cron expression is invalid.
    #[error("the cron expression cannot be read")]
    Cron,
    /// The cron expression matches no day.
    #[error("it does not open within four years")]
    Never,
    /// The time zone is not known.
    #[error("the time zone {0} is not known")]
    Zone(Excerpt),
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        parse(text.trim()).map_err(|fault| WindowError { text: Excerpt::new(text), fault })
    }
}

fn parse(text: &str) -> Result<Window, WindowFault> {
    if text.len() > MAX_BYTES {
        return Err(WindowFault::TooLong);
    }
    let (cron, rest) = text.split_once(" for ").ok_or(WindowFault::NoDuration)?;
    let (duration, zone) = rest.split_once(" in ").unwrap_or((rest, "UTC"));
    let seconds = duration.trim().parse::<Duration>().map(Duration::as_secs).unwrap_or_default();
    if !(60..=MAX_DURATION).contains(&seconds) {
        return Err(WindowFault::Duration(Excerpt::new(duration.trim())));
    }
    let fields = cron.split_ascii_whitespace().count();
    if fields != 5 {
        return Err(WindowFault::Fields(fields));
    }
    let zone = zone.trim();
    // Checked separately, so that the error names the invalid part.
    TimeZone::get(zone).map_err(|_| WindowFault::Zone(Excerpt::new(zone)))?;
    let cron = cronexpr::parse_crontab(&format!("{cron} {zone}")).map_err(|_| WindowFault::Cron)?;
    // The calendar repeats, so the start of the search does not matter.
    next(&cron, Timestamp::UNIX_EPOCH).ok_or(WindowFault::Never)?;
    let duration = SignedDuration::from_secs(seconds.cast_signed());
    Ok(Window { cron, duration, text: text.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[track_caller]
    fn check(window: &str, now: &str, expected: Result<(), Option<&str>>) {
        let expected = match expected {
            Ok(()) => Opening::Open,
            Err(opens) => Opening::Closed { opens: opens.map(at) },
        };
        assert_eq!(window.parse::<Window>().unwrap().opening(at(now)), expected, "{window} at {now}");
    }

    #[test]
    fn a_window_is_open_from_its_time_for_its_duration() {
        let nightly = "0 2 * * * for 4h";
        check(nightly, "2026-11-27T01:59:59Z", Err(Some("2026-11-27T02:00:00Z")));
        check(nightly, "2026-11-27T02:00:00Z", Ok(()));
        check(nightly, "2026-11-27T05:59:59Z", Ok(()));
        check(nightly, "2026-11-27T06:00:00Z", Err(Some("2026-11-28T02:00:00Z")));
        check("0 22 * * 5 for 1d", "2026-11-28T12:00:00Z", Ok(()));
    }

    #[test]
    fn a_window_follows_its_time_zone_through_daylight_saving() {
        let local = "0 2 * * * for 1h in Europe/Amsterdam";
        check(local, "2026-07-01T00:30:00Z", Ok(()));
        check(local, "2026-12-01T00:30:00Z", Err(Some("2026-12-01T01:00:00Z")));
        check(local, "2026-12-01T01:30:00Z", Ok(()));
    }

    #[test]
    fn several_windows_open_at_the_first_of_them() {
        let windows: Vec<Window> =
            ["0 2 * * * for 1h", "0 20 * * * for 1h"].iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(opening(&windows, at("2026-11-27T20:30:00Z")), Opening::Open);
        let closed = opening(&windows, at("2026-11-27T12:00:00Z"));
        assert_eq!(closed, Opening::Closed { opens: Some(at("2026-11-27T20:00:00Z")) });
        assert_eq!(opening(&[], 0), Opening::Open);
    }

    #[test]
    fn mistakes_are_explained() {
        for (text, expected) in [
            ("0 2 * * *", "`for` and a duration are missing"),
            ("0 2 * * * for 30s", "the duration \"30s\" is not between 1m and 7d"),
            ("0 2 * * * for 8d", "the duration \"8d\""),
            ("0 2 * * for 1h", "has 4 fields instead of five"),
            ("* 0 2 * * * for 1h", "has 6 fields instead of five"),
            ("0 25 * * * for 1h", "the cron expression cannot be read"),
            ("0 0 31 2,4,6,9,11 * for 1h", "does not open within four years"),
            ("0 2 * * * for 1h in Europe/Atlantis", "the time zone \"Europe/Atlantis\" is not known"),
        ] {
            let said = text.parse::<Window>().unwrap_err().to_string();
            assert!(said.contains(expected) && said.contains("allowed: a cron"), "{said}");
        }
    }
}
