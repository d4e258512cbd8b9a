//! The files generated from the definitions of custom resources: templates of the chart, and the
//! references in `docs/`.

use anyhow::{Context, Result, ensure};

/// The markers of the reference of fields in a page.
const FIELDS_START: &str =
    "<!-- Written by `cargo xtask docs` from the definition, down to the next mark. -->\n";
const FIELDS_END: &str = "<!-- End of the fields. -->\n";

/// Metadata for helm. It keeps the definition when a release is uninstalled, because without it the
/// API server deletes all policies.
const TEMPLATE_METADATA: &str = r#"metadata:
  annotations:
    helm.sh/resource-policy: keep
  labels:
    {{- include "injector.labels" . | nindent 4 }}
"#;

/// The definition as a template of the chart. `source` is the crate that it comes from, `value` the chart's value about the product
/// that uses it.
pub(super) fn template(definition: &str, source: &str, value: &str) -> Result<String> {
    ensure!(
        !definition.contains("{{"),
        "the definition has a pair of braces, which helm would take for its own"
    );
    let (head, rest) = definition.split_once("metadata:\n").context("the definition has no metadata")?;
    Ok(format!(
        "{{{{- /* Written by `cargo xtask docs` from crates/{source}. */ -}}}}\n\
         {{{{- if and .Values.{value}.enabled .Values.{value}.installCrd }}}}\n\
         {head}{TEMPLATE_METADATA}{rest}{{{{- end }}}}\n"
    ))
}

/// The updated page: everything except the fields is kept.
pub(super) fn page(page: &str, fields: &str) -> Result<String> {
    let (head, rest) = page.split_once(FIELDS_START).context("the page has no mark for the fields")?;
    let (_, tail) = rest.split_once(FIELDS_END).context("the page has no mark for the end of the fields")?;
    Ok(format!("{head}{FIELDS_START}\n{fields}\n{FIELDS_END}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_of_helm_are_refused() {
        assert!(template("metadata:\n  a: '{{ b }}'\n", "policy", "policies").is_err());
    }
}
