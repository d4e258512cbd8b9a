//! Errors of templates, shared by the injector and the agent.

use std::fmt;

use thiserror::Error;

use super::{
    TEMPLATE_FILTERS, TEMPLATE_FUNCTIONS, TEMPLATE_MAX_BYTES, TEMPLATE_MAX_OPERATORS, TEMPLATE_MAX_TOKENS,
    TEMPLATE_TESTS, names,
};
use crate::Excerpt;

/// Maximum number of unknown names that an error lists.
const NAMES_SHOWN: usize = 4;
/// Maximum length in bytes of the template library's description of an error.
const DETAIL_BYTES: usize = 120;

/// A template that the agent cannot render. Errors quote names in tags and never text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// It is too large to be parsed.
    #[error(transparent)]
    Size(#[from] TemplateSizeError),
    /// Its syntax is invalid.
    #[error("the template does not parse: line {line}: {detail}")]
    Syntax {
        /// The line of the template, starting at 1.
        line: usize,
        /// The library's description.
        detail: String,
    },
    /// It uses unknown names; never empty.
    #[error("{}", list(.0))]
    Names(Vec<UnknownName>),
}

impl TemplateError {
    pub(super) fn syntax(error: &minijinja::Error) -> Self {
        let kind = error.kind().to_string();
        // The library's details name the kinds of tokens and quote only the name of an unknown
        // statement.
        let detail = error.detail().filter(|detail| detail.len() <= DETAIL_BYTES).map_or(kind, str::to_owned);
        Self::Syntax { line: error.line().unwrap_or(1), detail }
    }
}

fn list(unknown: &[UnknownName]) -> String {
    let mut texts: Vec<String> = unknown.iter().take(NAMES_SHOWN).map(ToString::to_string).collect();
    if let Some(more) = unknown.len().checked_sub(NAMES_SHOWN).filter(|more| *more > 0) {
        texts.push(format!("and {more} more"));
    }
    texts.join("; ")
}

/// A template that is too large to be parsed safely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TemplateSizeError {
    /// It has more than [`TEMPLATE_MAX_BYTES`] bytes.
    #[error("the template has {0} bytes, and {TEMPLATE_MAX_BYTES} are allowed")]
    TooLong(usize),
    /// A tag has more than [`TEMPLATE_MAX_OPERATORS`] operators.
    #[error(
        "line {0} of the template has a tag with more than {TEMPLATE_MAX_OPERATORS} operators; split it up with set"
    )]
    TooManyOperators(usize),
    /// Its tags have more than [`TEMPLATE_MAX_TOKENS`] tokens.
    #[error(
        "line {0} of the template: its tags have more than {TEMPLATE_MAX_TOKENS} tokens (names, values, operators, brackets); write several files"
    )]
    TooManyTokens(usize),
    /// It has more than [`TEMPLATE_MAX_OPERATORS`] `elif`.
    #[error(
        "line {0} of the template: it has more than {TEMPLATE_MAX_OPERATORS} elif; look the value up in a dictionary instead"
    )]
    TooManyBranches(usize),
}

/// A name in a template that cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line} of the template: {fault}")]
pub struct UnknownName {
    /// The line of the template, starting at 1.
    pub line: usize,
    /// The kind of error.
    pub fault: NameFault,
    /// The name.
    pub name: String,
    /// The valid names; empty if they cannot be listed.
    pub known: Vec<String>,
}

/// Why a name cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameFault {
    /// Unknown filter.
    #[error("there is no filter {0}")]
    Filter(Excerpt),
    /// Unknown test.
    #[error("there is no test {0}")]
    Test(Excerpt),
    /// Unknown function.
    #[error("there is no function {0}")]
    Function(Excerpt),
    /// A method call; values have no methods.
    #[error("{0} is called as a method, and values have no methods; use a filter")]
    Method(Excerpt),
    /// Unknown variable.
    #[error("there is no variable {0}")]
    Variable(Excerpt),
    /// A variable that is only set in another scope.
    #[error(
        "the variable {0} is not set here: what is set in a loop, a with or a macro ends with it; use a namespace, or set it before"
    )]
    Scope(Excerpt),
    /// Unknown alias of a secret.
    #[error("the file has no secret with the alias {0}")]
    Alias(Excerpt),
    /// Unknown member of a secret.
    #[error("a secret of secrets.<alias> has no {0}")]
    Member(Excerpt),
    /// A field of a text or number.
    #[error("path and version have no fields, and {0} is read as one")]
    Field(Excerpt),
    /// Unknown field of `loop`.
    #[error("loop has no {0}")]
    Loop(Excerpt),
    /// The name of a filter or test that is computed.
    #[error("{0} needs the name of a filter or test in quotes, such as map('upper')")]
    Computed(Excerpt),
    /// Macros that are nested too deeply.
    #[error("the macro {0} is nested too deeply in other macros; declare macros next to each other")]
    Nested(Excerpt),
    /// A list that is repeated with an operator.
    #[error("the operator {0} repeats a list; write a loop over range")]
    Repeated(Excerpt),
}

impl NameFault {
    /// The valid names, for errors whose valid names do not depend on the template.
    pub(super) fn known(&self) -> &'static [&'static str] {
        match self {
            Self::Filter(_) | Self::Method(_) => TEMPLATE_FILTERS,
            Self::Test(_) => TEMPLATE_TESTS,
            Self::Function(_) => TEMPLATE_FUNCTIONS,
            Self::Member(_) => names::SECRET_MEMBERS,
            Self::Loop(_) => names::LOOP_MEMBERS,
            Self::Variable(_)
            | Self::Scope(_)
            | Self::Alias(_)
            | Self::Field(_)
            | Self::Computed(_)
            | Self::Nested(_)
            | Self::Repeated(_) => &[],
        }
    }
}

/// A part of a template that has no effect on the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateWarning {
    /// A comment in this line.
    Comment(usize),
    /// A `-` in a tag of this line or the next removes the line break between two lines of output.
    Joined(usize),
    /// A macro in this line that is never called.
    UnusedMacro(usize, Excerpt),
    /// A variable that is set in this line and never read.
    UnusedVariable(usize, Excerpt),
    /// `autoescape` in this line.
    AutoEscape(usize),
    /// It does not use the secret; contains what it could write.
    NoSecret(&'static str),
}

impl fmt::Display for TemplateWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Comment(line) => write!(
                f,
                "line {line} of the template has a comment, {{# … #}}, which is not written to the file; if it is meant as \
                 text, put it between {{% raw %}} and {{% endraw %}}"
            ),
            Self::Joined(line) => write!(
                f,
                "line {line} of the template and the next become one line, because the - in a tag removes the line break; \
                 remove the - if there should be two"
            ),
            Self::UnusedMacro(line, name) => write!(
                f,
                "line {line} of the template defines the macro {name}, which is never called, so its text is not written"
            ),
            Self::UnusedVariable(line, name) => {
                write!(f, "line {line} of the template sets {name}, which is never read")
            }
            Self::AutoEscape(line) => write!(
                f,
                "line {line} of the template has autoescape, which has no effect: values are written as they are; use the \
                 filter escape"
            ),
            Self::NoSecret(example) => {
                write!(f, "the template writes nothing of the secret; write for example {{{{ {example} }}}}")
            }
        }
    }
}
