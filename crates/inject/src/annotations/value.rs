//! The types of annotation values, and their accepted values.

use std::{borrow::Cow, collections::BTreeSet, str::FromStr};

use scaivault_contract::{
    Duration, DynamicRef, Encoding, FileMode, Format, MountPath, RelativeFile, ReloadUrl, SecretKey,
    SecretSource, Signal, is_subdomain,
};

use crate::quantity::Quantity;

mod url;

pub(crate) use url::Url;

/// The kind of a key's values: its name, the accepted values and its JSON schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueKind {
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `path[#field][@version]`, or several of them with aliases.
    SecretSource,
    /// `path#field[@version]`.
    FieldRef,
    /// `engine=E role=R [ttl=D]`.
    DynamicRef,
    /// A path below the mount path.
    RelativeFile,
    /// A file format.
    Format,
    /// The encoding of a field.
    Encoding,
    /// A minijinja template.
    Template,
    /// An octal file mode.
    FileMode,
    /// `*`, a comma-separated list of container names, or nothing.
    Selection,
    /// An absolute directory.
    MountPath,
    /// A Kubernetes quantity.
    Quantity,
    /// A duration.
    Duration,
    /// A signal's name.
    Signal,
    /// `[container/]process`.
    ReloadTarget,
    /// An `http` URL on the pod's own loopback.
    ReloadUrl,
    /// An `https` URL.
    Url,
    /// One line of text.
    Line,
    /// A whole number in a range.
    Number {
        /// The minimum.
        least: u64,
        /// The maximum.
        most: u64,
    },
    /// A uid, or `unset`.
    RunAsUser,
    /// The name of a Secret or ConfigMap.
    ObjectName,
    /// A key of a Secret or ConfigMap.
    ObjectKey,
    /// A container image.
    Image,
    /// Native Secrets or classes that a workload is restarted for.
    RestartSelection,
    /// Maintenance windows.
    RestartWindows,
    /// Written by the injector and never by users.
    Written,
}

/// The maximum of a uid or gid in the Kubernetes API.
pub(crate) const LARGEST_ID: u64 = 2_147_483_647;

impl ValueKind {
    /// The accepted values in one line.
    pub fn allowed(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Bool => "true or false",
            Self::Choice(words) => return Cow::Owned(words.join(", ")),
            Self::SecretSource => SecretSource::ALLOWED,
            Self::FieldRef => "path#field[@version]: a variable holds one field",
            Self::DynamicRef => DynamicRef::ALLOWED,
            Self::RelativeFile => RelativeFile::ALLOWED,
            Self::Format => Format::ALLOWED,
            Self::Encoding => Encoding::ALLOWED,
            Self::Template => {
                "a minijinja template over data, version and path; of several secrets over secrets.<alias>.data"
            }
            Self::FileMode => FileMode::ALLOWED,
            Self::Selection => "*, a comma list of container names, or nothing",
            Self::MountPath => MountPath::ALLOWED,
            Self::Quantity => Quantity::ALLOWED,
            Self::Duration => Duration::ALLOWED,
            Self::Signal => Signal::ALLOWED,
            Self::ReloadTarget => "[container/]process: the base name of the program, at most 255 characters",
            Self::ReloadUrl => ReloadUrl::ALLOWED,
            Self::Url => "https://host[:port][/path], without user, query or fragment",
            Self::Line => "one line of 1 to 256 characters",
            Self::Number { least, most } => {
                return Cow::Owned(format!("a whole number from {least} to {most}"));
            }
            Self::RunAsUser => "a uid from 0 to 2147483647, or unset",
            Self::ObjectName => "a name of lower-case letters, digits, - and ., at most 253 characters",
            Self::ObjectKey => "a key of 1 to 253 letters, digits, -, _ and ., not starting with ..",
            Self::Image => "a container image: [registry/]repository[:tag][@digest]",
            Self::RestartSelection => {
                "all, matching, none, or at most 64 names separated by commas, in which * stands for any characters"
            }
            Self::RestartWindows => {
                "at most 4 windows separated by ;, each a cron expression of five fields, `for` a duration of at most 7d, \
                 and `in` a time zone (without `in`, UTC)"
            }
            Self::Written => "nothing: the injector writes it",
        })
    }

    /// The JSON schema of the value. Annotation values are always strings.
    pub(crate) fn schema(self) -> serde_json::Value {
        match self {
            Self::Bool => serde_json::json!({"type": "string", "enum": ["true", "false"]}),
            Self::Choice(words) => serde_json::json!({"type": "string", "enum": words}),
            Self::Format => serde_json::json!({"type": "string", "enum": Format::ALL.map(Format::name)}),
            Self::Encoding => serde_json::json!({"type": "string", "enum": [Encoding::Base64.to_string()]}),
            Self::Duration => serde_json::json!({"type": "string", "pattern": "^[0-9]+[smhd]$"}),
            Self::FileMode => serde_json::json!({"type": "string", "pattern": "^(0o?)?[0-7]{3}$"}),
            Self::Number { .. } => serde_json::json!({"type": "string", "pattern": "^[0-9]+$"}),
            Self::RunAsUser => serde_json::json!({"type": "string", "pattern": "^([0-9]+|unset)$"}),
            Self::Url => serde_json::json!({"type": "string", "pattern": "^https?://"}),
            Self::ReloadUrl => serde_json::json!({"type": "string", "pattern": "^http://"}),
            Self::MountPath => serde_json::json!({"type": "string", "pattern": "^/"}),
            _ => serde_json::json!({"type": "string"}),
        }
    }
}

/// Why a value is rejected. The accepted values are in [`ValueKind::allowed`].
pub(crate) type Reason = Cow<'static, str>;

/// Maximum number of containers in a selection.
const SELECTION_NAMES: usize = 100;

/// The containers that get a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All containers that can use it.
    All,
    /// The named containers; none if empty.
    Names(Vec<String>),
}

impl FromStr for Selection {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let mut names: Vec<String> = Vec::new();
        let mut seen = BTreeSet::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if !seen.insert(name) {
                continue;
            }
            if names.len() == SELECTION_NAMES {
                return Err(format!("more than {SELECTION_NAMES} names").into());
            }
            names.push(name.to_owned());
        }
        if names.iter().any(|name| name == "*") {
            return if names.len() == 1 { Ok(Self::All) } else { Err("* must be the only entry".into()) };
        }
        Ok(Self::Names(names))
    }
}

/// The position of the agent among the init containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    First,
    Last,
}

impl Position {
    pub(crate) const ALL: &'static [&'static str] = &["first", "last"];
}

impl FromStr for Position {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        match text {
            "first" => Ok(Self::First),
            "last" => Ok(Self::Last),
            _ => Err("not a position".into()),
        }
    }
}

/// What delays the application until the sidecar has fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartGate {
    /// A `postStart` hook.
    Hook,
    /// A `startupProbe`.
    Probe,
}

impl StartGate {
    pub(crate) const ALL: &'static [&'static str] = &["hook", "probe"];
}

impl FromStr for StartGate {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        match text {
            "hook" => Ok(Self::Hook),
            "probe" => Ok(Self::Probe),
            _ => Err("not a start gate".into()),
        }
    }
}

/// The log level of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogLevel(pub(crate) &'static str);

impl LogLevel {
    pub(crate) const ALL: &'static [&'static str] = &["error", "warn", "info", "debug", "trace"];
}

impl FromStr for LogLevel {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        Self::ALL
            .iter()
            .find(|level| **level == text)
            .map(|level| Self(level))
            .ok_or("not a log level".into())
    }
}

/// The process that gets a signal when a file changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReloadTarget {
    pub(crate) container: Option<String>,
    pub(crate) process: String,
}

impl FromStr for ReloadTarget {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let (container, process) = match text.split_once('/') {
            Some((container, process)) => (Some(container), process),
            None => (None, text),
        };
        if process.contains('/') {
            return Err("a process is named by its base name, not by its path".into());
        }
        if process.is_empty() || process.len() > 255 || process.chars().any(char::is_control) {
            return Err("not the name of a process".into());
        }
        if container.is_some_and(str::is_empty) {
            return Err("the container's name is empty".into());
        }
        Ok(Self { container: container.map(str::to_owned), process: process.to_owned() })
    }
}

/// The user of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunAsUser {
    Uid(i64),
    /// Chosen by the platform, such as OpenShift's SCC.
    Unset,
}

impl FromStr for RunAsUser {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        match text {
            "unset" => Ok(Self::Unset),
            number => Ok(Self::Uid(id(number)?)),
        }
    }
}

/// Parses a uid or gid.
pub(crate) fn id(text: &str) -> Result<i64, Reason> {
    let id: u64 = text.parse().map_err(|_| "not a number")?;
    if id > LARGEST_ID {
        return Err("too large".into());
    }
    i64::try_from(id).map_err(|_| "too large".into())
}

/// Parses the name of a Secret or ConfigMap (a DNS subdomain, RFC 1123).
pub(crate) fn object_name(text: &str) -> Result<String, Reason> {
    if is_subdomain(text) { Ok(text.to_owned()) } else { Err("not the name of an object".into()) }
}

/// Parses a key of a Secret or ConfigMap (`IsConfigMapKey` of the API server's validation).
pub(crate) fn object_key(text: &str) -> Result<String, Reason> {
    text.parse::<SecretKey>()
        .map(|_| text.to_owned())
        .map_err(|_| "not a key of a Secret or ConfigMap".into())
}

/// Parses one line of text.
pub(crate) fn line(text: &str) -> Result<String, Reason> {
    if text.is_empty() || text.chars().count() > 256 || text.chars().any(char::is_control) {
        Err("not one line of text".into())
    } else {
        Ok(text.to_owned())
    }
}

/// Parses `true` or `false`.
pub(crate) fn boolean(text: &str) -> Result<bool, Reason> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("neither true nor false".into()),
    }
}

/// Parses a container image reference. Only as strict as necessary to exclude anything else.
pub(crate) fn image(text: &str) -> Result<String, Reason> {
    let name = text.split_once('@').map_or(text, |(name, _)| name);
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let repository = name[slash..].split_once(':').map_or(name, |(last, _)| &name[..slash + last.len()]);
    // The host of a registry may have upper-case letters.
    let path = repository.split_once('/').map_or(repository, |(_, path)| path);
    let fits = !text.is_empty()
        && !path.contains(|c: char| c.is_ascii_uppercase())
        && text.len() <= 512
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "./:@_-".contains(c))
        // A `..` would lead out of the repository that an allow-list entry names.
        && text.trim_end_matches('/').split('/').all(|part| part.starts_with(|c: char| c.is_ascii_alphanumeric()));
    if fits { Ok(text.to_owned()) } else { Err("not an image".into()) }
}

/// Whether an allow-list entry matches an image: the same image; or, if the entry is a repository,
/// any tag, digest or sub-repository of it; or, if the entry is a host, any image on it. A host
/// without a port does not match other ports of that host.
pub(crate) fn image_is_below(image: &str, entry: &str) -> bool {
    let entry = entry.trim_end_matches('/');
    let next: &[char] = if entry.contains('/') { &['/', ':', '@'] } else { &['/'] };
    image.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with(next))
}

#[cfg(test)]
mod tests;
