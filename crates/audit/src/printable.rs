//! Text from manifests that goes into lines for people.

use std::fmt::{self, Display, Formatter, Write as _};

/// A text that stays on its line: what moves the cursor, begins a line, changes colours or turns the direction of
/// writing is written as an escape. Names come from manifests of others, and a report must not be forged by one.
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

/// Unicode's own line and paragraph separators, and its marks, embeddings and isolates of writing direction.
fn is_layout(c: char) -> bool {
    matches!(c, '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_forges_a_line_is_escaped() {
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
