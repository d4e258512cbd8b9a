//! The source of a dynamic secret: `engine=E role=R [ttl=D]`.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::{Deferrable, Deferred, Duration, DurationError, Excerpt, FillError, PodValues, VariableFault};

/// Maximum length of an engine's or a role's name in characters.
const NAME_MAX_CHARS: usize = 128;

/// Name of a dynamic engine, such as `postgres-prod`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineName(String);

impl EngineName {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = NameError::ALLOWED;
}

checked_string!(EngineName);

impl FromStr for EngineName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_name(text).map(Self)
    }
}

/// Name of a role of a dynamic engine, such as `readonly`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName(String);

impl RoleName {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = NameError::ALLOWED;
}

checked_string!(RoleName);

impl FromStr for RoleName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_name(text).map(Self)
    }
}

/// Both names become path segments of a URL, so only few characters are allowed.
fn check_name(text: &str) -> Result<String, NameError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if (1..=NAME_MAX_CHARS).contains(&text.len()) && text.bytes().all(is_allowed) {
        return Ok(text.to_owned());
    }
    Err(NameError { text: Excerpt::new(text), variable: None })
}

/// A text that is not the name of an engine or a role.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not a name{}; allowed: {}", .variable.as_ref().map_or(String::new(), |fault| format!(": {fault}")), Self::ALLOWED)]
pub struct NameError {
    /// The text.
    pub text: Excerpt,
    /// Set if a `$` does not start a valid variable, for names that may contain variables.
    pub variable: Option<VariableFault>,
}

impl NameError {
    const ALLOWED: &'static str = "1 to 128 of A-Z, a-z, 0-9, - and _";
}

/// A dynamic secret: the engine, the role and the lease duration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DynamicRef<E = EngineName, R = RoleName> {
    /// The engine.
    pub engine: E,
    /// The role of that engine.
    pub role: R,
    /// The duration of a lease; `None` for the role's default.
    pub ttl: Option<Duration>,
}

impl DynamicRef {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "engine=E role=R [ttl=D], without spaces around the =, such as engine=postgres-prod role=readonly ttl=2h";
}

/// A dynamic secret of a mapping. Its names may contain variables that the agent fills.
pub type DeferredDynamic = DynamicRef<Deferred<EngineName>, Deferred<RoleName>>;

impl<E: Deferrable<Err = NameError>, R: Deferrable<Err = NameError>> DynamicRef<Deferred<E>, Deferred<R>> {
    /// Fills the variables.
    pub fn fill(self, values: &PodValues) -> Result<DynamicRef<E, R>, FillError<NameError>> {
        let Self { engine, role, ttl } = self;
        Ok(DynamicRef { engine: engine.fill(values)?, role: role.fill(values)?, ttl })
    }
}

impl<E: FromStr<Err = NameError>, R: FromStr<Err = NameError>> FromStr for DynamicRef<E, R> {
    type Err = DynamicRefError;

    /// Accepts the parts in any order, each once.
    fn from_str(text: &str) -> Result<Self, DynamicRefError> {
        let (mut engine, mut role, mut ttl) = (None, None, None);
        for word in text.split_ascii_whitespace() {
            let (name, before) = match word.split_once('=') {
                Some(("engine", value)) => ("engine", engine.replace(value)),
                Some(("role", value)) => ("role", role.replace(value)),
                Some(("ttl", value)) => ("ttl", ttl.replace(value)),
                _ => return Err(DynamicRefError::Unknown(Excerpt::new(word))),
            };
            if before.is_some() {
                return Err(DynamicRefError::Repeated(name));
            }
        }
        let missing = |name| DynamicRefError::Missing { name, text: Excerpt::new(text) };
        let engine = engine.ok_or_else(|| missing("engine"))?;
        let role = role.ok_or_else(|| missing("role"))?;
        Ok(Self {
            engine: engine.parse().map_err(DynamicRefError::Engine)?,
            role: role.parse().map_err(DynamicRefError::Role)?,
            ttl: ttl.map(str::parse).transpose()?,
        })
    }
}

impl<E: fmt::Display, R: fmt::Display> fmt::Display for DynamicRef<E, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { engine, role, ttl } = self;
        write!(f, "engine={engine} role={role}")?;
        match ttl {
            Some(ttl) => write!(f, " ttl={ttl}"),
            None => Ok(()),
        }
    }
}

text_in_serde!(DynamicRef);

/// A text that is not `engine=E role=R [ttl=D]`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DynamicRefError {
    /// A part that is none of the three.
    #[error("{0} is not of the form engine=E, role=R or ttl=D; allowed: {allowed}", allowed = DynamicRef::ALLOWED)]
    Unknown(Excerpt),
    /// A part is repeated.
    #[error("{0}= is given twice; keep one")]
    Repeated(&'static str),
    /// The engine or the role is missing.
    #[error("{text} has no {name}=; allowed: {}", DynamicRef::ALLOWED)]
    Missing {
        /// `engine` or `role`.
        name: &'static str,
        /// The text.
        text: Excerpt,
    },
    /// The engine's name is invalid.
    #[error("engine: {0}")]
    Engine(NameError),
    /// The role's name is invalid.
    #[error("role: {0}")]
    Role(NameError),
    /// The duration is invalid.
    #[error("ttl: {0}")]
    Ttl(#[from] DurationError),
}

#[cfg(test)]
mod tests;
