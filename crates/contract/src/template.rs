//! The template language of files, declared once: the injector validates with it what the agent
//! renders with it.
//!
//! [`check_template`] parses a template with the template library's parser and resolves every name
//! in it, also in branches that are rarely taken. The library itself reports unknown names only
//! while rendering.
//!
//! The parser is part of minijinja's `unstable_machinery`, so the version is pinned. A property
//! test of `crates/render` renders random templates, to show that every template accepted here
//! compiles in the agent and that the agent has every name in it.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, syntax::SyntaxConfig};

#[cfg(test)]
use crate::Excerpt;
use crate::SecretSource;

mod error;
mod names;
mod tags;

pub use error::{NameFault, TemplateError, TemplateSizeError, TemplateWarning, UnknownName};

/// Maximum length of a template in bytes.
pub const TEMPLATE_MAX_BYTES: usize = 32 * 1024;
/// Maximum number of operators in one tag, and of `elif` in a template. Text outside tags is not
/// counted.
///
/// The parser of minijinja 3.1 recurses over unary operators, and builds trees as deep as a chain
/// of binary operators, attributes or `elif` is long. Code generation and drop recurse over these
/// trees. With some thousands, a thread with 2 MiB of stack overflows, which aborts the process.
pub const TEMPLATE_MAX_OPERATORS: usize = 500;
/// Maximum number of tokens (names, values, operators, brackets) in the tags of a template. The
/// cost of validation is proportional to it.
pub const TEMPLATE_MAX_TOKENS: usize = 10_000;
/// Maximum number of steps of one rendering. Loops over a secret's fields need some thousands. Each
/// step may hold about 64 bytes until the end: 12 MiB at most.
pub const TEMPLATE_FUEL: u64 = 200_000;

/// The filters of a template, sorted: those of the template library except `pprint`, whose output
/// is unbounded, and the agent's own.
pub const TEMPLATE_FILTERS: &[&str] = &[
    "abs",
    "attr",
    "b64decode",
    "b64encode",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "urlencode",
    "zip",
];

/// The tests (`is …`) of a template, sorted.
pub const TEMPLATE_TESTS: &[&str] = &[
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "safe",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// The functions of a template, sorted: those of the template library except `debug`, whose output
/// is unbounded.
pub const TEMPLATE_FUNCTIONS: &[&str] = &["dict", "namespace", "range"];

/// The environment of all templates. The agent adds the filters that it implements itself.
pub fn template_environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(syntax());
    environment.set_fuel(Some(TEMPLATE_FUEL));
    environment.remove_filter("pprint");
    environment.remove_global("debug");
    environment
}

/// Keeps the last line break, so that a file ends as written in the annotation.
fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder().keep_trailing_newline(true).build().expect("only the delimiters could be wrong")
}

/// The variables of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateNames<'a> {
    /// One secret: `data`, `version` and `path`.
    Secret,
    /// The credentials of a lease: `data` and `path`.
    Lease,
    /// Several secrets: `secrets.<alias>`, each with the three variables of one secret.
    Secrets(Vec<&'a str>),
}

impl<'a> TemplateNames<'a> {
    /// The names in a template of a file that is written from secrets.
    pub fn from_source<P>(source: &'a SecretSource<P>) -> Self {
        match source {
            SecretSource::Single(_) => Self::Secret,
            SecretSource::Named(named) => {
                Self::Secrets(named.iter().map(|named| named.alias.as_str()).collect())
            }
        }
    }

    /// The variables.
    pub fn variables(&self) -> &'static [&'static str] {
        match self {
            Self::Secret => names::SECRET_MEMBERS,
            Self::Lease => &["data", "path"],
            Self::Secrets(_) => &["secrets"],
        }
    }
}

/// A template that the agent can render.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckedTemplate {
    /// Parts without an effect on the file.
    pub warnings: Vec<TemplateWarning>,
    /// The number of tokens in its tags.
    pub tokens: usize,
}

/// Checks that the agent can compile a template and has every name in it.
///
/// The work is linear in the number of tokens in its tags, at most [`TEMPLATE_MAX_TOKENS`], and in
/// the length of its text, at most [`TEMPLATE_MAX_BYTES`].
pub fn check_template(text: &str, names: &TemplateNames<'_>) -> Result<CheckedTemplate, TemplateError> {
    let mut checked = tags::check(text)?;
    let template =
        minijinja::machinery::parse(text, "", syntax()).map_err(|error| TemplateError::syntax(&error))?;
    checked.warnings.append(&mut names::check(&template, names)?);
    Ok(checked)
}

#[cfg(test)]
mod tests;
