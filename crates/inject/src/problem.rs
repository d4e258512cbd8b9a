//! Problems of a pod's annotations, with a fix for each.

use std::{borrow::Cow, fmt};

pub use scaivault_contract::Excerpt;
use scaivault_contract::{names::ANNOTATION_PREFIX, write_errors};

pub(crate) use crate::layer::Layer;

/// Maximum number of problems that one response spells out. Clients of the API server show the text
/// on one line.
const PROBLEMS_KEPT: usize = 32;
/// Maximum size of all problems in one text in bytes; the first problem is always included.
const TEXT_BYTES: usize = 16 * 1024;
/// Number of problems with a suggestion of what was probably meant. Searching for it costs more
/// than the problem itself.
const PROBLEMS_HINTED: usize = 8;

/// A problem: the key and value that it is about, what is accepted, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable identifier, and the anchor in `docs/annotations.md`.
    pub code: Code,
    /// The annotation without its prefix, if the problem is about one. With
    /// [`Code::InvalidPolicy`], the field of the policy relative to its `spec` or `metadata`.
    pub key: Option<String>,
    /// The layer of the value.
    pub layer: Layer,
    /// The first characters of the value; `None` if there is no value or it must not be quoted
    /// (templates).
    pub value: Option<Excerpt>,
    /// What is wrong, in lower case, without a full stop.
    pub message: Cow<'static, str>,
    /// The accepted values.
    pub allowed: Option<Cow<'static, str>>,
    /// How to fix it.
    pub fix: Cow<'static, str>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, key, layer, value, message, allowed, fix } = self;
        if let Some(key) = key {
            match layer {
                Layer::Pod => write!(f, "{ANNOTATION_PREFIX}{}", shown_key(key))?,
                Layer::Policy(name) if *code == Code::InvalidPolicy => {
                    write!(f, "{key} (of the policy {})", shown_key(name))?;
                }
                // A policy's field, which is not an annotation although it has the same name.
                Layer::Policy(name) => write!(f, "{} (of the policy {name})", shown_key(key))?,
                other => write!(f, "{ANNOTATION_PREFIX}{} (of the {other})", shown_key(key))?,
            }
            f.write_str(": ")?;
        }
        // Errors of the types in `crates/contract` quote the value themselves.
        if let Some(value) =
            value.as_ref().map(ToString::to_string).filter(|value| !message.starts_with(value.as_str()))
        {
            write!(f, "{value}: ")?;
        }
        f.write_str(message)?;
        if let Some(allowed) = allowed {
            write!(f, "; allowed: {allowed}")?;
        }
        write!(f, "; to fix: {fix} [{}]", code.name())
    }
}

/// Maximum length of an annotation's name after its prefix, in bytes.
const KEY_BYTES: usize = 63;

/// A key without its prefix for use in messages: unchanged if Kubernetes allows it, else quoted and
/// truncated. A review arrives before the API server validates it and may come from another client,
/// so a key may contain any text.
pub fn shown_key(key: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if key.len() <= KEY_BYTES && key.bytes().all(plain) {
        Cow::Borrowed(key)
    } else {
        Cow::Owned(Excerpt::new(key).to_string())
    }
}

/// The kind of a problem: a stable identifier, and the anchor in `docs/annotations.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The key does not accept the value.
    InvalidValue,
    /// The value is not a string.
    NotAString,
    /// `inject: "true"` without any secret.
    NothingToInject,
    /// No key asks for a secret, and an unknown one resembles a key that would.
    MisspeltKey,
    /// A key that asks for a secret or opts out, in a layer where it has no effect.
    MisplacedKey,
    /// `secret-…-<name>` without an `inject-…-<name>`.
    UnknownName,
    /// Two files that cannot both exist.
    FileConflict,
    /// Options of one file that contradict each other or its source.
    FormatConflict,
    /// Keys that contradict the pattern.
    PatternConflict,
    /// The container does not exist.
    UnknownContainer,
    /// A signal without a target, or a target without a signal.
    IncompleteReload,
    /// A target that may be in several containers.
    AmbiguousReload,
    /// Both ways of reloading at once.
    ReloadConflict,
    /// A reload signal needs a shared process namespace, which the pod forbids.
    ProcessNamespace,
    /// A reload URL needs a network namespace of the pod, and the pod uses the node's.
    NetworkNamespace,
    /// A private certificate authority is to be trusted, and none is configured.
    TrustConflict,
    /// The agent's uid conflicts with the pod.
    RunAsUser,
    /// Resources that are inconsistent or too small.
    Resources,
    /// A mount of the pod conflicts with the mount path.
    MountConflict,
    /// A reader cannot read a file of this mode.
    UnreadableFile,
    /// The container already has a variable of this name.
    VariableConflict,
    /// The cluster's Kubernetes version is too old.
    KubeVersion,
    /// The platform's allow-list does not contain a value.
    NotAllowed,
    /// A limit on size is exceeded.
    TooLarge,
    /// A name that is reserved for the injector is used.
    ReservedName,
    /// The pod is for Windows nodes.
    Windows,
    /// The injector's configuration file is invalid.
    Configuration,
    /// The policy cannot be compiled.
    InvalidPolicy,
    /// A policy's limits do not allow a value.
    PolicyLimit,
    /// Two policies contradict each other.
    PolicyConflict,
    /// A policy variable that cannot be filled.
    PolicyVariable,
    /// A policy variable whose label or annotation the pod does not have.
    VariableWithoutValue,
    /// The pod opts out, which a policy forbids.
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

    /// The code's name.
    pub const fn name(self) -> &'static str {
        self.entry().0
    }

    /// Whether problems with this code name the policies that they are about.
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

    /// The meaning of the code in one sentence.
    pub const fn doc(self) -> &'static str {
        self.entry().1
    }

    #[expect(clippy::too_many_lines, reason = "a table with one entry per code")]
    const fn entry(self) -> (&'static str, &'static str) {
        match self {
            Self::InvalidValue => ("invalid-value", "The value is not allowed for this key."),
            Self::NotAString => (
                "not-a-string",
                "The value is a number, true or false, null, a list or an object. The API server only accepts strings.",
            ),
            Self::NothingToInject => {
                ("nothing-to-inject", "`inject` is `true` and no annotation names a secret.")
            }
            Self::MisspeltKey => (
                "misspelt-key",
                "An unknown key is most similar to one that requests a secret, and no other key requests one; or it is most similar \
                 to `inject` or `mutation-mode` with a value that opts out, and other keys request secrets.",
            ),
            Self::MisplacedKey => (
                "misplaced-key",
                "A key is in a place where the injector does not read it. It requests a secret, and no key that is read does; or it \
                 opts out, and the pod would be injected anyway.",
            ),
            Self::UnknownName => ("unknown-name", "An option refers to a file that no annotation injects."),
            Self::FileConflict => (
                "file-conflict",
                "Two secrets have the same file, or one needs a directory at the path of another one's file.",
            ),
            Self::FormatConflict => (
                "format-conflict",
                "Options of a file contradict each other (such as a template and a format), or do not fit its secret.",
            ),
            Self::PatternConflict => {
                ("pattern-conflict", "Other keys need the sidecar, and `pattern` is `init`.")
            }
            Self::UnknownContainer => ("unknown-container", "The pod has no container of that name."),
            Self::IncompleteReload => {
                ("incomplete-reload", "`reload-signal` and `reload-target` must be set together.")
            }
            Self::AmbiguousReload => (
                "ambiguous-reload",
                "Several containers read the secrets, and the reload target names no container.",
            ),
            Self::ReloadConflict => (
                "reload-conflict",
                "`reload-url` and `reload-signal` exclude each other: choose one way to notify the application.",
            ),
            Self::NetworkNamespace => (
                "network-namespace",
                "`reload-url` needs the pod's own network namespace: with `hostNetwork`, its loopback is that of the node.",
            ),
            Self::TrustConflict => {
                ("trust-conflict", "Only private authorities are trusted, but no `ca-configmap` is set.")
            }
            Self::ProcessNamespace => (
                "process-namespace",
                "A reload signal needs a process namespace that all containers of the pod share, and that is not the node's.",
            ),
            Self::RunAsUser => {
                ("run-as-user", "The agent cannot run as this user in a pod with these containers.")
            }
            Self::Resources => (
                "resources",
                "The agent's requests and limits contradict each other or the size of the volume.",
            ),
            Self::MountConflict => (
                "mount-conflict",
                "A container mounts another volume at the mount path, or below it where the agent cannot create the mount point.",
            ),
            Self::UnreadableFile => {
                ("unreadable-file", "A container runs as a user who cannot read a file with this mode.")
            }
            Self::VariableConflict => {
                ("variable-conflict", "A container already has a variable of that name.")
            }
            Self::KubeVersion => ("kube-version", "The cluster's Kubernetes is too old for a key."),
            Self::NotAllowed => ("not-allowed", "The injector's configuration does not allow the value."),
            Self::TooLarge => (
                "too-large",
                "A part of the pod is larger than the injector allows; the message has the part and the limit.",
            ),
            Self::ReservedName => (
                "reserved-name",
                "A container or volume has a name reserved for the injector, or a container runs the agent or uses a reserved volume, but the injector did not add it.",
            ),
            Self::Windows => ("windows", "The agent has no image for Windows nodes."),
            Self::Configuration => {
                ("configuration", "The injector's configuration file has an invalid value.")
            }
            Self::InvalidPolicy => ("invalid-policy", "A policy has an invalid value."),
            Self::PolicyLimit => ("policy-limit", "The policies that limit the pod do not allow the value."),
            Self::PolicyConflict => {
                ("policy-conflict", "Two policies that select the pod contradict each other.")
            }
            Self::PolicyVariable => (
                "policy-variable",
                "A variable such as `${namespace}` is unknown, not allowed in this place, or has a value that paths cannot contain.",
            ),
            Self::VariableWithoutValue => (
                "variable-without-value",
                "The pod lacks the label or annotation of a variable. When a workload is applied this is a warning: a controller may set it on the pods.",
            ),
            Self::PolicyOptOut => {
                ("policy-opt-out", "A policy does not allow the pod to opt out of injection.")
            }
        }
    }
}

/// The problems of a pod, in the order in which they were found. Never empty inside a
/// [`crate::Decision`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// At most [`PROBLEMS_KEPT`], because a hostile pod can have an unlimited number.
    kept: Vec<Problem>,
    more: usize,
}

impl Problems {
    /// No problems.
    pub const fn new() -> Self {
        Self { kept: Vec::new(), more: 0 }
    }

    /// Adds a problem; after the first 32 it is only counted.
    pub fn push(&mut self, problem: Problem) {
        self.push_with(|| problem);
    }

    /// Adds all of `others`.
    pub(crate) fn append(&mut self, others: &Self) {
        for problem in others {
            self.push(problem.clone());
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

    /// Whether all problems have this code and none is only counted.
    pub(crate) fn are_all(&self, code: Code) -> bool {
        self.more == 0 && self.kept.iter().all(|problem| problem.code == code)
    }

    /// Adds a problem, which is only built if it is kept: a pod may have thousands of the same
    /// kind.
    pub(crate) fn push_with(&mut self, problem: impl FnOnce() -> Problem) {
        if !self.only_counts() {
            self.kept.push(problem());
        }
    }

    /// Counts a problem and returns true if no more are kept.
    fn only_counts(&mut self) -> bool {
        let is_full = self.kept.len() >= PROBLEMS_KEPT;
        self.more += usize::from(is_full);
        is_full
    }

    /// Whether the next problem gets a suggestion, which only the first ones do.
    pub(crate) fn takes_hint(&self) -> bool {
        self.kept.len() < PROBLEMS_HINTED
    }

    /// Iterates mutably over the problems that were kept.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Problem> {
        self.kept.iter_mut()
    }

    /// Iterates over the problems that were kept.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.kept.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { kept: vec![problem], more: 0 }
    }
}

/// The command line uses it to quote values as the user's file has them.
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.kept.iter().map(ToString::to_string).collect();
        let mut bytes = 0;
        let fits = |text: &&String| {
            bytes += text.len();
            bytes <= TEXT_BYTES
        };
        let shown = texts.iter().take_while(fits).count().max(1);
        write_errors(f, format_args!("{} problems", self.len()), &texts, shown, self.more)
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
