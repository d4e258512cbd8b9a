//! What is wrong with the environment.

use std::fmt;

use thiserror::Error;

/// The most problems that are spelled out: the kubelet cuts a termination message at 4 KiB.
const PROBLEMS_SHOWN: usize = 16;

/// A variable that is malformed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    variable: &'static str,
    what: String,
}

impl Problem {
    /// `what` says what is wrong, and the cure.
    pub(crate) fn new(variable: &'static str, what: impl fmt::Display) -> Self {
        Self { variable, what: what.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.what)
    }
}

/// All that is wrong with the environment; at least one problem.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    /// `value` where there is no problem.
    pub(crate) fn or<T>(problems: Vec<Problem>, value: T) -> Result<T, Self> {
        if problems.is_empty() { Ok(value) } else { Err(Self(problems)) }
    }
}

impl fmt::Display for Problems {
    /// On one line, as Events and termination messages are shown.
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
