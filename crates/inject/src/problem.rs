//! What is wrong with a pod's annotations, said so that a reader can mend it.

use std::{borrow::Cow, fmt};

use scaivault_contract::names::ANNOTATION_PREFIX;

/// The most characters of a value that a problem quotes: enough to recognise it, too few to leak one by accident.
pub const EXCERPT_CHARS: usize = 40;

/// The most problems one answer spells out. The API server's clients show the text on one line, and a pod may
/// carry 256 KiB of annotations.
pub const PROBLEMS_SHOWN: usize = 32;

/// Where a setting was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// The injector's own configuration.
    Injector,
    /// An annotation of the namespace.
    Namespace,
    /// The annotation `scaikey.scailabs.ai/role` of the service account.
    ServiceAccount,
    /// An annotation of the pod (template).
    Pod,
}

impl Layer {
    /// The layer's name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Injector => "injector",
            Self::Namespace => "namespace",
            Self::ServiceAccount => "service account",
            Self::Pod => "pod",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One mistake: the key and value it is about, what is allowed, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable identifier, the anchor in `docs/annotations.md`.
    pub code: &'static str,
    /// The annotation without its prefix, where the problem is about one.
    pub key: Option<String>,
    /// Where the value was written.
    pub layer: Layer,
    /// The first characters of the value; none where the value must not be quoted (templates) or there is none.
    pub value: Option<Excerpt>,
    /// What is wrong, lower case, no full stop.
    pub message: Cow<'static, str>,
    /// What may stand there.
    pub allowed: Option<Cow<'static, str>>,
    /// What to do.
    pub cure: Cow<'static, str>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            key,
            layer,
            value,
            message,
            allowed,
            cure,
        } = self;
        if let Some(key) = key {
            write!(f, "{ANNOTATION_PREFIX}{key}")?;
            match layer {
                Layer::Pod => {}
                other => write!(f, " (of the {other})")?,
            }
            f.write_str(": ")?;
        }
        if let Some(value) = value {
            write!(f, "{value}: ")?;
        }
        f.write_str(message)?;
        if let Some(allowed) = allowed {
            write!(f, "; allowed: {allowed}")?;
        }
        write!(f, "; to fix: {cure} [{code}]")
    }
}

/// The first [`EXCERPT_CHARS`] characters of a value, quoted and escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    /// An excerpt of `value`.
    pub fn new(value: &str) -> Self {
        let mut shown: String = value.chars().take(EXCERPT_CHARS).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        Self(shown)
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// All that is wrong with a pod, in the order in which it was found. Never empty inside a [`crate::Decision`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// None yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    /// One problem as itself; more as a numbered list on one line, because `kubectl` and Events show one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return write!(f, "{only}");
        }
        write!(f, "{} problems", self.0.len())?;
        for (index, problem) in self.0.iter().take(PROBLEMS_SHOWN).enumerate() {
            write!(f, " ({}) {problem}", index + 1)?;
        }
        match self.0.len().checked_sub(PROBLEMS_SHOWN) {
            Some(more @ 1..) => write!(f, " and {more} more"),
            _ => Ok(()),
        }
    }
}
