//! Text from manifests that goes into lines for people.

pub(crate) use scaivault_audit::Printable;
