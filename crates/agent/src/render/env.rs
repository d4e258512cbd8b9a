//! Lines `KEY='value'`, as a POSIX shell reads them.

use scaivault_contract::VariableName;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{RenderError, text};

/// One line a field. A `'` ends the quotes, stands escaped, and opens them again.
pub(super) fn lines<'a>(
    entries: impl IntoIterator<Item = (&'a str, &'a Value)>,
) -> Result<Zeroizing<String>, RenderError> {
    let mut lines = Zeroizing::new(String::new());
    for (name, value) in entries {
        if name.parse::<VariableName>().is_err() {
            return Err(RenderError::NotAVariable(name.to_owned()));
        }
        let value = text(value);
        if value.contains('\0') {
            return Err(RenderError::Nul(name.to_owned()));
        }
        lines.push_str(name);
        lines.push_str("='");
        for (index, part) in value.split('\'').enumerate() {
            if index > 0 {
                lines.push_str(r"'\''");
            }
            lines.push_str(part);
        }
        lines.push_str("'\n");
    }
    Ok(lines)
}
