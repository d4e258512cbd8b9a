//! A template's syntax, checked without letting its author overflow the stack.

use scaivault_contract::check_template_size;

use super::Reason;

/// A template whose syntax holds.
pub(crate) fn template(text: &str) -> Result<String, Reason> {
    check_template_size(text).map_err(|error| error.to_string())?;
    match minijinja::Environment::new().template_from_str(text) {
        Ok(_) => Ok(text.to_owned()),
        // The error's kind and line; its detail could quote the template.
        Err(error) => Err(format!(
            "the template does not parse: {}{}",
            error.kind(),
            error.line().map(|line| format!(" in line {line}")).unwrap_or_default()
        )
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use scaivault_contract::{TEMPLATE_MAX_BYTES, TEMPLATE_MAX_OPERATORS};

    use super::*;

    #[test]
    fn a_broken_template_is_refused_without_quoting_it() {
        assert!(template("{{ data.password }}").is_ok());
        let reason = template("first\n{{ hunter2").unwrap_err();
        assert!(reason.contains("line 2") && !reason.contains("hunter2"), "{reason}");
    }

    /// Each of these overflows the stack of minijinja's parser when it is some thousand operators long.
    #[test]
    fn templates_that_would_overflow_the_parsers_stack_are_refused_before_it() {
        let deep = |count: usize| {
            [
                format!("{{{{ {}a }}}}", "-".repeat(count)),
                format!("{{{{ {}a }}}}", "not ".repeat(count)),
                format!("{{{{ a{} }}}}", "+a".repeat(count)),
                format!("{{{{ a{} }}}}", "~a".repeat(count)),
                format!("{{{{ a{} }}}}", ".a".repeat(count)),
                format!("{{{{ a{} }}}}", "|a".repeat(count)),
                format!("{{{{ a{} }}}}", "[0]".repeat(count)),
                format!("{{{{ a{} }}}}", " and a".repeat(count)),
                format!("{{{{ a{} }}}}", " is a".repeat(count)),
                format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(count / 4)),
            ]
        };
        for text in deep(TEMPLATE_MAX_OPERATORS + 4) {
            assert!(template(&text).unwrap_err().contains("operators"), "{}", &text[..40]);
        }
        // And at the limit the parser comes back, on the stack of a test's thread.
        for text in deep(TEMPLATE_MAX_OPERATORS - 20) {
            let _ = template(&text);
        }
        assert!(template(&"a".repeat(TEMPLATE_MAX_BYTES + 1)).unwrap_err().contains("bytes"));
    }
}
