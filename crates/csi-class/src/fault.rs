//! Problems of a class, with their place.

use std::fmt;

use scaivault_contract::Excerpt;

/// The part of a message that suggests a similar name; empty without one.
pub fn did_you_mean(meant: Option<&str>) -> String {
    meant.map_or(String::new(), |meant| format!("; did you mean {meant}?"))
}

/// A problem. Quotes at most an excerpt of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Index of the object in the parameter `objects`; none for the parameter as a whole.
    pub object: Option<usize>,
    /// The object's key, or the name of a parameter.
    pub key: Option<String>,
    /// The line of the parameter's YAML, from 1, if it cannot be parsed.
    pub line: Option<usize>,
    /// What is wrong, what is allowed and how to fix it.
    pub text: String,
}

impl Fault {
    /// A problem of the parameter as a whole.
    pub(crate) fn whole(text: impl Into<String>) -> Self {
        Self { object: None, key: None, line: None, text: text.into() }
    }

    /// A problem of a key, whose text contains the key.
    pub(crate) fn at_key(key: &str, text: impl Into<String>) -> Self {
        Self { key: Some(key.to_owned()), ..Self::whole(text) }
    }

    /// An unknown key or parameter, as `what` says. `meant` is the most similar known one.
    pub(crate) fn unknown(what: &str, name: &str, meant: Option<&str>, allowed: &[&str]) -> Self {
        let (shown, hint, allowed) = (Excerpt::new(name), did_you_mean(meant), allowed.join(", "));
        Self::at_key(name, format!("the {what} {shown} is not known{hint}; allowed: {allowed}"))
    }

    /// A problem of a key's value.
    pub(crate) fn for_key(key: &str, text: impl fmt::Display) -> Self {
        Self::at_key(key, format!("{key}: {text}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.object {
            write!(f, "objects[{index}]: ")?;
        }
        f.write_str(&self.text)
    }
}
