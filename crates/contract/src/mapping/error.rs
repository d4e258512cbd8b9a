//! Errors in a text of mappings.

use std::fmt;

use thiserror::Error;

use super::{MAPPINGS_LIMIT, line::TEMPLATE};
use crate::{
    DynamicRefError, EncodingError, Excerpt, FileModeError, Format, FormatError, SecretAlias, SecretKey,
    SecretKeyError, SecretRefError, SecretSourceError, TargetFile, TargetFileError, VariableName,
    VariableNameError, write_errors,
};

/// Maximum number of errors that are spelled out: the kubelet truncates a termination message at 4
/// KiB.
const ERRORS_SHOWN: usize = 16;

/// The errors in a text of mappings, sorted by line; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct MappingErrors(Vec<MappingError>);

impl MappingErrors {
    /// `None` if there are no errors.
    pub(super) fn new(mut errors: Vec<MappingError>) -> Option<Self> {
        // A stable sort: the errors of one line keep their order.
        errors.sort_by_key(|error| error.line);
        (!errors.is_empty()).then_some(Self(errors))
    }

    /// Iterates in the order of the lines.
    pub fn iter(&self) -> std::slice::Iter<'_, MappingError> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a MappingErrors {
    type Item = &'a MappingError;
    type IntoIter = std::slice::Iter<'a, MappingError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for MappingErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_errors(f, format_args!("{} mistakes", self.0.len()), &self.0, ERRORS_SHOWN, 0)
    }
}

/// An error in a text of mappings.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {fault}")]
pub struct MappingError {
    /// The line number, starting at 1.
    pub line: usize,
    /// The error.
    pub fault: MappingFault,
}

/// An error in a line of mappings. Never quotes a template.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MappingFault {
    /// The whole text exceeds [`MAPPINGS_LIMIT`].
    #[error(
        "the mappings have {bytes} bytes; allowed: {MAPPINGS_LIMIT}, so shorten the templates or map fewer secrets"
    )]
    TooLong {
        /// The size of the text in bytes.
        bytes: usize,
    },
    /// A control character other than a tab between the parts.
    #[error("it has the control character {0:?}; write it escaped inside a JSON string, such as \"\\n\"")]
    Control(char),
    /// A line that starts with `#`.
    #[error("a mapping starts with a secret path; comments are not part of the grammar")]
    Comment,
    /// A line in the grammar of the Docker Compose page.
    #[error(
        "{line} is written as for Docker Compose, which has another grammar; for a file write path -> /run/secrets/{name} in SECRETS, for a variable path#field -> {name} in SECRET_ENV"
    )]
    Compose {
        /// The line.
        line: Excerpt,
        /// Its left side.
        name: VariableName,
    },
    /// A line without an arrow; contains its first word.
    #[error(
        "the line that starts with {0} has no ->; write what is read, then ->, then where it goes, such as environments/production/billing/database -> /run/secrets/db.json"
    )]
    NoArrow(Excerpt),
    /// The left side is empty.
    #[error(
        "the secret before the -> is missing; write it, such as \
         environments/production/billing/database"
    )]
    NoSource,
    /// The right side is empty.
    #[error("the target after the -> that follows {0} is missing; write it, such as /run/secrets/db.json")]
    NoTarget(Excerpt),
    /// An arrow without white space around it.
    #[error("a space is missing next to the -> that follows {0}; put one on both sides")]
    GluedArrow(Excerpt),
    /// The secret of a variable is invalid.
    #[error(transparent)]
    Secret(SecretRefError),
    /// The secrets of a file are invalid.
    #[error(transparent)]
    Source(SecretSourceError),
    /// The dynamic secret is invalid.
    #[error(transparent)]
    Dynamic(DynamicRefError),
    /// A dynamic secret where a secret is expected.
    #[error("{0} is a dynamic secret; move the line to DYNAMIC")]
    DynamicElsewhere(Excerpt),
    /// A variable from a whole secret.
    #[error("{0} is a whole secret, but a variable takes one field; write path#field")]
    NoField(Excerpt),
    /// The file is invalid.
    #[error(transparent)]
    File(TargetFileError),
    /// The variable is invalid.
    #[error(transparent)]
    Variable(VariableNameError),
    /// The key of a Secret is invalid.
    #[error(transparent)]
    Key(SecretKeyError),
    /// A mode for a key, which is not a file.
    #[error("mode= is for files, and the value of a key in a Secret has none; remove it")]
    KeyMode,
    /// The format is invalid.
    #[error(transparent)]
    Format(FormatError),
    /// The mode is invalid.
    #[error(transparent)]
    Mode(FileModeError),
    /// The encoding is invalid.
    #[error(transparent)]
    Encoding(EncodingError),
    /// The value of `optional` is invalid.
    #[error("optional= has the value {0}; allowed: true or false")]
    Optional(Excerpt),
    /// A value that starts with a double quote and is not a JSON string.
    #[error(
        "{0} is not a JSON string: it starts and ends with \", with \\\" for a quote, \\\\ for a backslash and \\n for a new line inside"
    )]
    NotJson(&'static str),
    /// A value that needs quotes and has none.
    #[error(
        "{0} may only have A-Z a-z 0-9 _ . / - without quotes; write it as a JSON string, in double quotes"
    )]
    NotPlain(MappingPart),
    /// A JSON string that is directly followed by other characters.
    #[error(
        "{0} continues after its closing quote; put a space there, or a \\ before a quote that belongs to it"
    )]
    GluedWord(MappingPart),
    /// A word after the file that is not an option.
    #[error(
        "{0} is not an option; allowed: format=, mode=, encoding=, optional= and template= (a file with a space in its name is a JSON string, in double quotes)"
    )]
    UnknownOption(Excerpt),
    /// An option is repeated.
    #[error("{0}= is given twice; keep one")]
    RepeatedOption(&'static str),
    /// An option without a value.
    #[error("{0} has no value; write {0}=value without a space around the =")]
    NoValue(&'static str),
    /// Both a format and a template.
    #[error("format= and template= exclude each other, because the template decides the format; keep one")]
    FormatAndTemplate,
    /// `optional` for a dynamic secret.
    #[error("optional=true is for secrets: dynamic credentials are generated and never missing; remove it")]
    OptionalLease,
    /// An encoding without a single field to decode.
    #[error(
        "encoding= decodes one field, written as it is; name the field with path#field, without template= or another format= than raw"
    )]
    EncodingNotRaw,
    /// `format=raw` for several secrets.
    #[error("format=raw writes one field, and several secrets are named; use json, yaml or a template")]
    RawOfSeveral,
    /// A line format for several secrets of which one is a whole secret.
    #[error(
        "format={format} writes one line for each alias, and {alias} names a whole secret; write {alias}=path#field, or use json, yaml or a template"
    )]
    WholeInLines {
        /// The format.
        format: Format,
        /// The alias.
        alias: SecretAlias,
    },
    /// Two lines write the same file.
    #[error("the file {} is also written by line {other}; give each its own", Excerpt::new(.file.as_str()))]
    FileTwice {
        /// The file.
        file: TargetFile,
        /// The other line that writes it.
        other: usize,
    },
    /// A file inside another file.
    #[error("the file {} is inside {}, which line {other} writes as a file; rename one", Excerpt::new(.file.as_str()), Excerpt::new(.outer.as_str()))]
    FileInsideFile {
        /// The file.
        file: TargetFile,
        /// The file that it is inside of.
        outer: TargetFile,
        /// The line that writes the outer file.
        other: usize,
    },
    /// Two lines set the same key.
    #[error("the key {} is also set by line {other}; give each its own", Excerpt::new(.key.as_str()))]
    KeyTwice {
        /// The key.
        key: SecretKey,
        /// The other line that sets it.
        other: usize,
    },
    /// Two lines set the same variable.
    #[error("the variable {} is also set by line {other}; give each its own", Excerpt::new(.variable.as_str()))]
    VariableTwice {
        /// The variable.
        variable: VariableName,
        /// The other line that sets it.
        other: usize,
    },
}

/// The file or an option, with its value unless the value is a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingPart {
    what: &'static str,
    value: Option<Excerpt>,
}

impl MappingPart {
    pub(super) fn new(what: &'static str, value: &str) -> Self {
        let value = (what != TEMPLATE).then(|| Excerpt::new(value));
        Self { what, value }
    }
}

impl fmt::Display for MappingPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        match &self.value {
            Some(value) => write!(f, " {value}"),
            None => Ok(()),
        }
    }
}
