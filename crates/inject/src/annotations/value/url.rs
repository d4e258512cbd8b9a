//! ScaiVault's URL, and the platform's allow-list of URLs.

use std::{fmt, str::FromStr};

use super::Reason;

/// A URL of ScaiVault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url(String);

impl Url {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_plain_http(&self) -> bool {
        self.0.starts_with("http://")
    }

    /// Whether an allow-list entry matches this URL: the same, or a prefix that ends before a `/`,
    /// so that `https://vault.example` does not allow `https://vault.example.evil`.
    pub(crate) fn is_below(&self, entry: &str) -> bool {
        let entry = entry.trim_end_matches('/');
        self.0.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for Url {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or("a URL starts with https://")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
            _ => (host, None),
        };
        if name.is_empty() || text.len() > 512 {
            return Err("a URL names a host and has at most 512 characters".into());
        }
        let is_port = |port: &str| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
        };
        if port.is_some_and(|port| !is_port(port)) {
            return Err("the port is not a number from 1 to 65535".into());
        }
        let bracketed = name.starts_with('[') && name.ends_with(']');
        let host_char = |c: char| {
            c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || (bracketed && "[]:".contains(c))
        };
        let path_char = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
        if !name.chars().all(host_char)
            || !path.chars().all(path_char)
            || path.split('/').any(|s| matches!(s, "." | ".."))
        {
            return Err("the URL has characters or parts that are not allowed".into());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_https_or_http_with_a_host_and_nothing_clever() {
        for text in [
            "https://scaivault.scailabs.ai",
            "https://v.example:8200/base",
            "http://127.0.0.1:1",
            "https://[::1]:8200",
        ] {
            assert!(text.parse::<Url>().is_ok(), "{text}");
        }
        for text in [
            "",
            "vault",
            "ftp://v",
            "https://",
            "https://u:p@v",
            "https://v?x",
            "https://v#f",
            "https://v:0",
            "https://v:x",
            "https://v:+443",
            "https://v/a/../b",
            "https://v/a/./b",
            "https://v/a/%2e%2e/b",
            "https://v /",
            "https://v\n",
        ] {
            assert!(text.parse::<Url>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_allow_list_refuses_lookalikes() {
        let url: Url = "https://vault.example.evil".parse().unwrap();
        assert!(!url.is_below("https://vault.example"));
        assert!("https://vault.example/a".parse::<Url>().unwrap().is_below("https://vault.example/"));
    }
}
