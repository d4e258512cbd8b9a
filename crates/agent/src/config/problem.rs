//! Problems in the environment.

use std::fmt;

use thiserror::Error;

/// The maximum number of problems that are listed, because the kubelet truncates termination
/// messages at 4 KiB.
const PROBLEMS_SHOWN: usize = 16;

/// A malformed variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    variable: &'static str,
    what: String,
}

impl Problem {
    /// `what` describes the problem and the fix.
    pub(crate) fn new(variable: &'static str, what: impl fmt::Display) -> Self {
        Self { variable, what: what.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.what)
    }
}

/// All problems in the environment; at least one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    /// `value` if there are no problems.
    pub(crate) fn or<T>(problems: Vec<Problem>, value: T) -> Result<T, Self> {
        if problems.is_empty() { Ok(value) } else { Err(Self(problems)) }
    }
}

impl fmt::Display for Problems {
    /// On one line, because Events and termination messages are displayed on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(problems) = self;
        if let [only] = problems.as_slice() {
            return write!(f, "{only}");
        }
        write!(f, "the environment has {} mistakes:", problems.len())?;
        for (index, problem) in problems.iter().take(PROBLEMS_SHOWN).enumerate() {
            write!(f, " ({}) {problem}", index + 1)?;
        }
        match problems.len().checked_sub(PROBLEMS_SHOWN) {
            Some(more @ 1..) => write!(f, " and {more} more"),
            _ => Ok(()),
        }
    }
}
