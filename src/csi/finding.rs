//! What is wrong with a SecretProviderClass, or with a CSI volume of a pod.

use std::{borrow::Cow, fmt};

/// One mistake, or something worth a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) code: Code,
    pub(crate) severity: Severity,
    /// RFC 6901 pointer to the field, from the object.
    pub(crate) pointer: String,
    /// The line of the file, where it is known.
    pub(crate) line: Option<usize>,
    /// What is wrong, with the value and what is allowed.
    pub(crate) message: String,
    /// What to do; empty where the message says it.
    pub(crate) fix: Cow<'static, str>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The API server, the driver or the provider refuses it, or a container does not start.
    Problem,
    /// It starts, and may not do what its author expects.
    Warning,
    /// It depends on what is not among the manifests.
    Note,
}

/// What kind of mistake: a stable word, which has a row in `docs/csi.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// A field of a class that does not exist, is missing or has the wrong type.
    Class,
    /// A parameter that the provider does not take.
    Parameter,
    /// The parameter `objects`.
    Objects,
    /// An entry of `secretObjects` that the driver cannot use.
    SecretObject,
    /// A file that is named and that no object writes.
    MissingFile,
    /// A volume that the driver would not be asked for, or that names no class.
    Volume,
    /// A class that is not among the manifests.
    UnknownClass,
    /// A volume that is not read-only.
    ReadOnly,
    /// A mount that is never updated.
    SubPath,
    /// A mount at, above or below another one that it does not go with.
    MountConflict,
    /// A file that the container's user cannot read.
    UnreadableFile,
    /// A pod for Windows nodes.
    Windows,
}

impl Code {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 12] = [
        Self::Class,
        Self::Parameter,
        Self::Objects,
        Self::SecretObject,
        Self::MissingFile,
        Self::Volume,
        Self::UnknownClass,
        Self::ReadOnly,
        Self::SubPath,
        Self::MountConflict,
        Self::UnreadableFile,
        Self::Windows,
    ];

    /// The code's word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Class => "csi-class",
            Self::Parameter => "csi-parameter",
            Self::Objects => "csi-objects",
            Self::SecretObject => "csi-secret-object",
            Self::MissingFile => "csi-missing-file",
            Self::Volume => "csi-volume",
            Self::UnknownClass => "csi-unknown-class",
            Self::ReadOnly => "csi-read-only",
            Self::SubPath => "csi-sub-path",
            Self::MountConflict => "csi-mount-conflict",
            Self::UnreadableFile => "csi-unreadable-file",
            Self::Windows => "csi-windows",
        }
    }
}

impl Finding {
    pub(super) fn problem(
        code: Code,
        pointer: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (pointer, message, fix) = (pointer.into(), message.into(), fix.into());
        Self { code, severity: Severity::Problem, pointer, line: None, message, fix }
    }

    pub(super) fn warning(
        code: Code,
        pointer: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::problem(code, pointer, message, fix) }
    }

    pub(super) fn note(
        code: Code,
        pointer: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { severity: Severity::Note, ..Self::problem(code, pointer, message, fix) }
    }

    /// Its field as people write it: `spec.volumes[0].csi`.
    pub(crate) fn field(&self) -> String {
        let mut field = String::new();
        for step in crate::apply::steps(&self.pointer) {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if step.parse::<usize>().is_ok() || !step.chars().all(is_name) {
                field = format!("{field}[{step}]");
            } else {
                let dot = if field.is_empty() { "" } else { "." };
                field = format!("{field}{dot}{step}");
            }
        }
        field
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.field())?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        write!(f, ": {}", self.message)?;
        if !self.fix.is_empty() {
            write!(f, "; to fix: {}", self.fix)?;
        }
        write!(f, " [{}]", self.code.name())
    }
}
