//! How large a template may be, for whoever parses it.

use thiserror::Error;

/// The longest template, bytes.
pub const TEMPLATE_MAX_BYTES: usize = 32 * 1024;
/// The most operators in a template, counted in its text too.
///
/// The parser of minijinja 3.1 recurses over unary operators and builds trees that are as deep as a chain of binary
/// ones, of attributes or of `elif` is long, and code generation and drop recurse over these. A thread of 2 MiB
/// overflows its stack, which ends the process, at some thousands.
pub const TEMPLATE_MAX_OPERATORS: usize = 1000;

/// Whether a template is small enough to be given to the parser.
pub fn check_template_size(text: &str) -> Result<(), TemplateSizeError> {
    if text.len() > TEMPLATE_MAX_BYTES {
        return Err(TemplateSizeError::TooLong(text.len()));
    }
    match operators(text) {
        count if count > TEMPLATE_MAX_OPERATORS => Err(TemplateSizeError::TooManyOperators(count)),
        _ => Ok(()),
    }
}

/// A template that must not be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TemplateSizeError {
    /// Its bytes are more than [`TEMPLATE_MAX_BYTES`].
    #[error("the template has {0} bytes, and {TEMPLATE_MAX_BYTES} are allowed")]
    TooLong(usize),
    /// Its operators are more than [`TEMPLATE_MAX_OPERATORS`].
    #[error("the template has {0} operators, and {TEMPLATE_MAX_OPERATORS} are allowed")]
    TooManyOperators(usize),
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
    fn counts_bytes_and_operators_up_to_the_limits() {
        assert_eq!(check_template_size(&"a".repeat(TEMPLATE_MAX_BYTES)), Ok(()));
        let long = check_template_size(&"a".repeat(TEMPLATE_MAX_BYTES + 1));
        assert_eq!(long, Err(TemplateSizeError::TooLong(TEMPLATE_MAX_BYTES + 1)));
        assert_eq!(check_template_size(&"-".repeat(TEMPLATE_MAX_OPERATORS)), Ok(()));
        for operator in ["-", ".", "not ", " and a", " elif"] {
            let deep = check_template_size(&operator.repeat(TEMPLATE_MAX_OPERATORS + 1));
            assert_eq!(
                deep,
                Err(TemplateSizeError::TooManyOperators(TEMPLATE_MAX_OPERATORS + 1)),
                "{operator:?}"
            );
        }
    }
}
