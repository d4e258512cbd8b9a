//! Name rules of the API server's validation.

/// Maximum length of a DNS subdomain (RFC 1123) in characters.
const SUBDOMAIN_MAX_CHARS: usize = 253;
/// Maximum length of a label value in characters.
const LABEL_VALUE_MAX_CHARS: usize = 63;

/// Whether a text is a DNS subdomain (RFC 1123), which is valid as the name of an object and as the
/// prefix of a label or annotation key.
pub fn is_subdomain(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(is_inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= SUBDOMAIN_MAX_CHARS && text.split('.').all(is_label)
}

/// Whether a text is valid as a label value. If it is not empty, it is also valid as the name in a
/// label or annotation key, after the prefix.
pub fn is_label_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    bytes.len() <= LABEL_VALUE_MAX_CHARS
        && is_edge(bytes.first())
        && is_edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subdomains() {
        let longest = ["a".repeat(127), "b".repeat(125)].join(".");
        for text in ["a", "0", "db-1.example", &longest] {
            assert!(is_subdomain(text), "{text}");
        }
        for text in ["", ".", "a.", "a..b", "-a", "a-", "a.-b", "A", "a_b", &format!("{longest}a")] {
            assert!(!is_subdomain(text), "{text}");
        }
    }

    #[test]
    fn label_values() {
        for text in ["", "a", "A.b_c-9", &"a".repeat(63)] {
            assert!(is_label_value(text), "{text}");
        }
        for text in ["-a", "a.", "a b", "é", &"a".repeat(64)] {
            assert!(!is_label_value(text), "{text}");
        }
    }
}
