//! The clients that may connect.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use thiserror::Error;

/// A network in CIDR notation, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a network; expected address/bits, such as 10.0.0.0/8 or fd00::/8, or one address")]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads `10.0.0.0/8`, `fd00::/8` and `192.0.2.1`. Bits after the prefix are ignored.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let single = || text.parse::<IpAddr>().map(IpNet::from);
        let network = text.parse().or_else(|_| single());
        network.map(Self).map_err(|_| NetworkError(text.chars().take(64).collect()))
    }
}

/// The addresses that may connect to the admission port; empty allows every address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedSources(Vec<Network>);

impl AllowedSources {
    /// Whether a connection from this address is served. `source` must be canonical: no IPv4
    /// address mapped into IPv6.
    pub(super) fn allow(&self, source: IpAddr) -> bool {
        self.0.is_empty() || self.0.iter().any(|Network(network)| network.contains(&source))
    }
}

impl From<Vec<Network>> for AllowedSources {
    fn from(networks: Vec<Network>) -> Self {
        Self(networks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(networks: &[&str], source: &str, expected: bool) {
        let networks: Vec<Network> = networks.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(AllowedSources::from(networks).allow(source.parse().unwrap()), expected, "{source}");
    }

    #[test]
    fn addresses_of_a_network_are_in_it() {
        check(&["10.0.0.0/8"], "10.255.0.1", true);
        check(&["10.0.0.0/8"], "11.0.0.1", false);
        check(&["10.0.0.0/8", "192.0.2.1"], "192.0.2.1", true);
        check(&["192.0.2.1"], "192.0.2.2", false);
        check(&["192.0.2.129/25"], "192.0.2.200", true);
        check(&["0.0.0.0/0"], "203.0.113.9", true);
        check(&["0.0.0.0/0"], "2001:db8::1", false);
        check(&["fd00::/8"], "fdff::1", true);
        check(&["fd00::/8"], "fe80::1", false);
        check(&["::/0"], "2001:db8::1", true);
        check(&[], "203.0.113.9", true);
    }

    #[test]
    fn an_invalid_network_is_refused() {
        for text in ["", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "localhost"] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains("10.0.0.0/8"), "{text}: {error}");
        }
    }
}
