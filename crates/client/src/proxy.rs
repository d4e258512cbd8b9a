//! The proxy, configured by the variables that other programs use, too.

use std::{fmt, sync::Arc};

use hyper::http::{HeaderValue, uri::Uri};
use hyper_util::client::proxy::matcher::Matcher;
use thiserror::Error;

use crate::{Address, PlainHttp};

/// An HTTP proxy for `https://` addresses, used with `CONNECT`: it learns host and port, but never
/// a token or secret.
///
/// Plain HTTP never uses a proxy: it is only for this machine and for tests.
#[derive(Clone)]
pub struct Proxy {
    matcher: Arc<Matcher>,
}

impl Proxy {
    /// The proxy at `https_proxy` (`[http://][user:password@]host[:port]`) for all hosts except
    /// those in `no_proxy` (comma-separated names, `.domains`, addresses and CIDRs, or `*`).
    pub fn new(https_proxy: &str, no_proxy: &str) -> Result<Self, ProxyError> {
        let without_scheme = match https_proxy.split_once("://") {
            None => https_proxy,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(ProxyError::Scheme),
        };
        let (_user, place) = without_scheme.rsplit_once('@').unwrap_or(("", without_scheme));
        if Address::new(&format!("http://{place}"), PlainHttp::Anywhere).is_err() {
            return Err(ProxyError::Address);
        }
        Ok(Self { matcher: Arc::new(Matcher::builder().https(https_proxy).no(no_proxy).build()) })
    }

    /// The proxy in the variables `HTTPS_PROXY` or else `ALL_PROXY`, with `NO_PROXY`; lower-case
    /// names take precedence. An empty variable counts as not set.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, ProxyError> {
        let first = |names: &[&str]| {
            names.iter().filter_map(|name| variable(name)).find(|value| !value.trim().is_empty())
        };
        let Some(https_proxy) = first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]) else {
            return Ok(None);
        };
        let no_proxy = first(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        Self::new(https_proxy.trim(), &no_proxy).map(Some)
    }

    /// The proxy for `address`; `None` for a direct connection.
    pub(crate) fn route_to(&self, address: &Address) -> Option<Route> {
        let uri: Uri = address.origin().parse().ok()?;
        let found = self.matcher.intercept(&uri)?;
        let host = found.uri().host()?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let mut authorization = found.basic_auth().cloned();
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Some(Route { host: host.to_owned(), port: found.uri().port_u16().unwrap_or(80), authorization })
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may contain a password.
        f.write_str("Proxy(...)")
    }
}

/// The address of a proxy, and the authorization sent to it.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) authorization: Option<HeaderValue>,
}

/// A text that is not a valid proxy. It is not quoted, because it may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// Another scheme, such as `https://` or `socks5://`.
    #[error("HTTPS_PROXY is not the URL of an HTTP proxy; allowed: [http://][user:password@]host[:port]")]
    Scheme,
    /// Not a host with an optional port.
    #[error("HTTPS_PROXY is not the address of a proxy; allowed: [http://][user:password@]host[:port]")]
    Address,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(variables: &[(&str, &str)], address: &str) -> Option<Route> {
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let address = Address::new(address, PlainHttp::Anywhere).unwrap();
        Proxy::from_variables(lookup).unwrap().and_then(|proxy| proxy.route_to(&address))
    }

    #[test]
    fn the_variables_are_those_of_other_programs() {
        let target = "https://scaivault.example";
        for (variables, expected) in [
            (&[("HTTPS_PROXY", "http://proxy.example:3128")][..], Some(("proxy.example", 3128))),
            (&[("HTTPS_PROXY", "proxy.example")], Some(("proxy.example", 80))),
            (&[("https_proxy", "http://a:1"), ("HTTPS_PROXY", "http://b:2")], Some(("a", 1))),
            (&[("HTTPS_PROXY", " "), ("ALL_PROXY", "http://[::1]:3128")], Some(("::1", 3128))),
            (&[("HTTP_PROXY", "http://proxy.example:3128")], None),
            (&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "other.example,.example")], None),
            (&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "*")], None),
            (&[("HTTPS_PROXY", "http://p:1"), ("no_proxy", "other.example")], Some(("p", 1))),
        ] {
            let found = route(variables, target);
            assert_eq!(
                found.as_ref().map(|route| (route.host.as_str(), route.port)),
                expected,
                "{variables:?}"
            );
        }
    }

    #[test]
    fn addresses_and_networks_can_be_exempt() {
        let variables = [("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "10.0.0.0/8,::1")];
        assert!(route(&variables, "https://10.96.0.1").is_none());
        assert!(route(&variables, "https://[::1]:8443").is_none());
        assert!(route(&variables, "https://192.0.2.1").is_some());
    }

    #[test]
    fn plain_http_does_not_use_the_proxy() {
        assert!(route(&[("ALL_PROXY", "http://p:1")], "http://127.0.0.1:8200").is_none());
    }

    #[test]
    fn a_password_is_sent_and_not_shown() {
        let proxy = Proxy::new("http://me:swordfish@proxy.example:3128", "").unwrap();
        let route = proxy.route_to(&Address::new("https://h", PlainHttp::LoopbackOnly).unwrap()).unwrap();
        assert_eq!(route.authorization.as_ref().unwrap(), "Basic bWU6c3dvcmRmaXNo");
        assert!(!format!("{proxy:?}{route:?}").contains("bWU6"), "{route:?}");
    }

    #[test]
    fn unsupported_proxies_are_refused() {
        assert_eq!(Proxy::new("socks5://p:1", "").unwrap_err(), ProxyError::Scheme);
        assert_eq!(Proxy::new("https://p:1", "").unwrap_err(), ProxyError::Scheme);
        assert_eq!(Proxy::new("http://", "").unwrap_err(), ProxyError::Address);
        assert_eq!(Proxy::new("http://me:swordfish@", "").unwrap_err(), ProxyError::Address);
    }
}
