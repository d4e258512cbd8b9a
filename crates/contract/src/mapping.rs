//! The mapping grammar: which secret becomes which file or variable, one entry a line.
//!
//! ```text
//! path[#field][@version] -> file [option=…]…           SECRETS, WATCH_PATHS
//! alias=path[#field][@version]… -> file [option=…]…    SECRETS, WATCH_PATHS
//! engine=E role=R [ttl=D] -> file [option=…]…          DYNAMIC
//! path#field[@version] -> VARIABLE                     SECRET_ENV
//! path[#field][@version] -> KEY [option=…]…            SECRETS of `sync-secret`
//! ```
//!
//! `${pod}` and `${node}` may stand in a path, an engine and a role: the agent fills them when it starts.
//!
//! The options are `format`, `mode`, `encoding`, `optional` and `template`.
//!
//! Spaces and tabs around the parts and blank lines mean nothing. A file or a value with other characters than
//! `A-Z a-z 0-9 _ . / -` is a JSON string; control characters stand only inside one, escaped, so that no value
//! can add a line. There are no comments.

use std::{fmt, fmt::Write as _};

use crate::{
    DeferredDynamic, DeferredSecret, DeferredSource, Encoding, FileMode, Format, PodVariable, SecretKey,
    SecretRef, SecretSource, TargetFile, VariableName, file, file::ConflictKind,
};

mod error;
mod line;

pub use error::{MappingError, MappingErrors, MappingFault, MappingPart};
use line::Line;

/// The most bytes of all mappings together. One environment variable above 128 KiB cannot be handed to a process
/// (the kernel's `MAX_ARG_STRLEN`); the rest is left for the doubled `$`.
pub const MAPPINGS_LIMIT: usize = 96 * 1024;

/// A secret, or several, that become a file, or the value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretMapping<T = TargetFile> {
    /// What is read.
    pub source: DeferredSource,
    /// Where it is written.
    pub file: T,
    /// How it is written.
    pub options: FileOptions,
}

impl<T> SecretMapping<T> {
    /// The variables that the agent fills in it.
    pub fn variables(&self) -> impl Iterator<Item = PodVariable> {
        self.source.secrets().flat_map(|secret| secret.path.variables())
    }

    /// The format the file is written in; none where a template writes it.
    pub fn format(&self) -> Option<Format> {
        self.options.format_or(default_format(&self.source))
    }

    /// How the options contradict each other or the source; nothing in a mapping that was parsed.
    pub fn faults(&self) -> Vec<MappingFault> {
        let mut faults = self.options.faults(default_format(&self.source));
        if let (SecretSource::Named(named), Some(format)) = (&self.source, self.format()) {
            match format {
                Format::Json | Format::Yaml => {}
                Format::Raw => faults.push(MappingFault::RawOfSeveral),
                Format::Env | Format::Dotenv | Format::Properties => {
                    let whole = named.iter().find(|named| named.secret.field.is_none());
                    faults.extend(
                        whole.map(|named| MappingFault::WholeInLines { format, alias: named.alias.clone() }),
                    );
                }
            }
        }
        faults
    }
}

impl<T: AsRef<str>> fmt::Display for SecretMapping<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, file, options } = self;
        source.fmt(f)?;
        f.write_str(" -> ")?;
        Text(file.as_ref()).fmt(f)?;
        options.fmt(f)
    }
}

/// A dynamic secret that becomes a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicMapping {
    /// What is generated.
    pub dynamic: DeferredDynamic,
    /// Where it is written.
    pub file: TargetFile,
    /// How it is written.
    pub options: FileOptions,
}

impl DynamicMapping {
    /// The variables that the agent fills in it.
    pub fn variables(&self) -> impl Iterator<Item = PodVariable> {
        self.dynamic.engine.variables().chain(self.dynamic.role.variables())
    }

    /// The format the file is written in; none where a template writes it.
    pub fn format(&self) -> Option<Format> {
        self.options.format_or(Format::Json)
    }

    /// How the options contradict each other; nothing in a mapping that was parsed.
    pub fn faults(&self) -> Vec<MappingFault> {
        let mut faults = self.options.faults(Format::Json);
        if self.options.optional {
            faults.push(MappingFault::OptionalLease);
        }
        faults
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
    /// How the field's text is encoded; none where it is written as it is.
    pub encoding: Option<Encoding>,
    /// Whether the file is left out where what it is read from does not exist. Any other failure stays one.
    pub optional: bool,
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

    fn faults(&self, default: Format) -> Vec<MappingFault> {
        let mut faults = Vec::new();
        if self.format.is_some() && self.template.is_some() {
            faults.push(MappingFault::FormatAndTemplate);
        }
        if self.encoding.is_some() && self.format_or(default) != Some(Format::Raw) {
            faults.push(MappingFault::EncodingNotRaw);
        }
        faults
    }
}

fn default_format(source: &DeferredSource) -> Format {
    match source {
        SecretSource::Single(SecretRef { field: Some(_), .. }) => Format::Raw,
        _ => Format::Json,
    }
}

impl fmt::Display for FileOptions {
    /// Each option behind a space, in the grammar's order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { format, mode, encoding, optional, template } = self;
        if let Some(format) = format {
            write!(f, " format={format}")?;
        }
        if let Some(mode) = mode {
            write!(f, " mode={mode}")?;
        }
        if let Some(encoding) = encoding {
            write!(f, " encoding={encoding}")?;
        }
        if *optional {
            f.write_str(" optional=true")?;
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
    pub secret: DeferredSecret,
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
        let (source, (file, options)) = line::both(line.source(), line.file())?;
        let mapping = SecretMapping { source, file, options };
        line::unless(mapping.faults(), mapping)
    });
    finish_files(parsed, |mapping| &mapping.file)
}

/// Reads `SECRETS` of `sync-secret`.
pub fn parse_secret_keys(text: &str) -> Result<Vec<SecretMapping<SecretKey>>, MappingErrors> {
    let Parsed { entries, mut errors } = parse(text, |line| {
        let (source, (file, options)) = line::both(line.source(), line.key())?;
        let mapping = SecretMapping { source, file, options };
        line::unless(mapping.faults(), mapping)
    });
    let keys: Vec<_> = entries.iter().map(|(_, entry)| entry.file.as_str()).collect();
    // A key has no slash, so of the two kinds of clashes only the same key twice can come of it.
    for clash in file::clashes(&keys) {
        let (key, other) = (entries[clash.second].1.file.clone(), entries[clash.first].0);
        errors.push(MappingError {
            line: entries[clash.second].0,
            fault: MappingFault::KeyTwice { key, other },
        });
    }
    finish(entries, errors)
}

/// Reads `DYNAMIC`.
pub fn parse_dynamic(text: &str) -> Result<Vec<DynamicMapping>, MappingErrors> {
    let parsed = parse(text, |line| {
        let (dynamic, (file, options)) = line::both(line.dynamic(), line.file())?;
        let mapping = DynamicMapping { dynamic, file, options };
        line::unless(mapping.faults(), mapping)
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
        if !text.is_empty() && text.bytes().all(|byte| line::is_plain(byte.into())) {
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
