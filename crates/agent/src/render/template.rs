//! Templates: bounded in size, in work and in output, because their author need not be who runs the agent.

use std::io;

use minijinja::{
    AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value, context, syntax::SyntaxConfig, value::Serde,
};
use scaivault_contract::{TemplateSizeError, check_template_size};
use thiserror::Error;
use zeroize::Zeroizing;

use super::Content;

/// The most instructions of one rendering: loops over a secret's fields need some thousands. Each may hold some 64 bytes until
/// the end: 12 MiB at most.
const FUEL: u64 = 200_000;
/// The most bytes a template may write: half the default size of the secrets' volume, of which two generations exist
/// during a swap.
const OUTPUT_MAX_BYTES: usize = 4 * 1024 * 1024;

/// A template whose syntax holds.
#[derive(Clone, Debug)]
pub(crate) struct Template(String);

impl Template {
    /// Checks the syntax.
    pub(crate) fn parse(source: String) -> Result<Self, TemplateError> {
        check_template_size(&source)?;
        match Environment::new().template_from_str(&source) {
            Ok(_) => Ok(Self(source)),
            Err(error) => Err(TemplateError::Syntax(Fault::of(&error))),
        }
    }

    /// Renders it over `data`, `version` and `path`. A name or a key that is not there is an error, not an empty text.
    pub(super) fn render(&self, content: Content<'_>) -> Result<Zeroizing<String>, TemplateError> {
        let Content { path, version, data, field: _ } = content;
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_syntax(
            SyntaxConfig::builder()
                .keep_trailing_newline(true)
                .build()
                .expect("only the delimiters could be wrong"),
        );
        environment.set_fuel(Some(FUEL));
        let data = Value::from(Serde(data));
        let names = if let Some(version) = version {
            context! { path, version, data }
        } else {
            context! { path, data }
        };
        let template = environment
            .template_from_str(&self.0)
            .map_err(|error| TemplateError::Syntax(Fault::of(&error)))?;
        let mut output = Output::default();
        match template.render_captured_to(names, &mut output) {
            Ok(_) => {}
            Err(_) if output.is_full => return Err(TemplateError::TooMuchOutput),
            Err(error) => {
                return Err(match error.kind() {
                    ErrorKind::OutOfFuel => TemplateError::OutOfFuel,
                    ErrorKind::UndefinedError => TemplateError::Undefined(error.line().unwrap_or_default()),
                    _ => TemplateError::Rendering(Fault::of(&error)),
                });
            }
        }
        let bytes = std::mem::take(&mut *output.bytes);
        Ok(Zeroizing::new(String::from_utf8(bytes).expect("a template writes text")))
    }
}

/// A template that cannot be rendered. Never quotes it, nor what it was given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum TemplateError {
    /// It is too large to be parsed.
    #[error(transparent)]
    Size(#[from] TemplateSizeError),
    /// Its syntax is broken.
    #[error("the template does not parse: {0}")]
    Syntax(Fault),
    /// It names something that is not there.
    #[error("line {0} of the template names a value or a field that the secret does not have")]
    Undefined(usize),
    /// It takes too long.
    #[error("the template does not end: more than {FUEL} steps")]
    OutOfFuel,
    /// It writes too much.
    #[error("the template writes more than {OUTPUT_MAX_BYTES} bytes")]
    TooMuchOutput,
    /// Anything else while rendering.
    #[error("the template cannot be rendered: {0}")]
    Rendering(Fault),
}

/// The kind and the line of an error of the template library. Its detail may quote the template or a value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind}{}", .line.map(|line| format!(" in line {line}")).unwrap_or_default())]
pub(crate) struct Fault {
    kind: ErrorKind,
    line: Option<usize>,
}

impl Fault {
    fn of(error: &minijinja::Error) -> Self {
        Self { kind: error.kind(), line: error.line() }
    }
}

/// Takes no more than [`OUTPUT_MAX_BYTES`].
#[derive(Default)]
struct Output {
    bytes: Zeroizing<Vec<u8>>,
    is_full: bool,
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > OUTPUT_MAX_BYTES {
            self.is_full = true;
            return Err(io::Error::other("the output is full"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
