//! Parses a `SecretProviderClass`: its parameters, the objects with their files, and the variables.
//!
//! The provider uses it for mounts, and `scaivault-injector check` for manifests, so both refuse the same.
//! Pure: no I/O, no clock, no environment.

mod fault;
mod objects;
mod parameters;
mod variables;

pub use fault::{Fault, did_you_mean};
pub use objects::{Fill, LEASES_MAX, OBJECT_KEYS, OBJECTS_MAX, Object, read_objects};
pub use parameters::{
    ATTRIBUTES_MAX_BYTES, DRIVER, KUBELET_PREFIX, PARAMETERS, VOLUME_ATTRIBUTES, check_parameter,
    parse_base_url,
};
pub use variables::{VARIABLES, fill_for_any_pod, in_words_of_policies};
