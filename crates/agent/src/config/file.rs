//! The source, location and format of one file.

use std::fmt;

use scaivault_contract::{
    DynamicMapping, FileMode, FileOptions, FillError, Format, NameError, PodValues, SecretMapping,
    SecretPathError, SecretRef, TargetFile, VariableMapping, VariableName,
};
use scaivault_render::{Source, Style, TemplateError};
use thiserror::Error;

/// One file that the agent writes.
#[derive(Clone, Debug)]
pub(crate) struct FileSpec {
    pub(crate) source: Source,
    /// The location.
    pub(crate) file: TargetFile,
    /// Its permission bits.
    pub(crate) mode: FileMode,
    /// Whether it is omitted if its source does not exist.
    pub(crate) optional: bool,
    /// Its format.
    pub(crate) style: Style,
}

/// One field that becomes an environment variable.
#[derive(Clone, Debug)]
pub(crate) struct VariableSpec {
    /// The source, which always has a field.
    pub(crate) secret: SecretRef,
    pub(crate) variable: VariableName,
}

impl VariableSpec {
    pub(crate) fn new(mapping: VariableMapping, values: &PodValues) -> Result<Self, SpecError> {
        let VariableMapping { secret, variable } = mapping;
        Ok(Self { secret: secret.fill(values)?, variable })
    }
}

/// Why a parsed mapping cannot be used.
#[derive(Debug, Error)]
pub(crate) enum SpecError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Path(#[from] FillError<SecretPathError>),
    #[error(transparent)]
    Name(#[from] FillError<NameError>),
}

impl FileSpec {
    pub(crate) fn of_secret(mapping: SecretMapping, values: &PodValues) -> Result<Self, SpecError> {
        let format = mapping.format();
        let source = Source::Secrets(mapping.source.fill(values)?);
        Ok(Self::new(source, mapping.file, mapping.options, format)?)
    }

    pub(crate) fn of_lease(mapping: DynamicMapping, values: &PodValues) -> Result<Self, SpecError> {
        let format = mapping.format();
        let source = Source::Lease(mapping.dynamic.fill(values)?);
        Ok(Self::new(source, mapping.file, mapping.options, format)?)
    }

    fn new(
        source: Source,
        file: TargetFile,
        options: FileOptions,
        format: Option<Format>,
    ) -> Result<Self, TemplateError> {
        let FileOptions { format: _, mode, encoding, optional, template } = options;
        let style = Style::new(&source, template, encoding, format)?;
        Ok(Self { source, file, mode: mode.unwrap_or(FileMode::DEFAULT), optional, style })
    }
}

impl fmt::Display for VariableSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret, variable } = self;
        write!(f, "{secret} -> {variable}")
    }
}
