//! A template's syntax, checked without letting its author overflow the stack.

use super::Reason;

/// The longest template, bytes.
const TEMPLATE_BYTES: usize = 32 * 1024;
/// The most operators in a template, counted in its text too.
///
/// The parser of minijinja 3.1 recurses over unary operators and builds trees that are as deep as a chain of binary
/// ones, of attributes or of `elif` is long, and code generation and drop recurse over these. A thread of 2 MiB
/// overflows its stack, which ends the process, at some thousands.
const TEMPLATE_OPERATORS: usize = 1000;

/// A template whose syntax holds.
pub(crate) fn template(text: &str) -> Result<String, Reason> {
    if text.len() > TEMPLATE_BYTES {
        return Err(format!("the template has {} bytes, and {TEMPLATE_BYTES} are allowed", text.len()).into());
    }
    let operators = operators(text);
    if operators > TEMPLATE_OPERATORS {
        return Err(
            format!("the template has {operators} operators, and {TEMPLATE_OPERATORS} are allowed").into()
        );
    }
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

/// Everything that could make the parser go one level deeper, wherever it stands: telling tags from text would need a
/// lexer that agrees with minijinja's in every corner.
fn operators(text: &str) -> usize {
    let signs = text.bytes().filter(|byte| b"+-*/%~.|=!<>([{:".contains(byte)).count();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named =
        words.filter(|word| matches!(*word, "not" | "and" | "or" | "in" | "is" | "if" | "elif" | "else"));
    signs + named.count()
}

#[cfg(test)]
mod tests {
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
        for text in deep(TEMPLATE_OPERATORS + 4) {
            assert!(template(&text).unwrap_err().contains("operators"), "{}", &text[..40]);
        }
        // And at the limit the parser comes back, on the stack of a test's thread.
        for text in deep(TEMPLATE_OPERATORS - 20) {
            let _ = template(&text);
        }
        assert!(template(&"a".repeat(TEMPLATE_BYTES + 1)).unwrap_err().contains("bytes"));
    }
}
