//! The mapping grammar: which secret becomes which file or variable, one entry a line.
//!
//! ```text
//! path[#field][@version] -> file [format=…] [mode=…] [template=…]     SECRETS, WATCH_PATHS
//! engine=E role=R [ttl=D] -> file [format=…] [mode=…] [template=…]    DYNAMIC
//! path#field[@version] -> VARIABLE                                    SECRET_ENV
//! ```
//!
//! Spaces and tabs around the parts and blank lines mean nothing. A file or a value with other characters than
//! `A-Z a-z 0-9 _ . / -` is a JSON string; control characters stand only inside one, escaped, so that no value
//! can add a line. There are no comments.

use std::{fmt, fmt::Write as _};

use crate::{DynamicRef, FileMode, Format, SecretRef, TargetFile, VariableName, file, file::ConflictKind};

mod error;
mod line;

pub use error::{MappingError, MappingErrors, MappingFault, MappingPart};
use line::Line;

/// The most bytes of all mappings together. One environment variable above 128 KiB cannot be handed to a process
/// (the kernel's `MAX_ARG_STRLEN`); the rest is left for the doubled `$`.
pub const MAPPINGS_LIMIT: usize = 96 * 1024;

/// A secret that becomes a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretMapping {
    /// What is read.
    pub secret: SecretRef,
    /// Where it is written.
    pub file: TargetFile,
    /// How it is written.
    pub options: FileOptions,
}

impl SecretMapping {
    /// The format the file is written in; none where a template writes it.
    pub fn format(&self) -> Option<Format> {
        let default = match self.secret.field {
            Some(_) => Format::Raw,
            None => Format::Json,
        };
        self.options.format_or(default)
    }
}

impl fmt::Display for SecretMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret, file, options } = self;
        write!(f, "{secret} -> {}{options}", Text(file.as_str()))
    }
}

/// A dynamic secret that becomes a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicMapping {
    /// What is generated.
    pub dynamic: DynamicRef,
    /// Where it is written.
    pub file: TargetFile,
    /// How it is written.
    pub options: FileOptions,
}

impl DynamicMapping {
    /// The format the file is written in; none where a template writes it.
    pub fn format(&self) -> Option<Format> {
        self.options.format_or(Format::Json)
    }
}

impl fmt::Display for DynamicMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dynamic, file, options } = self;
        write!(f, "{dynamic} -> {}{options}", Text(file.as_str()))
    }
}

/// How a file is written, as far as it is said; a template excludes a format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// The format.
    pub format: Option<Format>,
    /// The permission bits.
    pub mode: Option<FileMode>,
    /// The template's source.
    pub template: Option<String>,
}

impl FileOptions {
    fn format_or(&self, default: Format) -> Option<Format> {
        match self.template {
            Some(_) => None,
            None => Some(self.format.unwrap_or(default)),
        }
    }
}

impl fmt::Display for FileOptions {
    /// Each option behind a space, in the grammar's order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { format, mode, template } = self;
        if let Some(format) = format {
            write!(f, " format={format}")?;
        }
        if let Some(mode) = mode {
            write!(f, " mode={mode}")?;
        }
        match template {
            Some(template) => write!(f, " template={}", Text(template)),
            None => Ok(()),
        }
    }
}

/// A secret's field that becomes an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableMapping {
    /// What is read; the field is there.
    pub secret: SecretRef,
    /// The variable.
    pub variable: VariableName,
}

impl fmt::Display for VariableMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret, variable } = self;
        write!(f, "{secret} -> {variable}")
    }
}

/// Reads `SECRETS` or `WATCH_PATHS`.
pub fn parse_secrets(text: &str) -> Result<Vec<SecretMapping>, MappingErrors> {
    let parsed = parse(text, |line| {
        let (secret, (file, options)) = line::both(line.secret(), line.file())?;
        Ok(SecretMapping { secret, file, options })
    });
    finish_files(parsed, |mapping| &mapping.file)
}

/// Reads `DYNAMIC`.
pub fn parse_dynamic(text: &str) -> Result<Vec<DynamicMapping>, MappingErrors> {
    let parsed = parse(text, |line| {
        let (dynamic, (file, options)) = line::both(line.dynamic(), line.file())?;
        Ok(DynamicMapping { dynamic, file, options })
    });
    finish_files(parsed, |mapping| &mapping.file)
}

/// Reads `SECRET_ENV`.
pub fn parse_variables(text: &str) -> Result<Vec<VariableMapping>, MappingErrors> {
    let Parsed { entries, mut errors } = parse(text, |line| {
        let (secret, variable) = line::both(line.secret_field(), line.variable())?;
        Ok(VariableMapping { secret, variable })
    });
    let names: Vec<_> = entries.iter().map(|(_, entry)| entry.variable.as_str()).collect();
    // A variable's name has no slash, so of the two kinds of clashes only the same name twice can come of it.
    for clash in file::clashes(&names) {
        errors.push(MappingError {
            line: entries[clash.second].0,
            fault: MappingFault::VariableTwice {
                variable: entries[clash.second].1.variable.clone(),
                other: entries[clash.first].0,
            },
        });
    }
    finish(entries, errors)
}

/// What the lines of a text hold, each with its number from 1.
struct Parsed<T> {
    entries: Vec<(usize, T)>,
    errors: Vec<MappingError>,
}

fn parse<T>(text: &str, entry: impl Fn(&Line<'_>) -> Result<T, Vec<MappingFault>>) -> Parsed<T> {
    let mut parsed = Parsed { entries: Vec::new(), errors: Vec::new() };
    if text.len() > MAPPINGS_LIMIT {
        let fault = MappingFault::TooLong { bytes: text.len() };
        parsed.errors.push(MappingError { line: 1, fault });
        return parsed;
    }
    for (index, source) in text.lines().enumerate() {
        let number = index + 1;
        let source = source.trim_matches([' ', '\t']);
        if source.is_empty() {
            continue;
        }
        match Line::split(source).map_err(|fault| vec![fault]).and_then(|line| entry(&line)) {
            Ok(entry) => parsed.entries.push((number, entry)),
            Err(faults) => {
                let error = |fault| MappingError { line: number, fault };
                parsed.errors.extend(faults.into_iter().map(error));
            }
        }
    }
    parsed
}

fn finish_files<T>(parsed: Parsed<T>, file: impl Fn(&T) -> &TargetFile) -> Result<Vec<T>, MappingErrors> {
    let Parsed { entries, mut errors } = parsed;
    let files: Vec<_> = entries.iter().map(|(_, entry)| file(entry).as_str()).collect();
    for clash in file::clashes(&files) {
        let named = |index: usize| (entries[index].0, file(&entries[index].1).clone());
        let ((first_line, first), (second_line, second)) = (named(clash.first), named(clash.second));
        errors.push(MappingError {
            line: second_line,
            fault: match clash.kind {
                ConflictKind::Twice => MappingFault::FileTwice { file: second, other: first_line },
                ConflictKind::InsideFile => {
                    MappingFault::FileInsideFile { file: second, outer: first, other: first_line }
                }
            },
        });
    }
    finish(entries, errors)
}

fn finish<T>(entries: Vec<(usize, T)>, errors: Vec<MappingError>) -> Result<Vec<T>, MappingErrors> {
    match MappingErrors::new(errors) {
        Some(errors) => Err(errors),
        None => Ok(entries.into_iter().map(|(_, entry)| entry).collect()),
    }
}

/// A file or a value as it is written: as it is where that is plain, else as a JSON string on one line.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = *self;
        if !text.is_empty() && text.chars().all(line::is_plain) {
            return f.write_str(text);
        }
        f.write_char('"')?;
        for c in text.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                // YAML and editors also break lines at the two separators. All of these are below U+10000.
                _ if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    write!(f, "\\u{:04x}", u32::from(c))?;
                }
                _ => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests;
