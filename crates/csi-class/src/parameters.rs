//! The parameters of a class, and the other attributes of a volume.

use scaivault_contract::{Address, AddressError, PlainHttp};
use scaivault_inject::annotations::nearest;

use crate::Fault;

/// The name under which the driver is registered.
pub const DRIVER: &str = "secrets-store.csi.k8s.io";
/// The parameters of a class. A pod's `volumeAttributes` override them.
pub const PARAMETERS: [&str; 4] = ["audience", "base_url", "objects", "role"];

/// Keys of a pod's `volumeAttributes` that are not parameters.
pub const VOLUME_ATTRIBUTES: [&str; 2] = ["secretProviderClass", "providerName"];

/// The prefix of the kubelet's keys. The kubelet overwrites such keys of a pod's author.
pub const KUBELET_PREFIX: &str = "csi.storage.k8s.io/";

/// The maximum size of all parameters, so that the waiting mounts of a node fit into the provider's memory.
pub const ATTRIBUTES_MAX_BYTES: usize = 256 * 1024;

/// Checks the name of a parameter.
pub fn check_parameter(name: &str) -> Result<(), Fault> {
    if PARAMETERS.contains(&name) {
        return Ok(());
    }
    let known = match name {
        "vaultAddress" | "address" | "url" => Some("base_url"),
        "roleName" => Some("role"),
        _ => nearest(name, PARAMETERS),
    };
    Err(Fault::unknown("parameter", name, known, &PARAMETERS))
}

/// Parses the parameter `base_url`, the address of `ScaiVault`.
pub fn parse_base_url(text: &str) -> Result<Address, AddressError> {
    Address::new(text, PlainHttp::LoopbackOnly)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_parameter_gets_the_nearest_name() {
        for (name, expected) in [
            ("object", "\"object\" is not known; did you mean objects?"),
            ("roleName", "did you mean role?"),
            ("vaultAddress", "did you mean base_url?"),
            ("swordfish", "\"swordfish\" is not known; allowed: audience, base_url, objects, role"),
        ] {
            let fault = check_parameter(name).unwrap_err();
            assert!(fault.to_string().contains(expected), "{fault}");
        }
        assert_eq!(check_parameter("objects"), Ok(()));
    }
}
