//! The secrets of a file: one, or several with aliases.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::{
    Deferred, Excerpt, FillError, PodValues, SecretPath, SecretPathError, SecretRef, SecretRefError,
};

/// Maximum number of secrets of one file: a template needs all of them in memory at once.
pub const SOURCES_LIMIT: usize = 16;

/// Maximum number of errors that are kept per list; the others are counted.
const ERRORS_KEPT: usize = 8;

/// The secrets of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource<P = SecretPath> {
    /// One secret, or a field of it.
    Single(SecretRef<P>),
    /// Several secrets, each with an alias.
    Named(NamedSecrets<P>),
}

/// The secrets of a mapping. Their paths may contain variables that the agent fills.
pub type DeferredSource = SecretSource<Deferred<SecretPath>>;

impl SecretSource {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "path[#field][@version], or several as alias=path[#field][@version], \
        separated by white space or commas, such as db=environments/production/billing/database (an alias has letters, \
        digits and _, no hyphen, does not start with a digit, and is not engine, role or ttl)";
}

impl<P> SecretSource<P> {
    /// All secrets that are read for the file.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretRef<P>> {
        let (single, named) = match self {
            Self::Single(secret) => (Some(secret), None),
            Self::Named(named) => (None, Some(named)),
        };
        single.into_iter().chain(named.into_iter().flat_map(|named| named.iter().map(|named| &named.secret)))
    }
}

impl DeferredSource {
    /// Fills the variables.
    pub fn fill(self, values: &PodValues) -> Result<SecretSource, FillError<SecretPathError>> {
        Ok(match self {
            Self::Single(secret) => SecretSource::Single(secret.fill(values)?),
            Self::Named(NamedSecrets(named)) => {
                let fill = |NamedSecret { alias, secret }: NamedSecret<_>| {
                    Ok(NamedSecret { alias, secret: secret.fill(values)? })
                };
                let filled: Result<_, FillError<SecretPathError>> = named.into_iter().map(fill).collect();
                SecretSource::Named(NamedSecrets(filled?))
            }
        })
    }
}

/// Secrets with distinct aliases, in the written order; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSecrets<P = SecretPath>(Vec<NamedSecret<P>>);

impl<P> NamedSecrets<P> {
    /// Iterates over the secrets.
    pub fn iter(&self) -> std::slice::Iter<'_, NamedSecret<P>> {
        self.0.iter()
    }
}

impl<'a, P> IntoIterator for &'a NamedSecrets<P> {
    type Item = &'a NamedSecret<P>;
    type IntoIter = std::slice::Iter<'a, NamedSecret<P>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A secret and its alias in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSecret<P = SecretPath> {
    /// The alias.
    pub alias: SecretAlias,
    /// The secret.
    pub secret: SecretRef<P>,
}

/// Alias of a secret in a file of several: a key in JSON and YAML, `secrets.<alias>` in a template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretAlias(String);

impl SecretAlias {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str =
        "1 to 64 of A-Z, a-z, 0-9 and _ (no hyphen), not starting with a digit; not engine, role or ttl";

    const MAX_CHARS: usize = 64;
}

checked_string!(SecretAlias);

impl FromStr for SecretAlias {
    type Err = SecretAliasError;

    fn from_str(text: &str) -> Result<Self, SecretAliasError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_name = (1..=Self::MAX_CHARS).contains(&text.len())
            && text.bytes().all(is_allowed)
            && !text.starts_with(|c: char| c.is_ascii_digit());
        // The keywords of a dynamic secret would turn the list into one.
        if is_name && !matches!(text, "engine" | "role" | "ttl") {
            return Ok(Self(text.to_owned()));
        }
        Err(SecretAliasError { text: Excerpt::new(text) })
    }
}

/// A text that is not an alias.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not an alias of a secret; allowed: {}", SecretAlias::ALLOWED)]
pub struct SecretAliasError {
    /// The text.
    pub text: Excerpt,
}

impl<P: FromStr<Err = SecretPathError>> FromStr for SecretSource<P> {
    type Err = SecretSourceErrors;

    /// Parses the left side of a mapping and the value of an annotation `inject-secret-<name>`
    /// alike.
    fn from_str(text: &str) -> Result<Self, SecretSourceErrors> {
        let text = text.trim_ascii();
        if !text.contains('=') {
            return match text.parse() {
                Ok(secret) => Ok(Self::Single(secret)),
                Err(_) if is_list_of_paths::<P>(text) => {
                    Err(SecretSourceErrors(vec![SecretSourceError::NoAlias(Excerpt::new(text))]))
                }
                Err(error) => Err(SecretSourceErrors(vec![error.into()])),
            };
        }
        let mut entries = entries(text);
        let mut errors = Vec::new();
        let mut named: Vec<NamedSecret<P>> = Vec::new();
        for entry in entries.by_ref().take(SOURCES_LIMIT) {
            match parse_entry(entry) {
                Ok(entry) if named.iter().any(|other| other.alias == entry.alias) => {
                    errors.push(SecretSourceError::AliasTwice(entry.alias));
                }
                Ok(entry) => named.push(entry),
                Err(more) => errors.extend(more),
            }
        }
        // The text may have 256 KiB: entries above the limit are counted and not parsed.
        let beyond = entries.count();
        if beyond > 0 {
            errors.insert(0, SecretSourceError::TooMany(SOURCES_LIMIT + beyond));
        }
        match SecretSourceErrors::new(errors) {
            Some(errors) => Err(errors),
            None => Ok(Self::Named(NamedSecrets(named))),
        }
    }
}

/// The entries between the separators.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_separator).filter(|entry| !entry.is_empty())
}

fn is_separator(c: char) -> bool {
    c == ',' || c.is_ascii_whitespace()
}

/// Whether the text is a list of secrets that lacks only the aliases.
fn is_list_of_paths<P: FromStr<Err = SecretPathError>>(text: &str) -> bool {
    entries(text).nth(1).is_some()
        && entries(text).take(SOURCES_LIMIT).all(|entry| entry.parse::<SecretRef<P>>().is_ok())
}

fn parse_entry<P: FromStr<Err = SecretPathError>>(
    entry: &str,
) -> Result<NamedSecret<P>, Vec<SecretSourceError>> {
    let Some((alias, secret)) = entry.split_once('=') else {
        return Err(vec![SecretSourceError::NoAlias(Excerpt::new(entry))]);
    };
    match (alias.parse(), secret.parse()) {
        (Ok(alias), Ok(secret)) => Ok(NamedSecret { alias, secret }),
        (alias, secret) => {
            let alias = alias.err().map(SecretSourceError::Alias);
            Err(alias.into_iter().chain(secret.err().map(SecretSourceError::Secret)).collect())
        }
    }
}

impl<P: fmt::Display> fmt::Display for SecretSource<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(secret) => secret.fmt(f),
            Self::Named(named) => {
                for (index, NamedSecret { alias, secret }) in named.iter().enumerate() {
                    let separator = if index == 0 { "" } else { " " };
                    write!(f, "{separator}{alias}={secret}")?;
                }
                Ok(())
            }
        }
    }
}

text_in_serde!(SecretSource);

/// The errors in the secrets of a file: at least one, and at most 8 before
/// [`SecretSourceError::More`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct SecretSourceErrors(Vec<SecretSourceError>);

impl SecretSourceErrors {
    /// `None` if there are no errors.
    fn new(mut errors: Vec<SecretSourceError>) -> Option<Self> {
        let more = errors.len().saturating_sub(ERRORS_KEPT);
        if more > 0 {
            errors.truncate(ERRORS_KEPT);
            errors.push(SecretSourceError::More(more));
        }
        (!errors.is_empty()).then_some(Self(errors))
    }
}

impl IntoIterator for SecretSourceErrors {
    type Item = SecretSourceError;
    type IntoIter = std::vec::IntoIter<SecretSourceError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for SecretSourceErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

/// An error in the secrets of a file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SecretSourceError {
    /// A secret is invalid.
    #[error(transparent)]
    Secret(#[from] SecretRefError),
    /// An alias is invalid.
    #[error(transparent)]
    Alias(SecretAliasError),
    /// One of several secrets without an alias.
    #[error(
        "{0} has no alias; a file of several secrets needs one for each; allowed: alias=path alias=path, such as db=environments/production/billing/database"
    )]
    NoAlias(Excerpt),
    /// An alias is repeated.
    #[error("the alias {0} is used twice; give each secret its own")]
    AliasTwice(SecretAlias),
    /// More than [`SOURCES_LIMIT`] secrets.
    #[error("{0} secrets are named for one file; allowed: {SOURCES_LIMIT}")]
    TooMany(usize),
    /// The number of errors that are not kept.
    #[error("{0} more errors in this list are not shown")]
    More(usize),
}

#[cfg(test)]
mod tests;
