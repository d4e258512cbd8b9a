//! The template language of files, declared once: the injector checks with it what the agent renders with it.
//!
//! [`check_template`] reads a template with the parser of the template library and resolves every name in it, in
//! branches that are rarely taken too. The library itself finds unknown names only while it renders.
//!
//! The parser belongs to minijinja's `unstable_machinery`, so its version is pinned. A property test of the agent renders
//! random templates to show that the agent can compile every template that is accepted here and knows every name in it.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, syntax::SyntaxConfig};

#[cfg(test)]
use crate::Excerpt;
use crate::SecretSource;

mod error;
mod names;
mod tags;

pub use error::{NameFault, TemplateError, TemplateSizeError, TemplateWarning, UnknownName};

/// The longest template, bytes.
pub const TEMPLATE_MAX_BYTES: usize = 32 * 1024;
/// The most operators in one tag, and the most `elif` in a template. Text outside of tags is not counted.
///
/// The parser of minijinja 3.1 recurses over unary operators and builds trees that are as deep as a chain of binary
/// ones, of attributes or of `elif` is long. Code generation and drop recurse over these trees. A thread of 2 MiB
/// overflows its stack, which ends the process, at some thousands.
pub const TEMPLATE_MAX_OPERATORS: usize = 500;
/// The most tokens (names, values, operators, brackets) in the tags of a template: what its check costs is counted in them.
pub const TEMPLATE_MAX_TOKENS: usize = 10_000;
/// The most steps of one rendering. Loops over a secret's fields need some thousands. Each may hold some 64 bytes until
/// the end: 12 MiB at most.
pub const TEMPLATE_FUEL: u64 = 200_000;

/// The filters of a template, sorted: those of the template library without `pprint`, which writes without a bound,
/// and the agent's own.
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

/// The functions of a template, sorted: those of the template library without `debug`, which writes without a bound.
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

/// The last line end is kept: a file ends as it is written in the annotation.
fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder().keep_trailing_newline(true).build().expect("only the delimiters could be wrong")
}

/// What a template is rendered over: the variables that it can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateNames<'a> {
    /// One secret: `data`, `version` and `path`.
    Secret,
    /// The credentials of a lease: `data` and `path`.
    Lease,
    /// Several secrets: `secrets.<alias>`, each with the three of one secret.
    Secrets(Vec<&'a str>),
}

impl<'a> TemplateNames<'a> {
    /// The names of a file that is written from secrets.
    pub fn of_source<P>(source: &'a SecretSource<P>) -> Self {
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

/// What is known of a template that the agent can render.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckedTemplate {
    /// Text and definitions that have no effect on the file.
    pub warnings: Vec<TemplateWarning>,
    /// How many tokens its tags have.
    pub tokens: usize,
}

/// Checks that the agent can compile a template and knows every name in it.
///
/// The work is linear in the tokens of its tags, at most [`TEMPLATE_MAX_TOKENS`], and in the length of its text,
/// at most [`TEMPLATE_MAX_BYTES`].
pub fn check_template(text: &str, names: &TemplateNames<'_>) -> Result<CheckedTemplate, TemplateError> {
    let mut checked = tags::check(text)?;
    let template =
        minijinja::machinery::parse(text, "", syntax()).map_err(|error| TemplateError::syntax(&error))?;
    checked.warnings.append(&mut names::check(&template, names)?);
    Ok(checked)
}

#[cfg(test)]
mod tests;
