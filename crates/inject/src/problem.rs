//! What is wrong with a pod's annotations, said so that a reader can mend it.

use std::{borrow::Cow, fmt};

pub use scaivault_contract::Excerpt;
use scaivault_contract::names::ANNOTATION_PREFIX;

pub(crate) use crate::layer::Layer;

/// The most problems one answer spells out. The API server's clients show the text on one line.
const PROBLEMS_KEPT: usize = 32;
/// The most bytes of all problems in one text, but that the first is always there.
const TEXT_BYTES: usize = 16 * 1024;
/// The problems that say what was probably meant; a search for it costs more than the problem itself.
const PROBLEMS_HINTED: usize = 8;

/// One mistake: the key and value it is about, what is allowed, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable identifier, the anchor in `docs/annotations.md`.
    pub code: Code,
    /// The annotation without its prefix, where the problem is about one; with [`Code::InvalidPolicy`] the field of the policy, below
    /// its `spec` or `metadata`.
    pub key: Option<String>,
    /// Where the value was written.
    pub layer: Layer,
    /// The first characters of the value; none where the value must not be quoted (templates) or there is none.
    pub value: Option<Excerpt>,
    /// What is wrong, lower case, no full stop.
    pub message: Cow<'static, str>,
    /// The accepted values, for error messages.
    pub allowed: Option<Cow<'static, str>>,
    /// What to do.
    pub cure: Cow<'static, str>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, key, layer, value, message, allowed, cure } = self;
        if let Some(key) = key {
            match layer {
                Layer::Pod => write!(f, "{ANNOTATION_PREFIX}{}", shown_key(key))?,
                Layer::Policy(name) if *code == Code::InvalidPolicy => {
                    write!(f, "{key} (of the policy {})", shown_key(name))?;
                }
                // Not an annotation, though the words are the same.
                Layer::Policy(name) => write!(f, "{} (of the policy {name})", shown_key(key))?,
                other => write!(f, "{ANNOTATION_PREFIX}{} (of the {other})", shown_key(key))?,
            }
            f.write_str(": ")?;
        }
        // The errors of the shared types quote their text themselves.
        if let Some(value) =
            value.as_ref().map(ToString::to_string).filter(|value| !message.starts_with(value.as_str()))
        {
            write!(f, "{value}: ")?;
        }
        f.write_str(message)?;
        if let Some(allowed) = allowed {
            write!(f, "; allowed: {allowed}")?;
        }
        write!(f, "; to fix: {cure} [{}]", code.name())
    }
}

/// The longest name of an annotation behind its prefix, bytes.
const KEY_BYTES: usize = 63;

/// A key without its prefix, as it may stand in a text: as it is if Kubernetes allows it, else quoted and cut. A review
/// comes before the API server validates, and need not come from it: such a key may be prose with line breaks.
pub fn shown_key(key: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if key.len() <= KEY_BYTES && key.bytes().all(plain) {
        Cow::Borrowed(key)
    } else {
        Cow::Owned(Excerpt::new(key).to_string())
    }
}

/// What kind of mistake: a stable word, the anchor in `docs/annotations.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// A value that its key does not take.
    InvalidValue,
    /// A value that is no string.
    NotAString,
    /// `inject: "true"` and nothing named.
    NothingToInject,
    /// No key asks for a secret, and an unknown one is nearest to one that would.
    MisspeltKey,
    /// A key that asks for a secret, or opts out, where nothing reads it.
    MisplacedKey,
    /// `secret-…-<name>` for a name that no `inject-…-<name>` selects.
    UnknownName,
    /// Two files that cannot both be.
    FileConflict,
    /// Options of one file that contradict each other or what is written.
    FormatConflict,
    /// Keys that contradict the pattern.
    PatternConflict,
    /// A container that is not there.
    UnknownContainer,
    /// A signal without a target or the other way round.
    IncompleteReload,
    /// A target that may be in several containers.
    AmbiguousReload,
    /// Both ways of reloading at once.
    ReloadConflict,
    /// The pod forbids what a reload signal needs.
    ProcessNamespace,
    /// The pod has no loopback of its own.
    NetworkNamespace,
    /// A private authority is to be trusted and none is named.
    TrustConflict,
    /// The agent's uid does not fit the pod.
    RunAsUser,
    /// Resources that cannot hold.
    Resources,
    /// A mount of the pod's at or below the mount path.
    MountConflict,
    /// A reader that cannot read a file of this mode.
    UnreadableFile,
    /// A variable of that name is already there.
    VariableConflict,
    /// The cluster is too old.
    KubeVersion,
    /// The platform's allow-list does not cover a value.
    NotAllowed,
    /// More mappings than one variable can hold.
    TooLarge,
    /// A name that belongs to the injector is taken.
    ReservedName,
    /// A pod for Windows nodes.
    Windows,
    /// The injector's configuration file.
    Configuration,
    /// A policy that cannot be compiled.
    InvalidPolicy,
    /// A policy's limits do not cover a value.
    PolicyLimit,
    /// Two policies that disagree.
    PolicyConflict,
    /// A variable that cannot be filled.
    PolicyVariable,
    /// A variable whose label or annotation the pod does not have.
    VariableWithoutValue,
    /// Opting out where a policy forbids it.
    PolicyOptOut,
}

impl Code {
    /// Every code, for documentation.
    pub const ALL: &'static [Self] = &[
        Self::InvalidValue,
        Self::NotAString,
        Self::NothingToInject,
        Self::MisspeltKey,
        Self::MisplacedKey,
        Self::UnknownName,
        Self::FileConflict,
        Self::FormatConflict,
        Self::PatternConflict,
        Self::UnknownContainer,
        Self::IncompleteReload,
        Self::AmbiguousReload,
        Self::ReloadConflict,
        Self::ProcessNamespace,
        Self::NetworkNamespace,
        Self::TrustConflict,
        Self::RunAsUser,
        Self::Resources,
        Self::MountConflict,
        Self::UnreadableFile,
        Self::VariableConflict,
        Self::KubeVersion,
        Self::NotAllowed,
        Self::TooLarge,
        Self::ReservedName,
        Self::Windows,
        Self::Configuration,
        Self::InvalidPolicy,
        Self::PolicyLimit,
        Self::PolicyConflict,
        Self::PolicyVariable,
        Self::VariableWithoutValue,
        Self::PolicyOptOut,
    ];

    /// The code's word.
    pub const fn name(self) -> &'static str {
        self.entry().0
    }

    /// Whether its problems name the policies that they are about.
    pub(crate) const fn is_about_policies(self) -> bool {
        matches!(
            self,
            Self::InvalidPolicy
                | Self::PolicyLimit
                | Self::PolicyConflict
                | Self::PolicyVariable
                | Self::PolicyOptOut
        )
    }

    /// What the code stands for, one sentence.
    pub const fn doc(self) -> &'static str {
        self.entry().1
    }

    const fn entry(self) -> (&'static str, &'static str) {
        match self {
            Self::InvalidValue => ("invalid-value", "The key does not take this value."),
            Self::NotAString => (
                "not-a-string",
                "The value is a number, true or false, null, a list or an object. The API server takes strings only.",
            ),
            Self::NothingToInject => {
                ("nothing-to-inject", "`inject` is `true` and no annotation names a secret.")
            }
            Self::MisspeltKey => (
                "misspelt-key",
                "An unknown key is nearest to one that asks for a secret, and no other key asks for one; or it is nearest to \
                 `inject` or `mutation-mode`, was to opt out, and other keys ask for secrets.",
            ),
            Self::MisplacedKey => (
                "misplaced-key",
                "A key stands where the injector does not read it. It asks for a secret, and no key that is read does; or it \
                 opts out, and the pod would be injected all the same.",
            ),
            Self::UnknownName => ("unknown-name", "An option names a file that no annotation selects."),
            Self::FileConflict => (
                "file-conflict",
                "Two secrets want the same file, or one a directory where another has a file.",
            ),
            Self::FormatConflict => (
                "format-conflict",
                "Options of a file contradict one another (a template and a format), or what is written into it.",
            ),
            Self::PatternConflict => {
                ("pattern-conflict", "The pattern `init` cannot do what other keys ask for.")
            }
            Self::UnknownContainer => ("unknown-container", "The pod has no container of that name."),
            Self::IncompleteReload => {
                ("incomplete-reload", "`reload-signal` and `reload-target` need one another.")
            }
            Self::AmbiguousReload => (
                "ambiguous-reload",
                "Several containers read the secrets, and the reload target does not say which.",
            ),
            Self::ReloadConflict => (
                "reload-conflict",
                "`reload-url` and `reload-signal` exclude each other: choose one way to notify the application.",
            ),
            Self::NetworkNamespace => (
                "network-namespace",
                "`reload-url` needs a network namespace of the pod's own: with `hostNetwork` its loopback is the node's.",
            ),
            Self::TrustConflict => (
                "trust-conflict",
                "Only a private authority is to be trusted, and no `ca-configmap` names one.",
            ),
            Self::ProcessNamespace => (
                "process-namespace",
                "A reload signal needs a process namespace of the pod's own that all containers share.",
            ),
            Self::RunAsUser => ("run-as-user", "The agent cannot run as this user beside these containers."),
            Self::Resources => {
                ("resources", "The agent's requests and limits contradict one another or the volume's size.")
            }
            Self::MountConflict => (
                "mount-conflict",
                "A container mounts something at the mount path, or below it where the agent cannot make the mount point.",
            ),
            Self::UnreadableFile => {
                ("unreadable-file", "A container runs as a user who could not read a file of this mode.")
            }
            Self::VariableConflict => {
                ("variable-conflict", "A container already has a variable of that name.")
            }
            Self::KubeVersion => ("kube-version", "The cluster's Kubernetes is too old for a key."),
            Self::NotAllowed => ("not-allowed", "The platform's allow-list does not cover the value."),
            Self::TooLarge => (
                "too-large",
                "Something of the pod is larger than the injector handles; the message names it and the limit.",
            ),
            Self::ReservedName => {
                ("reserved-name", "A name that belongs to the injector is taken by something it did not add.")
            }
            Self::Windows => ("windows", "The agent has no image for Windows nodes."),
            Self::Configuration => {
                ("configuration", "The injector's configuration file says something it cannot mean.")
            }
            Self::InvalidPolicy => ("invalid-policy", "A policy says something that no policy can say."),
            Self::PolicyLimit => ("policy-limit", "The policies that limit the pod do not allow the value."),
            Self::PolicyConflict => {
                ("policy-conflict", "Two policies that select the pod contradict one another.")
            }
            Self::PolicyVariable => (
                "policy-variable",
                "A variable such as `${namespace}` is unknown, cannot stand there, or has a value that no path takes.",
            ),
            Self::VariableWithoutValue => (
                "variable-without-value",
                "The pod lacks the label or annotation of a variable. When a workload is applied this is a warning: a controller may set it on the pods.",
            ),
            Self::PolicyOptOut => ("policy-opt-out", "A policy forbids the pod to opt out of injection."),
        }
    }
}

/// All that is wrong with a pod, in the order in which it was found. Never empty inside a [`crate::Decision`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// At most [`PROBLEMS_KEPT`]: a pod can be wrong in more ways than anybody reads, or memory holds.
    kept: Vec<Problem>,
    more: usize,
}

impl Problems {
    /// None yet.
    pub const fn new() -> Self {
        Self { kept: Vec::new(), more: 0 }
    }

    /// Adds one; beyond the first 32 it is only counted.
    pub fn push(&mut self, problem: Problem) {
        if self.kept.len() < PROBLEMS_KEPT {
            self.kept.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// Adds all of `others`.
    pub(crate) fn append(&mut self, others: &Self) {
        for problem in others {
            self.push(problem.clone());
        }
        self.more += others.more;
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many there are, those that are only counted included.
    pub fn len(&self) -> usize {
        self.kept.len() + self.more
    }

    /// Whether all are of one kind, and all are kept.
    pub(crate) fn are_all(&self, code: Code) -> bool {
        self.more == 0 && self.kept.iter().all(|problem| problem.code == code)
    }

    /// Adds one that is only made where it is kept: a pod may have thousands of the same kind.
    pub(crate) fn push_with(&mut self, problem: impl FnOnce() -> Problem) {
        if !self.only_counts() {
            self.kept.push(problem());
        }
    }

    /// Counts one where no more are kept, and says so.
    fn only_counts(&mut self) -> bool {
        let is_full = self.kept.len() >= PROBLEMS_KEPT;
        self.more += usize::from(is_full);
        is_full
    }

    /// Whether it is worth while to look for what the next one may have meant: only for the first problems.
    pub(crate) fn takes_hint(&self) -> bool {
        self.kept.len() < PROBLEMS_HINTED
    }

    /// One by one, as far as they are kept, to be changed.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Problem> {
        self.kept.iter_mut()
    }

    /// One by one, as far as they are kept.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.kept.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { kept: vec![problem], more: 0 }
    }
}

/// Lets the CLI replace a value by the file's own text.
impl<'a> IntoIterator for &'a mut Problems {
    type Item = &'a mut Problem;
    type IntoIter = std::slice::IterMut<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
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
        if let [only] = self.kept.as_slice() {
            return write!(f, "{only}");
        }
        write!(f, "{} problems", self.len())?;
        let mut bytes = 0;
        for (index, problem) in self.kept.iter().enumerate() {
            let text = problem.to_string();
            bytes += text.len();
            if index > 0 && bytes > TEXT_BYTES {
                return write!(f, " and {} more", self.len() - index);
            }
            write!(f, " ({}) {text}", index + 1)?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_kubernetes_does_not_allow_is_quoted_and_cut() {
        assert_eq!(shown_key("inject-secret-db.json"), "inject-secret-db.json");
        assert_eq!(shown_key("inject-\nCall us"), r#""inject-\nCall us""#);
        assert_eq!(shown_key(&"x".repeat(64)), format!("\"{}…\"", "x".repeat(40)));
    }

    #[test]
    fn codes_are_distinct_words_with_a_sentence() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| code.doc().ends_with('.')));
    }
}
