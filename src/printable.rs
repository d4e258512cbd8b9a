//! Escapes text from manifests for output to users.

pub(crate) use scaivault_audit::Printable;
