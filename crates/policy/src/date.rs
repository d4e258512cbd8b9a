//! The date on which an exception ends.

use std::{borrow::Cow, fmt, str::FromStr};

use jiff::{ToSpan as _, civil, tz::TimeZone};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A day, written as `2027-01-31`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date(civil::Date);

/// The text is not a date.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected a date such as 2027-01-31")]
pub struct DateError;

impl Date {
    /// The end of the day: the start of the next one in UTC, in Unix seconds.
    pub fn end(self) -> i64 {
        self.0.checked_add(1.day()).map_or(i64::MAX, seconds)
    }

    /// The start of the day in UTC, in Unix seconds.
    pub fn start(self) -> i64 {
        seconds(self.0)
    }
}

fn seconds(date: civil::Date) -> i64 {
    date.to_zoned(TimeZone::UTC).map_or(i64::MAX, |zoned| zoned.timestamp().as_second())
}

impl FromStr for Date {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        // The parser also accepts `20270131` and a time after the date, which the API server
        // rejects.
        let has_shape = text.len() == 10
            && text.bytes().enumerate().all(|(index, byte)| match index {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        text.parse().ok().filter(|_| has_shape).map(Self).ok_or(DateError)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for Date {
    type Error = DateError;

    fn try_from(text: String) -> Result<Self, DateError> {
        text.parse()
    }
}

impl From<Date> for String {
    fn from(date: Date) -> Self {
        date.to_string()
    }
}

impl JsonSchema for Date {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Date".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_lasts_until_the_next_one() {
        let date: Date = "1970-01-02".parse().unwrap();
        assert_eq!((date.start(), date.end()), (86_400, 2 * 86_400));
        assert_eq!(date.to_string(), "1970-01-02");
    }

    #[test]
    fn an_invalid_day_is_refused() {
        for text in ["", "2027-02-30", "2027-1-31", "20270131", "2027-01-31T00:00", "soon", "+002027-01-31"] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
    }
}
