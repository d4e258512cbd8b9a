//! The kinds of text in a policy: one pattern, for the API server's CEL rule and for validation
//! without it.

use std::{fmt, sync::LazyLock};

use kube_core::Rule;
use regex::Regex;

/// A kind of text.
pub(crate) struct Text {
    /// Must not contain a single quote or backslash, which would need escapes in CEL.
    pattern: &'static str,
    /// The expected form, for messages.
    pub(crate) expected: &'static str,
    regex: LazyLock<Regex>,
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $pattern:literal, $expected:literal;)+) => {
        $(
            $(#[$doc])*
            pub(crate) static $name: Text = Text {
                pattern: $pattern,
                expected: $expected,
                regex: LazyLock::new(|| Regex::new($pattern).expect("the pattern is well-formed")),
            };
        )+

        #[cfg(test)]
        static ALL: &[&Text] = &[$(&$name),+];
    };
}

texts! {
    /// Name of a file in an annotation's key.
    FILE_NAME = "^[A-Za-z0-9_.-]{1,47}$",
        "expected a name of 1 to 47 of A-Z, a-z, 0-9, -, _ and ., such as db.json";
    /// Name of an environment variable.
    VARIABLE_NAME = "^[A-Za-z_][A-Za-z0-9_]{0,127}$",
        "expected the name of a variable: A-Z, a-z, 0-9 and _, not a digit first, at most 128 characters, such as DB_PASSWORD";
    /// Name of an environment, which becomes a level of secret paths.
    ENVIRONMENT = "^[a-z0-9_-]{1,63}$",
        "expected the name of an environment: 1 to 63 of a-z, 0-9, - and _, such as production";
    /// Names of namespaces or service accounts, with wildcards.
    NAME_GLOB = "^[a-z0-9.*?-]{1,253}$",
        "expected a name or a glob of a-z, 0-9, -, ., * and ?, such as billing-*";
    /// One uid or a range.
    UIDS = "^([0-9]{1,10}(-[0-9]{1,10})?|unset)$",
        "expected a uid, a range or unset, such as 1000 or 1000-1999";
    /// A glob of secret paths. Kept short, because the API server's cost limit depends on the
    /// pattern's length; the core validates the variables.
    PATH_GLOB = "^([a-z0-9_*?-]|[$][{][^}]+[}])+(/([a-z0-9_*?-]|[$][{][^}]+[}])+)*$",
        "expected secret paths with wildcards: levels of a-z, 0-9, -, _, *, ? and variables such as ${namespace}, with single slashes between, such as environments/production/${namespace}/**";
    /// Name of a Kubernetes object, with wildcards.
    OBJECT_GLOB = "^[a-z0-9.*?-]{1,253}$",
        "expected the name of an object or a glob of a-z, 0-9, -, ., * and ?, such as billing-*";
    /// Name of a container.
    CONTAINER = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        "expected the name of a container: a-z, 0-9 and -, at most 63 characters";
    /// Name of an exception.
    EXCEPTION_NAME = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        "expected a name of a-z, 0-9 and -, at most 63 characters, such as legacy-report";
}

impl Text {
    /// Whether a text is of this kind.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The rule for a field with one text.
    pub(crate) fn rule(&self) -> Rule {
        Rule::new(format!("self.matches('{}')", self.pattern)).message(self.expected)
    }

    /// The rule for a list of texts.
    pub(crate) fn list_rule(&self) -> Rule {
        Rule::new(format!("self.all(item, item.matches('{}'))", self.pattern)).message(self.expected)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_need_no_escapes_in_cel() {
        for text in ALL {
            assert!(!text.pattern.contains(['\'', '\\']), "{text:?}");
            assert!(["a1", "1"].iter().any(|right| text.matches(right)), "{text:?}");
            for wrong in ["", "a b", "a\n", "ä"] {
                assert!(!text.matches(wrong), "{text:?} {wrong:?}");
            }
        }
    }
}
