//! Variables of a mapping that only the pod itself can fill: `${pod}` and `${node}`.
//!
//! A pod of a controller has neither a name nor a node when it is admitted. The injector leaves
//! these variables in the mapping, and the agent fills them once at its start. An agent from before
//! these variables rejects such a mapping, because its grammar allows no `$` in a path, engine or
//! role.

use std::{convert::Infallible, fmt, marker::PhantomData, str::FromStr};

use thiserror::Error;

use crate::{EngineName, Excerpt, NameError, RoleName, SecretPath, SecretPathError, SecretPathFault, env};

/// A variable that the agent fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PodVariable {
    /// The pod's name.
    Pod,
    /// The name of the node it runs on.
    Node,
}

impl PodVariable {
    /// All variables.
    pub const ALL: [Self; 2] = [Self::Pod, Self::Node];

    /// The name between the braces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Node => "node",
        }
    }

    /// The environment variable with its value in the agent's container.
    pub const fn env(self) -> &'static str {
        match self {
            Self::Pod => env::SCAIVAULT_POD,
            Self::Node => env::SCAIVAULT_NODE,
        }
    }

    /// The field of the pod that sets the environment variable.
    pub const fn field_path(self) -> &'static str {
        match self {
            Self::Pod => "metadata.name",
            Self::Node => "spec.nodeName",
        }
    }
}

impl fmt::Display for PodVariable {
    /// With the braces: `${pod}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${{{}}}", self.name())
    }
}

/// A part of a text with variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPart<'a> {
    /// Text without variables.
    Literal(&'a str),
    /// The text between `${` and `}`.
    Variable(&'a str),
}

/// A `$` that does not start a valid variable.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VariableFault {
    /// A `$` without a brace.
    #[error("a $ only starts a variable, such as ${{pod}}")]
    Bare,
    /// The closing `}` is missing.
    #[error("a variable starts with ${{ and has no }}")]
    Unclosed,
    /// `${` between `${` and `}`.
    #[error("a variable cannot contain another one, and variables in its value are not replaced")]
    Nested,
    /// The name is not one of the agent's variables.
    #[error("the agent fills ${{pod}} and ${{node}}, and {0} is neither")]
    Unknown(Excerpt),
}

/// Splits a text into literals and variables. Variable names are not checked, except that they
/// cannot contain `$` or `{`.
pub fn text_parts(text: &str) -> Result<Vec<TextPart<'_>>, VariableFault> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (literal, from) = rest.split_at(at);
        if !literal.is_empty() {
            parts.push(TextPart::Literal(literal));
        }
        let inner = from.strip_prefix("${").ok_or(VariableFault::Bare)?;
        let (name, after) = inner.split_once('}').ok_or(VariableFault::Unclosed)?;
        if name.contains(['$', '{']) {
            return Err(VariableFault::Nested);
        }
        parts.push(TextPart::Variable(name));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(TextPart::Literal(rest));
    }
    Ok(parts)
}

/// Name of a pod or a node, by Kubernetes' rule. It contains no slash, so it cannot add a level to
/// a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(String);

impl ObjectName {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "1 to 253 of a-z, 0-9, - and .";
}

checked_string!(ObjectName);

impl FromStr for ObjectName {
    type Err = ObjectNameError;

    fn from_str(text: &str) -> Result<Self, ObjectNameError> {
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        if (1..=253).contains(&text.len()) && text.bytes().all(is_allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(ObjectNameError)
    }
}

/// A text that is not the name of a pod or a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it is not the name of a pod or a node; take it from the field metadata.name or spec.nodeName")]
pub struct ObjectNameError;

/// The values of the variables, as far as the agent's container has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodValues {
    /// The pod's name.
    pub pod: Option<ObjectName>,
    /// The node's name.
    pub node: Option<ObjectName>,
}

impl PodValues {
    /// The value of a variable, if it is set.
    pub fn get(&self, variable: PodVariable) -> Option<&ObjectName> {
        match variable {
            PodVariable::Pod => self.pod.as_ref(),
            PodVariable::Node => self.node.as_ref(),
        }
    }
}

/// A type whose text may contain variables.
pub trait Deferrable: FromStr {
    /// The error for a `$` that does not start a valid variable.
    fn variable_error(text: &str, fault: VariableFault) -> Self::Err;

    /// Changes an error about the text with sample values so that it quotes the original text.
    fn about(error: Self::Err, text: &str) -> Self::Err;
}

impl Deferrable for SecretPath {
    fn variable_error(text: &str, fault: VariableFault) -> SecretPathError {
        SecretPathError { text: Excerpt::new(text), fault: SecretPathFault::Variable(fault) }
    }

    fn about(error: SecretPathError, text: &str) -> SecretPathError {
        SecretPathError { text: Excerpt::new(text), ..error }
    }
}

macro_rules! deferrable_name {
    ($name:ident) => {
        impl Deferrable for $name {
            fn variable_error(text: &str, fault: VariableFault) -> NameError {
                NameError { text: Excerpt::new(text), variable: Some(fault) }
            }

            fn about(error: NameError, text: &str) -> NameError {
                NameError { text: Excerpt::new(text), ..error }
            }
        }
    };
}

deferrable_name!(EngineName);
deferrable_name!(RoleName);

/// A value, or a text that becomes one when the agent fills `${pod}` and `${node}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deferred<T> {
    /// A value without variables.
    Fixed(T),
    /// A text with at least one variable.
    Open(OpenText<T>),
}

/// A text with `${pod}` or `${node}`. It is well-formed for every value of the variables, unless
/// the value has characters that do not fit or is too long.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpenText<T> {
    text: String,
    of: PhantomData<T>,
}

impl<T> Deferred<T> {
    /// Its variables, including duplicates.
    pub fn variables(&self) -> impl Iterator<Item = PodVariable> {
        let text = match self {
            Self::Fixed(_) => "",
            Self::Open(open) => &open.text,
        };
        let parts = text_parts(text).unwrap_or_default();
        parts.into_iter().filter_map(|part| match part {
            TextPart::Literal(_) => None,
            TextPart::Variable(name) => pod_variable(name),
        })
    }
}

impl<T: Deferrable> Deferred<T> {
    /// Fills the variables. The values have no slash, so the number of levels of a path does not
    /// change.
    pub fn fill(self, values: &PodValues) -> Result<T, FillError<T::Err>> {
        let open = match self {
            Self::Fixed(value) => return Ok(value),
            Self::Open(open) => open.text,
        };
        let name =
            |variable| values.get(variable).map(ObjectName::as_str).ok_or(FillError::Missing(variable));
        let filled = replace(&open, name).unwrap_or(Ok(String::new()))?;
        filled.parse().map_err(|error| FillError::Unfit { written: Excerpt::new(&open), error })
    }
}

impl<T: Deferrable> FromStr for Deferred<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if !text.contains('$') {
            return text.parse().map(Self::Fixed);
        }
        // A name of one letter is the shortest: an error with it occurs with every other name too.
        let sample = replace(text, |_| Ok::<_, Infallible>("x"));
        let Ok(sample) = sample.map_err(|fault| T::variable_error(text, fault))?;
        match sample.parse::<T>() {
            Ok(_) => Ok(Self::Open(OpenText { text: text.to_owned(), of: PhantomData })),
            Err(error) => Err(T::about(error, text)),
        }
    }
}

/// Replaces each variable in a text.
fn replace<'v, E>(
    text: &str,
    value: impl Fn(PodVariable) -> Result<&'v str, E>,
) -> Result<Result<String, E>, VariableFault> {
    let mut filled = String::with_capacity(text.len());
    for part in text_parts(text)? {
        match part {
            TextPart::Literal(literal) => filled.push_str(literal),
            TextPart::Variable(name) => {
                let variable =
                    pod_variable(name).ok_or_else(|| VariableFault::Unknown(Excerpt::new(name)))?;
                match value(variable) {
                    Ok(value) => filled.push_str(value),
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
    }
    Ok(Ok(filled))
}

fn pod_variable(name: &str) -> Option<PodVariable> {
    PodVariable::ALL.into_iter().find(|variable| variable.name() == name)
}

impl<T> From<T> for Deferred<T> {
    fn from(value: T) -> Self {
        Self::Fixed(value)
    }
}

impl<T: fmt::Display> fmt::Display for Deferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(value) => value.fmt(f),
            Self::Open(open) => f.write_str(&open.text),
        }
    }
}

/// Why a variable cannot be filled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FillError<E> {
    /// The variable has no value.
    #[error(
        "it contains {0}, but the environment variable {env} is not set; set it from the field {field}",
        env = .0.env(),
        field = .0.field_path()
    )]
    Missing(PodVariable),
    /// The filled text is not valid.
    #[error(
        "{written} does not become a path or a name here: {error}; remove the variable whose value does not fit"
    )]
    Unfit {
        /// The text before it was filled.
        written: Excerpt,
        /// The error of the filled text.
        error: E,
    },
}

#[cfg(test)]
mod tests;
