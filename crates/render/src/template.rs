//! Templates, limited in size, in work and in output, because their author may be less trusted than
//! the operator of the agent.

use std::{collections::BTreeMap, io, panic::resume_unwind, thread};

use minijinja::{ErrorKind, Value, context};
use scaivault_contract::{
    NamedSecret, SecretRef, SecretSource, TEMPLATE_FUEL, TemplateError as InvalidTemplate, check_template,
    template_environment,
};
use thiserror::Error;

use crate::{Content, Source};

mod filters;
mod value;

use filters::Refusal;

/// Maximum number of bytes that a template may write: half of the default size of the secrets'
/// volume, which holds two generations during a swap.
const OUTPUT_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Stack size of a rendering thread. The library recurses over values, also to drop them, and a
/// template that uses all its fuel nests about 25,000 lists. Only the pages that are used take
/// memory.
const STACK_BYTES: usize = 128 * 1024 * 1024;

/// A template that compiles and uses only names that exist.
#[derive(Clone, Debug)]
pub struct Template(String);

impl Template {
    /// Validates a template as the injector does. Warnings are discarded: the injector shows them
    /// to the template's author.
    pub fn parse(text: String, source: &Source) -> Result<Self, TemplateError> {
        check_template(&text, &source.template_names())?;
        Ok(Self(text))
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Renders the template. An undefined name or key is an error, not an empty text.
    pub(super) fn render(
        &self,
        source: &Source,
        contents: &[Content<'_>],
        fuel: &mut u64,
    ) -> Result<String, TemplateError> {
        let allowed = TEMPLATE_FUEL.min(*fuel);
        *fuel -= allowed;
        let (text, used) = self.render_on_thread(source, contents, allowed)?;
        *fuel += allowed.saturating_sub(used);
        Ok(text)
    }

    fn render_on_thread(
        &self,
        source: &Source,
        contents: &[Content<'_>],
        fuel: u64,
    ) -> Result<(String, u64), TemplateError> {
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("template".to_owned()).stack_size(STACK_BYTES);
            let rendering = thread.spawn_scoped(scope, || self.render_here(source, contents, fuel));
            let rendering = rendering.map_err(|error| TemplateError::Thread(error.kind()))?;
            rendering.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// The text, and how many steps it took.
    fn render_here(
        &self,
        source: &Source,
        contents: &[Content<'_>],
        fuel: u64,
    ) -> Result<(String, u64), TemplateError> {
        let mut environment = template_environment();
        environment.set_fuel(Some(fuel));
        filters::install(&mut environment);
        let template = environment
            .template_from_str(&self.0)
            .map_err(|error| TemplateError::Rendering(Fault::new(&error)))?;
        let mut output = Output::default();
        let used = match template.render_captured_to(names(source, contents), &mut output) {
            Ok(captured) => captured.state().fuel_levels().map_or(fuel, |(used, _)| used),
            Err(_) if output.is_full => return Err(TemplateError::TooMuchOutput),
            Err(error) => return Err(TemplateError::new(&error)),
        };
        Ok((String::from_utf8(output.bytes).expect("a template writes text"), used))
    }
}

/// The variables of a template: `path`, `version` and `data`; for several secrets, these three in
/// `secrets.<alias>`.
fn names(source: &Source, contents: &[Content<'_>]) -> Value {
    let of_secret = |secret: &SecretRef, content: &Content<'_>| {
        let Content { version, data } = content;
        context! { path => secret.path.as_str(), version, data => value::new(data.value()) }
    };
    match (source, contents) {
        (Source::Secrets(SecretSource::Named(named)), _) => {
            let secrets = named
                .iter()
                .zip(contents)
                .map(|(NamedSecret { alias, secret }, content)| (alias.as_str(), of_secret(secret, content)));
            context! { secrets => Value::from(secrets.collect::<BTreeMap<_, _>>()) }
        }
        (Source::Secrets(SecretSource::Single(secret)), [content, ..]) => of_secret(secret, content),
        (Source::Lease(dynamic), [content, ..]) => {
            let path = format!("{}/{}", dynamic.engine, dynamic.role);
            context! { path, data => value::new(content.data.value()) }
        }
        (_, []) => context! {},
    }
}

/// An error of a template. Contains neither the template's text nor a value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// The template is invalid. The injector rejects it too.
    #[error(transparent)]
    Invalid(#[from] InvalidTemplate),
    /// It uses a name that the secret does not have.
    #[error("line {0} of the template names a value or a field that the secret does not have")]
    Undefined(usize),
    /// It exceeds the limit of work.
    #[error(
        "the template takes more than {TEMPLATE_FUEL} steps; each 64 bytes of text that it builds \
         count as a step"
    )]
    OutOfFuel,
    /// It exceeds the limit of output.
    #[error("the template writes more than {OUTPUT_MAX_BYTES} bytes")]
    TooMuchOutput,
    /// It decodes a value that is not base64.
    #[error("line {0} of the template decodes a value that is not base64")]
    NotBase64(usize),
    /// It decodes a value that is not valid text.
    #[error(
        "line {0} of the template decodes a value whose bytes are not text; write these to a file of their own, with encoding=base64"
    )]
    NotText(usize),
    /// No thread could be started to render it on.
    #[error("the template cannot be rendered: no thread can be started: {0}")]
    Thread(io::ErrorKind),
    /// Any other rendering error.
    #[error("the template cannot be rendered: {0}")]
    Rendering(Fault),
}

impl TemplateError {
    fn new(error: &minijinja::Error) -> Self {
        let line = error.line().unwrap_or_default();
        let refusal = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Refusal>());
        match (refusal, error.kind()) {
            (Some(Refusal::NotBase64), _) => Self::NotBase64(line),
            (Some(Refusal::NotText), _) => Self::NotText(line),
            (Some(Refusal::TooLarge), _) => Self::TooMuchOutput,
            (None, ErrorKind::OutOfFuel) => Self::OutOfFuel,
            (None, ErrorKind::UndefinedError) => Self::Undefined(line),
            (None, _) => Self::Rendering(Fault::new(error)),
        }
    }
}

/// The kind and the line of an error of the template library. The error's detail is dropped,
/// because it may quote the template or a value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind}{}", .line.map(|line| format!(" in line {line}")).unwrap_or_default())]
pub struct Fault {
    kind: ErrorKind,
    line: Option<usize>,
}

impl Fault {
    fn new(error: &minijinja::Error) -> Self {
        Self { kind: error.kind(), line: error.line() }
    }
}

/// A buffer of at most [`OUTPUT_MAX_BYTES`].
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
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

#[cfg(test)]
mod tests;
