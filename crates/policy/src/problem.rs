//! Problems of a policy.

use std::fmt;

use scaivault_contract::write_errors;

/// Maximum number of problems that are spelled out; the others are counted.
const PROBLEMS_KEPT: usize = 32;

/// The field of problems that concern several fields.
pub(crate) const WHOLE: &str = "spec";

/// A problem of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyProblem {
    /// The field, such as `spec.inject.secrets[2].path`.
    pub field: String,
    /// What is wrong, what is expected and how to fix it, in lower case without a full stop.
    pub message: String,
}

impl PolicyProblem {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, message } = self;
        write!(f, "{field}: {message}")
    }
}

/// The problems of a policy, in the order of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyProblems {
    kept: Vec<PolicyProblem>,
    more: usize,
}

impl PolicyProblems {
    /// No problems.
    pub const fn new() -> Self {
        Self { kept: Vec::new(), more: 0 }
    }

    /// Adds a problem; after the first 32 it is only counted.
    pub fn push(&mut self, problem: PolicyProblem) {
        if self.kept.len() < PROBLEMS_KEPT {
            self.kept.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// Whether there is a problem of this field.
    pub(crate) fn has_field(&self, field: &str) -> bool {
        self.kept.iter().any(|problem| problem.field == field)
    }

    pub(crate) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.push(PolicyProblem::new(field, message));
    }

    /// Adds the problems of `others` whose field has no problem yet, or that have no field.
    pub(crate) fn append_new(&mut self, others: &Self) {
        let known = self.kept.len();
        for problem in others {
            let is_other = |known: &PolicyProblem| {
                // If the name of an item is wrong, its other problems are omitted.
                let item = known.field.strip_suffix(".name").unwrap_or(&known.field);
                !item.starts_with(&problem.field) && !problem.field.starts_with(item)
            };
            if problem.field == WHOLE || self.kept[..known].iter().all(is_other) {
                self.push(problem.clone());
            }
        }
        self.more += others.more;
    }

    /// Whether there are no problems.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The number of problems, including those that are only counted.
    pub fn len(&self) -> usize {
        self.kept.len() + self.more
    }

    /// Iterates over the problems that were kept.
    pub fn iter(&self) -> std::slice::Iter<'_, PolicyProblem> {
        self.kept.iter()
    }
}

impl FromIterator<PolicyProblem> for PolicyProblems {
    fn from_iter<I: IntoIterator<Item = PolicyProblem>>(problems: I) -> Self {
        let mut all = Self::new();
        problems.into_iter().for_each(|problem| all.push(problem));
        all
    }
}

impl<'a> IntoIterator for &'a PolicyProblems {
    type Item = &'a PolicyProblem;
    type IntoIter = std::slice::Iter<'a, PolicyProblem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for PolicyProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heading = format_args!("{} problems", self.len());
        write_errors(f, heading, &self.kept, PROBLEMS_KEPT, self.more)
    }
}
