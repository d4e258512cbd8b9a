//! The address of a server.

use std::{fmt, net::IpAddr};

use http::uri::{Scheme, Uri};
use thiserror::Error;

use crate::Excerpt;

/// Address of a server: `https://host[:port][/path]`; for `ScaiVault` the part before `/v1/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    is_https: bool,
    host: String,
    port: u16,
    path: String,
}

/// Where plain HTTP is allowed. It sends secrets and tokens unencrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// Only to this machine.
    LoopbackOnly,
    /// Anywhere; for tests.
    Anywhere,
}

impl Address {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "https://host[:port][/path], such as https://scaivault.scailabs.ai; \
         http:// only for localhost, 127.0.0.0/8 and [::1], unless plain HTTP is allowed";

    /// Parses an address.
    pub fn new(text: &str, plain_http: PlainHttp) -> Result<Self, AddressError> {
        let error = |fault| AddressError { text: Excerpt::new(text), fault };
        let uri: Uri = text.parse().map_err(|_| error("it is not a URL"))?;
        let is_https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(error("it does not start with https://")),
        };
        let authority = uri.authority().ok_or_else(|| error("it names no host"))?;
        if authority.as_str().contains('@') {
            // The text is not quoted, because it contains a password.
            return Err(AddressError {
                text: Excerpt::new("…@…"),
                fault: "it has a user or password; remove them",
            });
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(error("it has a query or fragment; remove it"));
        }
        let host = authority.host();
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => None,
            Some(port) => {
                let port = port.strip_prefix(':').and_then(|port| port.parse::<u16>().ok());
                Some(port.ok_or_else(|| error("its port is not a number up to 65535"))?)
            }
            None => return Err(error("it names no host")),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        if host.is_empty() {
            return Err(error("it names no host"));
        }
        let address = Self {
            is_https,
            host,
            port: port.unwrap_or(if is_https { 443 } else { 80 }),
            path: uri.path().trim_end_matches('/').to_owned(),
        };
        if !is_https && plain_http == PlainHttp::LoopbackOnly && !address.is_loopback() {
            return Err(error("plain HTTP would show the secrets to everyone on the way; use https://"));
        }
        Ok(address)
    }

    /// Whether it uses TLS.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// The host; an IPv6 address is without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The prefix of every route: empty, or with a leading slash and without a trailing one.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `host:port`, for messages and for `CONNECT`.
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.bracketed_host(), self.port)
    }

    /// The value of the `Host` header: without the scheme's default port.
    pub fn authority(&self) -> String {
        match (self.is_https, self.port) {
            (true, 443) | (false, 80) => self.bracketed_host(),
            _ => self.host_and_port(),
        }
    }

    /// The address as a URI without a path.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.is_https { "https" } else { "http" }, self.host_and_port())
    }

    fn bracketed_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    fn is_loopback(&self) -> bool {
        // Other names are not accepted even if they resolve to loopback now: the resolver's answer
        // may change.
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// A text that is not the address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not the address of a server: {fault}; allowed: {}", Address::ALLOWED)]
pub struct AddressError {
    /// The text.
    pub text: Excerpt,
    fault: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_back_in_short() {
        for (text, expected) in [
            ("https://scaivault.scailabs.ai", "https://scaivault.scailabs.ai"),
            ("https://scaivault.scailabs.ai:443/", "https://scaivault.scailabs.ai"),
            ("https://vault.example:8443/scaivault/", "https://vault.example:8443/scaivault"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("http://127.0.0.1:8200", "http://127.0.0.1:8200"),
            ("http://[::1]", "http://[::1]"),
            ("http://localhost:80", "http://localhost"),
        ] {
            let address = Address::new(text, PlainHttp::LoopbackOnly).unwrap();
            assert_eq!(address.to_string(), expected);
        }
    }

    #[test]
    fn invalid_addresses_are_refused() {
        for text in [
            "",
            "scaivault.scailabs.ai",
            "/v1",
            "ftp://host",
            "https://",
            "https://host:",
            "https://host:99999",
            "https://host?x=1",
            "https://host/#top",
            "https://ho st",
        ] {
            assert!(Address::new(text, PlainHttp::Anywhere).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_a_password_without_showing_it() {
        let error = Address::new("https://me:swordfish@host", PlainHttp::Anywhere).unwrap_err();
        assert!(!error.to_string().contains("swordfish"), "{error}");
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        for text in [
            "http://scaivault.example",
            "http://127.0.0.1.example",
            "http://10.0.0.1",
            "http://localhost.example",
        ] {
            assert!(Address::new(text, PlainHttp::LoopbackOnly).is_err(), "{text}");
            assert!(Address::new(text, PlainHttp::Anywhere).is_ok(), "{text}");
        }
    }
}
