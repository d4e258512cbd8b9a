//! The value of a container's environment variable, by the kubelet's expansion rules.

use std::borrow::Cow;

/// Escapes `text` so that the container receives it unchanged: every `$` is doubled.
///
/// The kubelet replaces `$(NAME)` in a container's `env` with that variable's value, and `$$` with
/// `$`.
pub fn escape_env_value(text: &str) -> Cow<'_, str> {
    if text.contains('$') { text.replace('$', "$$").into() } else { text.into() }
}

/// The kubelet's expansion of `text` if it references no variable of the container: `$$` becomes
/// `$`, and `$(NAME)` remains unchanged.
pub fn expand_env_value(text: &str) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        expanded.push_str(before);
        // The reference as a whole: a `$$` inside it is part of the name and not an escape.
        let taken = match from.as_bytes() {
            [b'$', b'$', ..] => {
                expanded.push('$');
                2
            }
            [b'$', b'(', ..] => {
                let end = from.find(')').map_or(2, |closing| closing + 1);
                expanded.push_str(&from[..end]);
                end
            }
            _ => {
                expanded.push('$');
                1
            }
        };
        rest = &from[taken..];
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kubelet_expansions_are_escaped() {
        assert_eq!(
            escape_env_value("{{ data.a }} costs $(PRICE) or $$1"),
            "{{ data.a }} costs $$(PRICE) or $$$$1"
        );
        assert_eq!(escape_env_value("plain"), "plain");
    }

    #[test]
    fn expands_like_the_kubelet() {
        for (text, expanded) in [
            ("", ""),
            ("$", "$"),
            ("$$", "$"),
            ("$$$", "$$"),
            ("$$$$", "$$"),
            ("$x", "$x"),
            ("$(A)", "$(A)"),
            ("$$(A)", "$(A)"),
            ("$(A$$B)", "$(A$$B)"),
            ("$(open $$", "$(open $"),
            ("a$$é$", "a$é$"),
        ] {
            assert_eq!(expand_env_value(text), expanded, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn expand_is_the_inverse_of_escape(text in "([$()a]|\\PC){0,40}") {
            prop_assert_eq!(expand_env_value(&escape_env_value(&text)), text);
        }

        #[test]
        fn an_escaped_value_has_no_reference(text in "[$()A]{0,40}") {
            let escaped = escape_env_value(&text).replace("$$", "");
            prop_assert!(!escaped.contains('$'));
        }
    }
}
