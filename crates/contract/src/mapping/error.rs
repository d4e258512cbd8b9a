//! What is wrong with a text of mappings.

use std::fmt;

use thiserror::Error;

use super::{MAPPINGS_LIMIT, line::TEMPLATE};
use crate::{
    DynamicRefError, EncodingError, Excerpt, FileModeError, Format, FormatError, SecretAlias, SecretKey,
    SecretKeyError, SecretRefError, SecretSourceError, TargetFile, TargetFileError, VariableName,
    VariableNameError,
};

/// The most mistakes that are spelled out: the kubelet cuts a termination message at 4 KiB.
const ERRORS_SHOWN: usize = 16;

/// All that is wrong with a text of mappings, by line; at least one mistake.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct MappingErrors(Vec<MappingError>);

impl MappingErrors {
    /// None where nothing is wrong.
    pub(super) fn new(mut errors: Vec<MappingError>) -> Option<Self> {
        // Stable: several mistakes of one line stay in the order they stand in.
        errors.sort_by_key(|error| error.line);
        (!errors.is_empty()).then_some(Self(errors))
    }

    /// One by one, in the order of the lines.
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
    /// On one line, because Events and termination messages are shown on one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return write!(f, "{only}");
        }
        write!(f, "{} mistakes", self.0.len())?;
        for (index, error) in self.0.iter().take(ERRORS_SHOWN).enumerate() {
            write!(f, " ({}) {error}", index + 1)?;
        }
        match self.0.len().checked_sub(ERRORS_SHOWN) {
            Some(more @ 1..) => write!(f, " and {more} more"),
            _ => Ok(()),
        }
    }
}

/// One mistake in a text of mappings.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {fault}")]
pub struct MappingError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: MappingFault,
}

/// What is wrong with a line of mappings. A template is never quoted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MappingFault {
    /// The whole text is above [`MAPPINGS_LIMIT`].
    #[error(
        "the mappings have {bytes} bytes; allowed: {MAPPINGS_LIMIT}, so shorten the templates or map fewer secrets"
    )]
    TooLong {
        /// The bytes of the text.
        bytes: usize,
    },
    /// A control character other than a tab between words.
    #[error("it has the control character {0:?}; write it escaped inside a JSON string, such as \"\\n\"")]
    Control(char),
    /// A line that starts with `#`.
    #[error("a mapping starts with a secret path; comments are not part of the grammar")]
    Comment,
    /// A line of the Docker Compose page's grammar.
    #[error(
        "{line} is written as for Docker Compose, which has another grammar; for a file write path -> /run/secrets/{name} in SECRETS, for a variable path#field -> {name} in SECRET_ENV"
    )]
    Compose {
        /// The line.
        line: Excerpt,
        /// Its left side.
        name: VariableName,
    },
    /// A line without an arrow; its first word.
    #[error(
        "the line that starts with {0} has no ->; write what is read, then ->, then where it goes, such as environments/production/billing/database -> /run/secrets/db.json"
    )]
    NoArrow(Excerpt),
    /// Nothing before the arrow.
    #[error(
        "nothing stands before the ->; write what is read there, such as environments/production/billing/database"
    )]
    NoSource,
    /// Nothing behind the arrow.
    #[error(
        "nothing stands behind the -> that follows {0}; write where it goes, such as /run/secrets/db.json"
    )]
    NoTarget(Excerpt),
    /// An arrow without white space around it.
    #[error("a space is missing beside the -> that follows {0}; put one on both sides")]
    GluedArrow(Excerpt),
    /// The secret of a variable.
    #[error(transparent)]
    Secret(SecretRefError),
    /// The secrets of a file.
    #[error(transparent)]
    Source(SecretSourceError),
    /// The dynamic secret.
    #[error(transparent)]
    Dynamic(DynamicRefError),
    /// A dynamic secret where a secret is due.
    #[error("{0} is a dynamic secret; move the line to DYNAMIC")]
    DynamicElsewhere(Excerpt),
    /// A variable from a whole secret.
    #[error("{0} names a whole secret, and a variable takes one field; write path#field")]
    NoField(Excerpt),
    /// The file.
    #[error(transparent)]
    File(TargetFileError),
    /// The variable.
    #[error(transparent)]
    Variable(VariableNameError),
    /// The key of a Secret.
    #[error(transparent)]
    Key(SecretKeyError),
    /// A mode where there is no file.
    #[error("mode= is for files, and the value of a key in a Secret has none; remove it")]
    KeyMode,
    /// The format.
    #[error(transparent)]
    Format(FormatError),
    /// The mode.
    #[error(transparent)]
    Mode(FileModeError),
    /// The encoding.
    #[error(transparent)]
    Encoding(EncodingError),
    /// Whether the file may be missing.
    #[error("optional= has the value {0}; allowed: true or false")]
    Optional(Excerpt),
    /// A value that starts with a double quote and is no JSON string.
    #[error(
        "{0} is not a JSON string: it starts and ends with \", and inside it stand \\\" for a quote, \\\\ for a backslash and \\n for a new line"
    )]
    NotJson(&'static str),
    /// A value without quotes that needs them.
    #[error("{0} has other characters than A-Z a-z 0-9 _ . / -; write it as a JSON string, in double quotes")]
    NotPlain(MappingPart),
    /// Something follows a JSON string at once.
    #[error(
        "{0} goes on after its closing quote; put a space there, or a \\ before a quote that belongs to it"
    )]
    GluedWord(MappingPart),
    /// A word behind the file that is no option.
    #[error(
        "{0} is not an option; allowed: format=, mode=, encoding=, optional= and template= (a file with a space in its name is a JSON string, in double quotes)"
    )]
    UnknownOption(Excerpt),
    /// An option stands twice.
    #[error("{0}= stands twice; keep one")]
    RepeatedOption(&'static str),
    /// An option without a value.
    #[error("{0} has no value; write {0}=value without a space around the =")]
    NoValue(&'static str),
    /// Both a format and a template.
    #[error("format= and template= exclude each other, because the template decides the format; keep one")]
    FormatAndTemplate,
    /// A dynamic secret that may be missing.
    #[error("optional=true is for secrets: dynamic credentials are generated and never missing; remove it")]
    OptionalLease,
    /// An encoding without a single field to decode.
    #[error(
        "encoding= decodes one field, written as it is; name the field with path#field, without template= or another format= than raw"
    )]
    EncodingNotRaw,
    /// `format=raw` of several secrets.
    #[error("format=raw writes one field, and several secrets are named; use json, yaml or a template")]
    RawOfSeveral,
    /// A whole secret as one line of a file of several.
    #[error(
        "format={format} writes one line for each alias, and {alias} names a whole secret; write {alias}=path#field, or use json, yaml or a template"
    )]
    WholeInLines {
        /// The format.
        format: Format,
        /// The alias.
        alias: SecretAlias,
    },
    /// Two lines write one file.
    #[error("the file {} is also written by line {other}; give each its own", Excerpt::new(.file.as_str()))]
    FileTwice {
        /// The file.
        file: TargetFile,
        /// The line that writes it too.
        other: usize,
    },
    /// A file inside another.
    #[error("the file {} would lie inside {}, which line {other} writes as a file; rename one", Excerpt::new(.file.as_str()), Excerpt::new(.outer.as_str()))]
    FileInsideFile {
        /// The file.
        file: TargetFile,
        /// The file it would lie inside.
        outer: TargetFile,
        /// The line of the outer one.
        other: usize,
    },
    /// Two lines set one key.
    #[error("the key {} is also set by line {other}; give each its own", Excerpt::new(.key.as_str()))]
    KeyTwice {
        /// The key.
        key: SecretKey,
        /// The line that sets it too.
        other: usize,
    },
    /// Two lines set one variable.
    #[error("the variable {} is also set by line {other}; give each its own", Excerpt::new(.variable.as_str()))]
    VariableTwice {
        /// The variable.
        variable: VariableName,
        /// The line that sets it too.
        other: usize,
    },
}

/// The file or an option, with its value unless it is a template.
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
