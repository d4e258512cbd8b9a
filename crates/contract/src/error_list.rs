//! Several errors as one text.

use std::fmt::{self, Display};

/// Writes an error as it is, and several as a numbered list after `heading`, on one line, because
/// Events and termination messages are shown on one line. After `shown` errors the others are
/// counted, together with `more` that are not in `errors`.
pub fn write_errors(
    f: &mut fmt::Formatter<'_>,
    heading: fmt::Arguments<'_>,
    errors: &[impl Display],
    shown: usize,
    more: usize,
) -> fmt::Result {
    if let [only] = errors {
        return write!(f, "{only}");
    }
    f.write_fmt(heading)?;
    for (index, error) in errors.iter().take(shown).enumerate() {
        write!(f, " ({}) {error}", index + 1)?;
    }
    match errors.len().saturating_sub(shown) + more {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}
