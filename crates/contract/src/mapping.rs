//! The mapping grammar: which secret becomes which file or variable, one entry per line.
//!
//! ```text
//! path[#field][@version] -> file [option=…]…           SECRETS, WATCH_PATHS
//! alias=path[#field][@version]… -> file [option=…]…    SECRETS, WATCH_PATHS
//! engine=E role=R [ttl=D] -> file [option=…]…          DYNAMIC
//! path#field[@version] -> VARIABLE                     SECRET_ENV
//! path[#field][@version] -> KEY [option=…]…            SECRETS of `sync-secret`
//! ```
//!
//! A path, an engine and a role may contain `${pod}` and `${node}`; the agent fills them at its start.
//!
//! The options are `format`, `mode`, `encoding`, `optional` and `template`.
//!
//! Blank lines, and spaces and tabs around the parts, are ignored. A file or a value with characters
//! other than `A-Z a-z 0-9 _ . / -` is a JSON string. Control characters are only allowed escaped inside
//! such a string, so that a value cannot add a line. There are no comments.

use std::{fmt, fmt::Write as _};

use crate::{
    DeferredDynamic, DeferredSecret, DeferredSource, Encoding, FileMode, Format, PodVariable, SecretKey,
    SecretRef, SecretSource, TargetFile, VariableName, file, file::ConflictKind,
};

mod error;
mod line;

pub use error::{MappingError, MappingErrors, MappingFault, MappingPart};
use line::Line;

/// Maximum size of all mappings together, in bytes. The kernel rejects an environment variable
/// above 128 KiB (`MAX_ARG_STRLEN`); the rest is reserved for doubled `$`.
pub const MAPPINGS_LIMIT: usize = 96 * 1024;

/// A secret or several that become one file, or the value of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretMapping<T = TargetFile> {
    /// The secrets that are read.
    pub source: DeferredSource,
    /// The file or key that is written.
    pub file: T,
    /// The options of the file.
    pub options: FileOptions,
}

impl<T> SecretMapping<T> {
    /// The variables in it that the agent fills.
    pub fn variables(&self) -> impl Iterator<Item = PodVariable> {
        self.source.secrets().flat_map(|secret| secret.path.variables())
    }

    /// The format of the file; `None` if a template writes it.
    pub fn format(&self) -> Option<Format> {
        self.options.format_or(default_format(&self.source))
    }

    /// Options that contradict each other or the source; empty for a mapping that was parsed.
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
    /// The dynamic secret.
    pub dynamic: DeferredDynamic,
    /// The file that is written.
    pub file: TargetFile,
    /// The options of the file.
    pub options: FileOptions,
}

impl DynamicMapping {
    /// The variables in it that the agent fills.
    pub fn variables(&self) -> impl Iterator<Item = PodVariable> {
        self.dynamic.engine.variables().chain(self.dynamic.role.variables())
    }

    /// The format of the file; `None` if a template writes it.
    pub fn format(&self) -> Option<Format> {
        self.options.format_or(Format::Json)
    }

    /// Options that contradict each other; empty for a mapping that was parsed.
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

/// The options of a file. A template excludes a format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// The format.
    pub format: Option<Format>,
    /// The permission bits.
    pub mode: Option<FileMode>,
    /// The encoding of the field, which is decoded; `None` if the field is written unchanged.
    pub encoding: Option<Encoding>,
    /// Whether the file is omitted if its secret or field does not exist. Other failures remain
    /// errors.
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
    /// Each option with a leading space, in the grammar's order.
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
    /// The secret; its field is always set.
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

/// Parses `SECRETS` or `WATCH_PATHS`.
pub fn parse_secrets(text: &str) -> Result<Vec<SecretMapping>, MappingErrors> {
    let parsed = parse(text, |line| {
        let (source, (file, options)) = line::both(line.source(), line.file())?;
        let mapping = SecretMapping { source, file, options };
        line::unless(mapping.faults(), mapping)
    });
    finish_files(parsed, |mapping| &mapping.file)
}

/// Parses `SECRETS` of `sync-secret`.
pub fn parse_secret_keys(text: &str) -> Result<Vec<SecretMapping<SecretKey>>, MappingErrors> {
    let ParsedEntries { entries, mut errors } = parse(text, |line| {
        let (source, (file, options)) = line::both(line.source(), line.key())?;
        let mapping = SecretMapping { source, file, options };
        line::unless(mapping.faults(), mapping)
    });
    let keys: Vec<_> = entries.iter().map(|(_, entry)| entry.file.as_str()).collect();
    // Keys contain no slash, so the only possible conflict is the same key twice.
    for clash in file::clashes(&keys) {
        let (key, other) = (entries[clash.second].1.file.clone(), entries[clash.first].0);
        errors.push(MappingError {
            line: entries[clash.second].0,
            fault: MappingFault::KeyTwice { key, other },
        });
    }
    finish(entries, errors)
}

/// Parses `DYNAMIC`.
pub fn parse_dynamic(text: &str) -> Result<Vec<DynamicMapping>, MappingErrors> {
    let parsed = parse(text, |line| {
        let (dynamic, (file, options)) = line::both(line.dynamic(), line.file())?;
        let mapping = DynamicMapping { dynamic, file, options };
        line::unless(mapping.faults(), mapping)
    });
    finish_files(parsed, |mapping| &mapping.file)
}

/// Parses `SECRET_ENV`.
pub fn parse_variables(text: &str) -> Result<Vec<VariableMapping>, MappingErrors> {
    let ParsedEntries { entries, mut errors } = parse(text, |line| {
        let (secret, variable) = line::both(line.secret_field(), line.variable())?;
        Ok(VariableMapping { secret, variable })
    });
    let names: Vec<_> = entries.iter().map(|(_, entry)| entry.variable.as_str()).collect();
    // Variable names contain no slash, so the only possible conflict is the same name twice.
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

/// The entries of a text, each with its line number from 1.
struct ParsedEntries<T> {
    entries: Vec<(usize, T)>,
    errors: Vec<MappingError>,
}

fn parse<T>(text: &str, entry: impl Fn(&Line<'_>) -> Result<T, Vec<MappingFault>>) -> ParsedEntries<T> {
    let mut parsed = ParsedEntries { entries: Vec::new(), errors: Vec::new() };
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

fn finish_files<T>(
    parsed: ParsedEntries<T>,
    file: impl Fn(&T) -> &TargetFile,
) -> Result<Vec<T>, MappingErrors> {
    let ParsedEntries { entries, mut errors } = parsed;
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

/// Writes a file or a value: unquoted if it is plain, else as a JSON string on one line.
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
                // YAML and editors break lines at these separators too. All of these characters are
                // below U+10000.
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
