//! The types that the injector and the agent share: the values of annotations and mappings.
//!
//! Every type here is parsed from text and cannot hold an invalid value: `FromStr` parses it,
//! `Display` writes it, `ALLOWED` describes the accepted values in one line, and errors quote at
//! most [`EXCERPT_CHARS`] characters. No I/O, no clock, no environment.
//!
//! With these types the agent reads what an injector of another release wrote, so a change here
//! changes a protocol between releases: an old agent must be able to read what a newer injector
//! writes for annotations that both support.

#[macro_use]
mod string_newtype;

mod address;
mod deferred;
mod duration;
mod encoding;
mod engine;
mod error_list;
mod excerpt;
mod field;
mod file;
mod file_source;
mod format;
mod kubernetes_name;
mod mapping;
mod mode;
mod reload_url;
mod secret_key;
mod secret_path;
mod signal;
mod source;
mod template;
mod trust;
mod value;
mod variable;

pub mod defaults;
pub mod env;
pub mod memory;
pub mod names;

pub use address::{Address, AddressError, PlainHttp};
pub use deferred::{
    Deferrable, Deferred, FillError, ObjectName, ObjectNameError, OpenText, PodValues, PodVariable, TextPart,
    VariableFault, text_parts,
};
pub use duration::{Duration, DurationError, DurationFault};
pub use encoding::{Encoding, EncodingError};
pub use engine::{DeferredDynamic, DynamicRef, DynamicRefError, EngineName, NameError, RoleName};
pub use error_list::write_errors;
pub use excerpt::{EXCERPT_CHARS, Excerpt};
pub use field::{DeferredSecret, FieldName, FieldNameError, SecretRef, SecretRefError};
pub use file::{
    Conflict, ConflictKind, FileFault, MOUNT_POINTS_LIMIT, MountPath, MountPathError, MountPathFault,
    MountPoint, MountPointConflict, MountPointError, RelativeFile, RelativeFileError, TargetFile,
    TargetFileError, conflicts, is_at_or_below, mount_point_conflicts,
};
pub use file_source::Source;
pub use format::{Format, FormatError};
pub use kubernetes_name::{is_label_value, is_subdomain};
pub use mapping::{
    DynamicMapping, FileOptions, MAPPINGS_LIMIT, MappingError, MappingErrors, MappingFault, MappingPart,
    SecretMapping, VariableMapping, parse_dynamic, parse_secret_keys, parse_secrets, parse_variables,
};
pub use mode::{FileMode, FileModeError, FileModeFault};
pub use reload_url::{ReloadUrl, ReloadUrlError, ReloadUrlFault};
pub use secret_key::{SecretKey, SecretKeyError};
pub use secret_path::{SecretPath, SecretPathError, SecretPathFault};
pub use signal::{Signal, SignalError, SignalFault};
pub use source::{
    DeferredSource, NamedSecret, NamedSecrets, SOURCES_LIMIT, SecretAlias, SecretAliasError, SecretSource,
    SecretSourceError, SecretSourceErrors,
};
pub use template::{
    CheckedTemplate, NameFault, TEMPLATE_FILTERS, TEMPLATE_FUEL, TEMPLATE_FUNCTIONS, TEMPLATE_MAX_BYTES,
    TEMPLATE_MAX_OPERATORS, TEMPLATE_MAX_TOKENS, TEMPLATE_TESTS, TemplateError, TemplateNames,
    TemplateSizeError, TemplateWarning, UnknownName, check_template, template_environment,
};
pub use trust::{TrustPolicy, TrustPolicyError};
pub use value::{escape_env_value, expand_env_value};
pub use variable::{VariableName, VariableNameError};
