//! The clients that may connect.

use std::{net::IpAddr, str::FromStr};

use thiserror::Error;

/// A network in CIDR notation, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Length of the network prefix in bits.
    prefix: u32,
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                // A shift by all 32 bits overflows, so it is checked.
                let shift = 32 - self.prefix;
                (ours.to_bits() ^ theirs.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let shift = 128 - self.prefix;
                (ours.to_bits() ^ theirs.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no network: write address/bits, for example 10.0.0.0/8 or fd00::/8, or one address")]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads `10.0.0.0/8`, `fd00::/8` and `192.0.2.1`. Bits after the prefix are ignored.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let parsed = || {
            let address: IpAddr = address.parse().ok()?;
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let digits = |prefix: &&str| prefix.bytes().all(|byte| byte.is_ascii_digit());
            let prefix = match prefix {
                None => bits,
                Some(prefix) => Some(prefix).filter(digits)?.parse().ok().filter(|&prefix| prefix <= bits)?,
            };
            Some(Self { address, prefix })
        };
        parsed().ok_or_else(|| NetworkError(text.chars().take(64).collect()))
    }
}

/// The addresses that may connect to the admission port; empty allows every address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedSources(Vec<Network>);

impl AllowedSources {
    /// Whether a connection from this address is served. `source` must be canonical: no IPv4
    /// address mapped into IPv6.
    pub(super) fn allow(&self, source: IpAddr) -> bool {
        self.0.is_empty() || self.0.iter().any(|network| network.contains(source))
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
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "localhost"] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains("10.0.0.0/8"), "{text}: {error}");
        }
    }
}
