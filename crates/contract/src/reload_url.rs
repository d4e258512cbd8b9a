//! The URL that is called after a change: an HTTP endpoint on the pod's own loopback interface.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use thiserror::Error;

use crate::Excerpt;

/// Maximum length of a reload URL in bytes.
const MAX_BYTES: usize = 512;
/// The default port of `http`.
const HTTP_PORT: u16 = 80;

/// An `http` URL whose host is the pod's own loopback. The host is compared as text and never
/// resolved, so that neither a resolver nor `/etc/hosts` can direct the request to another machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReloadUrl {
    text: String,
    /// The end of the authority (host and port) in `text`; it starts after the scheme.
    authority_end: usize,
    host: Host,
    port: u16,
}

/// The hosts that are always the pod itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Host {
    /// A loopback address.
    Address(IpAddr),
    /// The name `localhost`: the loopback addresses of IPv4 and IPv6.
    Localhost,
}

impl ReloadUrl {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "an http:// URL on the pod's own loopback (127.0.0.0/8, [::1] or localhost) with any \
         port, path and query, such as http://127.0.0.1:9090/-/reload";

    const SCHEME: &'static str = "http://";

    /// The URL as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The addresses to try, in order: one, or for `localhost` IPv4 and then IPv6.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let port = self.port;
        let (first, second) = match self.host {
            Host::Address(address) => (address, None),
            Host::Localhost => (Ipv4Addr::LOCALHOST.into(), Some(Ipv6Addr::LOCALHOST.into())),
        };
        std::iter::once(first).chain(second).map(move |address: IpAddr| SocketAddr::new(address, port))
    }

    /// Host and port as written: the value of the `Host` header.
    pub fn authority(&self) -> &str {
        &self.text[Self::SCHEME.len()..self.authority_end]
    }

    /// Path and query for the request line; starts with `/`.
    pub fn path_and_query(&self) -> &str {
        &self.text[self.authority_end..]
    }
}

impl FromStr for ReloadUrl {
    type Err = ReloadUrlError;

    /// A URL without a path gets the path `/`.
    fn from_str(text: &str) -> Result<Self, ReloadUrlError> {
        parse(text).map_err(|fault| ReloadUrlError { text: Excerpt::new(text), fault })
    }
}

fn parse(text: &str) -> Result<ReloadUrl, ReloadUrlFault> {
    if text.len() > MAX_BYTES {
        return Err(ReloadUrlFault::TooLong);
    }
    let rest = text.strip_prefix(ReloadUrl::SCHEME).ok_or(ReloadUrlFault::Scheme)?;
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(ReloadUrlFault::UserInfo);
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let host = parse_host(host).ok_or(ReloadUrlFault::Host)?;
    let port = port.map_or(Some(HTTP_PORT), parse_port).ok_or(ReloadUrlFault::Port)?;
    if target.contains('#') {
        return Err(ReloadUrlFault::Fragment);
    }
    if !is_path_and_query(target) {
        return Err(ReloadUrlFault::Characters);
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    let text = format!("{}{authority}{slash}{target}", ReloadUrl::SCHEME);
    Ok(ReloadUrl { text, authority_end: ReloadUrl::SCHEME.len() + authority.len(), host, port })
}

/// The standard library parses addresses strictly: no octal, hexadecimal or shortened forms, no
/// zone.
fn parse_host(host: &str) -> Option<Host> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(Host::Localhost);
    }
    let address = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(bracketed) => IpAddr::V6(bracketed.parse().ok()?),
        None => IpAddr::V4(host.parse().ok()?),
    };
    address.is_loopback().then_some(Host::Address(address))
}

fn parse_port(port: &str) -> Option<u16> {
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|port| is_number && *port > 0)
}

/// RFC 3986, `path-abempty [ "?" query ]`.
fn is_path_and_query(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/?:@-._~!$&'()*+,;=".contains(&byte);
    let mut parts = text.split('%');
    parts.next().is_some_and(|first| first.bytes().all(is_allowed))
        && parts.all(|part| {
            part.len() >= 2
                && part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit())
                && part.bytes().skip(2).all(is_allowed)
        })
}

impl fmt::Display for ReloadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

text_in_serde!(ReloadUrl);

/// A text that is not a reload URL.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not a reload URL: {fault}; allowed: {}", ReloadUrl::ALLOWED)]
pub struct ReloadUrlError {
    /// The text.
    pub text: Excerpt,
    /// Why it is rejected.
    pub fault: ReloadUrlFault,
}

/// Why a reload URL is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReloadUrlFault {
    /// It does not start with `http://`.
    #[error("it must start with http://, because the request stays inside the pod")]
    Scheme,
    /// It has a user or a password.
    #[error("user info before the host is not allowed")]
    UserInfo,
    /// The host is not the pod itself.
    #[error("its host must be the pod itself: 127.0.0.1, [::1] or localhost")]
    Host,
    /// The port is not a valid number.
    #[error("its port must be a number from 1 to 65535")]
    Port,
    /// It has a fragment, which is never sent to a server.
    #[error("a fragment (#) is not allowed")]
    Fragment,
    /// It has characters that are not valid in a request line.
    #[error("its path or query has characters that must be percent-encoded")]
    Characters,
    /// It is longer than 512 bytes.
    #[error("it must have at most {MAX_BYTES} bytes")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_urls_keep_authority_and_path() {
        for (text, authority, target, addresses) in [
            ("http://127.0.0.1:9090/-/reload", "127.0.0.1:9090", "/-/reload", &["127.0.0.1:9090"][..]),
            ("http://127.0.0.1", "127.0.0.1", "/", &["127.0.0.1:80"]),
            ("http://127.255.3.4:1?a=b", "127.255.3.4:1", "/?a=b", &["127.255.3.4:1"]),
            ("http://[::1]:65535/a%2Fb?c=d/e?f@g:h", "[::1]:65535", "/a%2Fb?c=d/e?f@g:h", &["[::1]:65535"]),
            ("http://[0:0:0:0:0:0:0:1]/", "[0:0:0:0:0:0:0:1]", "/", &["[::1]:80"]),
            ("http://localhost:8080/x", "localhost:8080", "/x", &["127.0.0.1:8080", "[::1]:8080"]),
            ("http://LocalHost", "LocalHost", "/", &["127.0.0.1:80", "[::1]:80"]),
        ] {
            let url: ReloadUrl = text.parse().unwrap();
            assert_eq!(url.authority(), authority, "{text}");
            assert_eq!(url.path_and_query(), target, "{text}");
            let actual: Vec<String> = url.addresses().map(|address| address.to_string()).collect();
            assert_eq!(actual, addresses, "{text}");
            assert_eq!(url.to_string().parse(), Ok(url), "{text}");
        }
    }

    #[test]
    fn any_other_host_is_refused() {
        for host in [
            "",
            "example.org",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "localhost.",
            "xlocalhost",
            "0.0.0.0",
            "10.0.0.1",
            "128.0.0.1",
            "169.254.169.254",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "127.0.0.01",
            "127.0.0.1%00",
            "[::]",
            "[::2]",
            "[::ffff:127.0.0.1]",
            "[::1%25lo]",
            "[127.0.0.1]",
            "::1",
            "[::1",
            "[::1]x",
            "127.0.0.1\\evil.example",
            "127.0.0.1\t",
            "$(HOST)",
            "１27.0.0.1",
        ] {
            for url in [format!("http://{host}:9090/r"), format!("http://{host}/r")] {
                assert_eq!(url.parse::<ReloadUrl>().unwrap_err().fault, ReloadUrlFault::Host, "{url:?}");
            }
        }
    }

    #[test]
    fn refusals_name_the_reason() {
        for (text, fault) in [
            ("", ReloadUrlFault::Scheme),
            ("127.0.0.1:9090", ReloadUrlFault::Scheme),
            ("https://127.0.0.1/", ReloadUrlFault::Scheme),
            ("unix:///run/app.sock", ReloadUrlFault::Scheme),
            (" http://127.0.0.1/", ReloadUrlFault::Scheme),
            ("http://user:password@127.0.0.1/", ReloadUrlFault::UserInfo),
            ("http://127.0.0.1@evil.example/", ReloadUrlFault::UserInfo),
            ("http://127.0.0.1:80@evil.example/", ReloadUrlFault::UserInfo),
            ("http:///127.0.0.1/", ReloadUrlFault::Host),
            ("http://127.0.0.1:/", ReloadUrlFault::Port),
            ("http://127.0.0.1:0/", ReloadUrlFault::Port),
            ("http://127.0.0.1:+80/", ReloadUrlFault::Port),
            ("http://127.0.0.1:65536/", ReloadUrlFault::Port),
            ("http://127.0.0.1:80x/", ReloadUrlFault::Port),
            ("http://127.0.0.1/#now", ReloadUrlFault::Fragment),
            ("http://127.0.0.1/a b", ReloadUrlFault::Characters),
            ("http://127.0.0.1/\r\nX: y", ReloadUrlFault::Characters),
            ("http://127.0.0.1/ä", ReloadUrlFault::Characters),
            ("http://127.0.0.1/%2", ReloadUrlFault::Characters),
            ("http://127.0.0.1/%zz", ReloadUrlFault::Characters),
            ("http://127.0.0.1/a\\b", ReloadUrlFault::Characters),
        ] {
            assert_eq!(text.parse::<ReloadUrl>().unwrap_err().fault, fault, "{text:?}");
        }
        let long = format!("http://127.0.0.1/{}", "x".repeat(500));
        assert_eq!(long.parse::<ReloadUrl>().unwrap_err().fault, ReloadUrlFault::TooLong);
    }
}
