//! Text from manifests, made safe for terminals and logs.

use std::fmt::{self, Display, Formatter, Write as _};

/// A text that stays on its line: control characters, line breaks, escape sequences and characters
/// that change the direction of writing are escaped. Names in manifests are untrusted and must not
/// be able to forge lines of a report.
pub struct Printable<'a>(pub &'a str);

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() || is_layout(c) {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Unicode's line and paragraph separators, and its marks, embeddings and isolates that set the
/// direction of writing.
fn is_layout(c: char) -> bool {
    matches!(c, '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_that_could_forge_a_line_is_escaped() {
        for (text, expected) in [
            ("billing", "billing"),
            ("Grüße, \"x\" \\ 漢字", "Grüße, \"x\" \\ 漢字"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{1b}[31mred\u{7f}\u{9b}", "\\u{1b}[31mred\\u{7f}\\u{9b}"),
            ("a\u{2028}b\u{202e}c\u{2066}", "a\\u{2028}b\\u{202e}c\\u{2066}"),
        ] {
            assert_eq!(Printable(text).to_string(), expected);
        }
    }
}
