//! Parses one line of a mapping.

use std::str::FromStr;

use super::{FileOptions, MappingFault, error::MappingPart};
use crate::{
    DeferredDynamic, DeferredSecret, DeferredSource, Excerpt, SecretKey, SecretRef, TargetFile, VariableName,
};

/// The separator between the two sides of an entry.
const ARROW: &str = "->";

/// The two sides of a line, without surrounding white space.
#[derive(Debug)]
pub(super) struct Line<'a> {
    source: &'a str,
    target: &'a str,
}

/// Whether a file or a value may contain this character without quotes.
pub(super) fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')
}

/// Both values, or the errors of both.
pub(super) fn both<A, B>(
    a: Result<A, Vec<MappingFault>>,
    b: Result<B, Vec<MappingFault>>,
) -> Result<(A, B), Vec<MappingFault>> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(faults), Ok(_)) | (Ok(_), Err(faults)) => Err(faults),
        (Err(mut faults), Err(more)) => {
            faults.extend(more);
            Err(faults)
        }
    }
}

/// The value if there are no faults.
pub(super) fn unless<T>(faults: Vec<MappingFault>, value: T) -> Result<T, Vec<MappingFault>> {
    if faults.is_empty() { Ok(value) } else { Err(faults) }
}

impl<'a> Line<'a> {
    /// Splits a line that is not blank and has no surrounding white space.
    pub(super) fn split(line: &'a str) -> Result<Self, MappingFault> {
        if let Some(c) = line.chars().find(|c| c.is_control() && *c != '\t') {
            return Err(MappingFault::Control(c));
        }
        if line.starts_with('#') {
            return Err(MappingFault::Comment);
        }
        // Left sides contain no `>`, no quotes, and braces only in variables. So the first arrow is
        // the separator, unless it is inside a template.
        let (source, target) = match line.split_once(ARROW) {
            Some(sides @ (source, _)) if !may_be_template(source) => sides,
            _ => return Err(no_arrow(line)),
        };
        if source.is_empty() {
            return Err(MappingFault::NoSource);
        }
        if target.is_empty() {
            return Err(MappingFault::NoTarget(Excerpt::new(source.trim_end_matches(is_space))));
        }
        if !source.ends_with(is_space) || !target.starts_with(is_space) {
            return Err(MappingFault::GluedArrow(Excerpt::new(source)));
        }
        Ok(Self { source: source.trim_end_matches(is_space), target: target.trim_start_matches(is_space) })
    }

    /// Parses the left side as the secrets of a file.
    pub(super) fn source(&self) -> Result<DeferredSource, Vec<MappingFault>> {
        self.not_dynamic()?;
        let source = self.source.parse::<DeferredSource>();
        source.map_err(|errors| errors.into_iter().map(MappingFault::Source).collect())
    }

    /// Parses the left side as one field of a secret.
    pub(super) fn secret_field(&self) -> Result<DeferredSecret, Vec<MappingFault>> {
        self.not_dynamic()?;
        let secret: DeferredSecret =
            self.source.parse().map_err(|error| vec![MappingFault::Secret(error)])?;
        if secret.field.is_none() {
            return Err(vec![MappingFault::NoField(Excerpt::new(self.source))]);
        }
        Ok(secret)
    }

    fn not_dynamic(&self) -> Result<(), Vec<MappingFault>> {
        if ["engine=", "role=", "ttl="].iter().any(|word| self.source.starts_with(word)) {
            return Err(vec![MappingFault::DynamicElsewhere(Excerpt::new(self.source))]);
        }
        Ok(())
    }

    /// Parses the left side as a dynamic secret.
    pub(super) fn dynamic(&self) -> Result<DeferredDynamic, Vec<MappingFault>> {
        self.source.parse().map_err(|error| vec![MappingFault::Dynamic(error)])
    }

    /// Parses the right side as a variable.
    pub(super) fn variable(&self) -> Result<VariableName, Vec<MappingFault>> {
        self.target.parse().map_err(|error| vec![MappingFault::Variable(error)])
    }

    /// Parses the right side as a file with its options.
    pub(super) fn file(&self) -> Result<(TargetFile, FileOptions), Vec<MappingFault>> {
        self.target_with_options(FILE, MappingFault::File)
    }

    /// Parses the right side as a key of a Secret with its options.
    pub(super) fn key(&self) -> Result<(SecretKey, FileOptions), Vec<MappingFault>> {
        let (key, options) = self.target_with_options(KEY, MappingFault::Key)?;
        let has_mode = options.mode.is_some();
        unless(has_mode.then_some(MappingFault::KeyMode).into_iter().collect(), (key, options))
    }

    fn target_with_options<T: FromStr>(
        &self,
        what: &'static str,
        fault: impl Fn(T::Err) -> MappingFault,
    ) -> Result<(T, FileOptions), Vec<MappingFault>> {
        let mut faults = Vec::new();
        let (file, mut rest) = word(what, self.target).map_err(|fault| vec![fault])?;
        let file = keep(&mut faults, file.parse().map_err(fault));

        let mut options = FileOptions::default();
        let mut seen = Vec::new();
        while !rest.is_empty() {
            let (name, after) = match option_name(rest) {
                Ok(named) => named,
                // After this error, the rest of the line cannot be split into options.
                Err(fault) => {
                    faults.push(fault);
                    break;
                }
            };
            let value = match word(name, after) {
                Ok((value, after)) => {
                    rest = after;
                    value
                }
                Err(fault) => {
                    faults.push(fault);
                    break;
                }
            };
            if seen.contains(&name) {
                // Once per name: a line may repeat an option thousands of times.
                let fault = MappingFault::RepeatedOption(name);
                if !faults.contains(&fault) {
                    faults.push(fault);
                }
                continue;
            }
            seen.push(name);
            match name {
                FORMAT => options.format = keep(&mut faults, option(&value, MappingFault::Format)),
                MODE => options.mode = keep(&mut faults, option(&value, MappingFault::Mode)),
                ENCODING => options.encoding = keep(&mut faults, option(&value, MappingFault::Encoding)),
                OPTIONAL => match value.parse() {
                    Ok(optional) => options.optional = optional,
                    Err(_) => faults.push(MappingFault::Optional(Excerpt::new(&value))),
                },
                _ => options.template = Some(value),
            }
        }
        match file {
            Some(file) if faults.is_empty() => Ok((file, options)),
            _ => Err(faults),
        }
    }
}

const FILE: &str = "the file";
const KEY: &str = "the key";
const FORMAT: &str = "format";
const MODE: &str = "mode";
const ENCODING: &str = "encoding";
const OPTIONAL: &str = "optional";
pub(super) const TEMPLATE: &str = "template";

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// Whether the text before an arrow has a quote or a brace that is not part of a variable. Then the
/// arrow may be inside a template, which must not be quoted.
fn may_be_template(source: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_./:${".contains(c);
    let mut rest = source;
    while let Some(at) = rest.find(['"', '{']) {
        let (before, from) = rest.split_at(at);
        let inner = from.strip_prefix('{').filter(|_| before.ends_with('$'));
        match inner.and_then(|inner| inner.split_once('}')) {
            Some((name, after)) if name.chars().all(is_name) => rest = after,
            _ => return true,
        }
    }
    false
}

/// The error for a line without an arrow.
fn no_arrow(line: &str) -> MappingFault {
    // ScaiVault's Docker Compose page uses another grammar for a variable of the same name:
    // `NAME=path`.
    if let Some((name, path)) = line.split_once('=')
        && let Ok(name) = name.trim_end_matches(is_space).parse::<VariableName>()
        && path.trim_start_matches(is_space).parse::<SecretRef>().is_ok()
    {
        return MappingFault::Compose { line: Excerpt::new(line), name };
    }
    // Only the first word: what follows may be a template.
    let word = line.split(is_space).next().unwrap_or(line);
    MappingFault::NoArrow(Excerpt::new(word))
}

/// The value, or `None` after its error was added to `faults`.
fn keep<T>(faults: &mut Vec<MappingFault>, value: Result<T, MappingFault>) -> Option<T> {
    value.map_err(|fault| faults.push(fault)).ok()
}

fn option<T: FromStr>(value: &str, fault: impl Fn(T::Err) -> MappingFault) -> Result<T, MappingFault> {
    value.parse().map_err(fault)
}

/// The option's name at the start of `text`, and the text after its `=`.
fn option_name(text: &str) -> Result<(&'static str, &str), MappingFault> {
    // Quotes only plain characters: the text may be part of a template whose quotes are missing.
    let end = text.find(|c| !is_plain(c)).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    let known = [FORMAT, MODE, ENCODING, OPTIONAL, TEMPLATE].into_iter().find(|known| *known == name);
    match (known, after.strip_prefix('=')) {
        (Some(known), Some(after)) => Ok((known, after)),
        (Some(known), None) => Err(MappingFault::NoValue(known)),
        (None, _) => Err(MappingFault::UnknownOption(Excerpt::new(name))),
    }
}

/// The plain word or JSON string at the start of `text`, and the text after it and its white space.
fn word<'a>(what: &'static str, text: &'a str) -> Result<(String, &'a str), MappingFault> {
    let (word, rest) = if text.starts_with('"') {
        let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
        match strings.next() {
            Some(Ok(word)) => (word, &text[strings.byte_offset()..]),
            _ => return Err(MappingFault::NotJson(what)),
        }
    } else {
        let end = text.find(is_space).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        if word.is_empty() {
            return Err(MappingFault::NoValue(what));
        }
        if !word.chars().all(is_plain) {
            return Err(MappingFault::NotPlain(MappingPart::new(what, word)));
        }
        (word.to_owned(), rest)
    };
    if !rest.is_empty() && !rest.starts_with(is_space) {
        return Err(MappingFault::GluedWord(MappingPart::new(what, &word)));
    }
    Ok((word, rest.trim_start_matches(is_space)))
}
