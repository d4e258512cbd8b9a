//! What a `SecretProviderClass` may say to the provider: its parameters, the objects with their files, and the variables.
//!
//! The provider reads a mount with it, and `scaivault-injector check` a manifest, so both refuse the same. Pure: no I/O,
//! no clock, no environment.

mod fault;
mod objects;
mod parameters;

pub use fault::Fault;
pub use objects::{Fill, OBJECT_KEYS, OBJECTS_MAX, Object, read_objects};
pub use parameters::{KUBELET_PREFIX, PARAMETERS, VARIABLES, VOLUME_ATTRIBUTES, check_parameter};
