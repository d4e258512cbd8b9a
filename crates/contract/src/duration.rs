//! ScaiVault's durations: one number, one unit.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use thiserror::Error;

use crate::Excerpt;

/// A duration as ScaiVault writes it, such as `5m`.
///
/// It keeps the unit in which it was written, and is compared by length: `60s` equals `1m`.
#[derive(Clone, Copy, Debug)]
pub struct Duration {
    count: u64,
    unit: Unit,
}

impl Duration {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "one whole number and one unit (s, m, h or d), greater than zero and at most 366d, such \
         as 30s or 5m";

    /// A duration of zero. [`FromStr`] rejects it; [`Self::parse_allowing_zero`] accepts it.
    pub const ZERO: Self = Self { count: 0, unit: Unit::Second };

    /// The maximum: a leap year. ScaiVault's longest published duration is 90 days.
    pub const MAX: Self = Self { count: 366, unit: Unit::Day };

    /// The duration in the largest unit without a remainder; capped at [`Self::MAX`].
    pub const fn from_secs(seconds: u64) -> Self {
        let unit = match seconds {
            0 => return Self::ZERO,
            _ if seconds > Self::MAX.as_secs() => return Self::MAX,
            _ if seconds.is_multiple_of(Unit::Day.as_secs()) => Unit::Day,
            _ if seconds.is_multiple_of(Unit::Hour.as_secs()) => Unit::Hour,
            _ if seconds.is_multiple_of(Unit::Minute.as_secs()) => Unit::Minute,
            _ => Unit::Second,
        };
        Self { count: seconds / unit.as_secs(), unit }
    }

    /// Parses a duration that may be zero (`0s`), for settings that give zero a meaning.
    pub fn parse_allowing_zero(text: &str) -> Result<Self, DurationError> {
        parse(text).map_err(|fault| DurationError { text: Excerpt::new(text), fault })
    }

    /// The length in seconds.
    pub const fn as_secs(self) -> u64 {
        self.count * self.unit.as_secs()
    }

    /// The duration as a standard library type.
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.as_secs())
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let duration = Self::parse_allowing_zero(text)?;
        if duration == Self::ZERO {
            return Err(DurationError { text: Excerpt::new(text), fault: DurationFault::Zero });
        }
        Ok(duration)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, self.unit.letter())
    }
}

impl PartialEq for Duration {
    fn eq(&self, other: &Self) -> bool {
        self.as_secs() == other.as_secs()
    }
}

impl Eq for Duration {}

impl PartialOrd for Duration {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Duration {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_secs().cmp(&other.as_secs())
    }
}

impl Hash for Duration {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_secs().hash(state);
    }
}

text_in_serde!(Duration);

#[derive(Clone, Copy, Debug)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

impl Unit {
    const fn as_secs(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::Second => 's',
            Self::Minute => 'm',
            Self::Hour => 'h',
            Self::Day => 'd',
        }
    }
}

fn parse(text: &str) -> Result<Duration, DurationFault> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return Err(DurationFault::NoNumber);
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return Err(DurationFault::LeadingZero);
    }
    let unit = match unit {
        "s" => Unit::Second,
        "m" => Unit::Minute,
        "h" => Unit::Hour,
        "d" => Unit::Day,
        "" => return Err(DurationFault::NoUnit),
        other if other.contains(|c: char| c.is_ascii_digit()) => return Err(DurationFault::Compound),
        other if other.contains(char::is_whitespace) => return Err(DurationFault::Space),
        _ => return Err(DurationFault::UnknownUnit),
    };
    // The number is checked before it is multiplied, so the multiplication cannot overflow.
    match digits.parse::<u64>() {
        Ok(count) if count <= Duration::MAX.as_secs() / unit.as_secs() => Ok(Duration { count, unit }),
        _ => Err(DurationFault::TooLong),
    }
}

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not a duration: {fault}; allowed: {}", Duration::ALLOWED)]
pub struct DurationError {
    /// The text.
    pub text: Excerpt,
    /// Why it is rejected.
    pub fault: DurationFault,
}

/// Why a duration is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DurationFault {
    /// It does not start with a digit.
    #[error("it does not start with a whole number")]
    NoNumber,
    /// `05m`.
    #[error("remove the leading zeros")]
    LeadingZero,
    /// `300`.
    #[error("it has no unit, such as the s of 30s")]
    NoUnit,
    /// `1h30m`.
    #[error("it has more than one number; write the sum in the smaller unit, such as 90m for 1h30m")]
    Compound,
    /// `5 m`.
    #[error("it has a space in it")]
    Space,
    /// `5min`, `500ms`, `2w`.
    #[error("its unit is not one of s, m, h and d")]
    UnknownUnit,
    /// Zero.
    #[error("it is zero")]
    Zero,
    /// More than [`Duration::MAX`].
    #[error("it is longer than 366d")]
    TooLong,
}

#[cfg(test)]
mod tests;
