//! The file that the kubelet reads `fileKeyRef` variables from.

use scaivault_client::SecretData;
use scaivault_contract::{FieldName, VariableName};

use super::{RenderError, field, text};

/// The line `VARIABLE='value'` of one variable.
///
/// The kubelet knows no escape inside the quotes and takes an empty value for a missing key, so both are refused.
pub(crate) fn variable_line(
    variable: &VariableName,
    data: &SecretData,
    name: &FieldName,
) -> Result<String, RenderError> {
    let value = text(field(data, name, None)?);
    if value.is_empty() {
        return Err(RenderError::EmptyVariable(name.as_str().to_owned()));
    }
    if value.contains('\'') {
        return Err(RenderError::QuoteInVariable(name.as_str().to_owned()));
    }
    if value.contains('\0') {
        return Err(RenderError::Nul(name.as_str().to_owned()));
    }
    Ok(format!("{variable}='{value}'\n"))
}
