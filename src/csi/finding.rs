//! Findings about a SecretProviderClass, or about a CSI volume of a pod.

use std::{borrow::Cow, fmt};

use crate::{edit::Places, yaml_stream::Document};

/// One problem, warning or note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) code: Code,
    pub(crate) severity: Severity,
    /// RFC 6901 pointer to the field, relative to the object.
    pub(crate) pointer: String,
    /// The line of the file, if it is known.
    pub(crate) line: Option<usize>,
    /// What is wrong, with the value and the allowed values.
    pub(crate) message: String,
    /// How to fix it; empty if the message says so.
    pub(crate) fix: Cow<'static, str>,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The API server, the driver or the provider rejects it, or a container does not start.
    Problem,
    /// It starts, but may not work as its author expects.
    Warning,
    /// It depends on objects that are not in the manifests.
    Note,
}

/// The kind of a finding: a stable name, which has a row in `docs/csi.md` or `docs/restart.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// A field of a class is unknown, missing or has the wrong type.
    Class,
    /// A parameter that the provider does not support.
    Parameter,
    /// The parameter `objects`.
    Objects,
    /// An entry of `secretObjects` that the driver cannot use.
    SecretObject,
    /// A referenced file that no object writes.
    MissingFile,
    /// A volume without a class, or with another driver.
    Volume,
    /// A class that is not in the manifests.
    UnknownClass,
    /// A volume that is not read-only.
    ReadOnly,
    /// A mount that is never updated.
    SubPath,
    /// A mount at, above or below another one that conflicts with it.
    MountConflict,
    /// A file that the container's user cannot read.
    UnreadableFile,
    /// A pod for Windows nodes.
    Windows,
    /// An annotation about restarts that the restart controller cannot read or does not read there.
    Restart,
}

impl Code {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 13] = [
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
        Self::Restart,
    ];

    /// The stable name.
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
            Self::Restart => "restart",
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

    /// The field in the usual notation: `spec.volumes[0].csi`.
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

/// Sets the line of each finding of an object.
pub(super) fn add_lines(findings: &mut [Finding], object: &str, document: &Document<'_>) {
    if findings.is_empty() {
        return;
    }
    let Some(places) = Places::parse(document) else {
        for finding in findings {
            finding.line = None;
        }
        return;
    };
    for finding in findings {
        let pointer = format!("{object}{}", finding.pointer);
        let in_text = finding.line.filter(|_| finding.code == Code::Objects);
        let inner = in_text.and_then(|line| Some(places.block_line(&pointer)? + line - 1));
        finding.line = inner.or_else(|| places.line(&pointer));
    }
}

/// The line of a list's item, or of one of its keys, in an embedded text.
pub(super) fn line_in_text(places: &Places<'_>, item: usize, key: Option<&str>) -> Option<usize> {
    let pointer =
        format!("/{item}{}", key.map_or(String::new(), |key| format!("/{}", crate::apply::escape(key))));
    places.line(&pointer)
}
