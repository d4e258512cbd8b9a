//! Lines `KEY=value` that dotenv libraries, Node and Compose read alike.

use std::collections::BTreeMap;

use scaivault_client::JsonValue;
use scaivault_contract::{Format, VariableName};
use zeroize::Zeroizing;

use super::{RenderError, text};

/// One line a field.
pub(super) fn lines(fields: &BTreeMap<String, JsonValue<'_>>) -> Result<Zeroizing<String>, RenderError> {
    let mut lines = Zeroizing::new(String::new());
    for (name, value) in fields {
        if name.parse::<VariableName>().is_err() {
            return Err(RenderError::NotAVariable { field: name.to_owned(), format: Format::Dotenv });
        }
        let value = text(*value);
        for part in [name, "='", &value, "'\n"] {
            lines.push_str(part);
        }
    }
    Ok(lines)
}
