//! Excerpts of untrusted text for error messages.

use std::fmt;

/// Maximum number of characters of a text that an error quotes: enough to recognise the text, too
/// few to leak a secret by accident.
pub const EXCERPT_CHARS: usize = 40;

/// The first [`EXCERPT_CHARS`] characters of a text. Shown in double quotes with control characters
/// escaped, so that it cannot break a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    /// Takes an excerpt of `text`.
    pub fn new(text: &str) -> Self {
        match text.char_indices().nth(EXCERPT_CHARS) {
            Some((end, _)) => Self(format!("{}…", &text[..end])),
            None => Self(text.to_owned()),
        }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_at_most_forty_characters() {
        assert_eq!(Excerpt::new("short").to_string(), "\"short\"");
        assert_eq!(Excerpt::new(&"é".repeat(40)).to_string(), format!("\"{}\"", "é".repeat(40)));
        assert_eq!(Excerpt::new(&"é".repeat(41)).to_string(), format!("\"{}…\"", "é".repeat(40)));
    }

    #[test]
    fn stays_on_one_line() {
        assert_eq!(Excerpt::new("a\nb\r\u{1b}[1m\u{2028}").to_string(), r#""a\nb\r\u{1b}[1m\u{2028}""#);
    }
}
