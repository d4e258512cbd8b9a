//! HTML escaping of text from manifests and the cluster.

use std::fmt::{self, Display, Formatter, Write as _};

use crate::printable::Printable;

/// A text escaped for HTML, for element content and for attribute values in single or double
/// quotes. Characters that change the direction of writing are escaped too.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in Printable(self.0).to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
