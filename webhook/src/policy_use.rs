//! The effects of policies on a pod, as they appear in the log line and the audit annotations.

use std::fmt::Write as _;

use scaivault_inject::{PolicyEffect, PolicyUse};

/// The maximum length of the list of policies in bytes.
const LIST_BYTES: usize = 1024;

/// The maximum length of the messages in bytes.
const MESSAGES_BYTES: usize = 2048;

/// The policies that select a pod, such as `billing@3:injected,limits@1:selected`. Empty if there
/// are none.
pub(crate) fn list(uses: &[PolicyUse]) -> String {
    let mut text = String::new();
    for (index, PolicyUse { name, generation, effect, .. }) in uses.iter().enumerate() {
        let entry = format!("{name}@{generation}:{}", effect.name());
        if text.len() + entry.len() + 1 > LIST_BYTES {
            let _ = write!(text, ",… ({} more)", uses.len() - index);
            break;
        }
        if index > 0 {
            text.push(',');
        }
        text.push_str(&entry);
    }
    text
}

/// What policies rejected, warned about or, under `audit`, would have done, on one line. May be
/// empty.
pub(crate) fn messages(uses: &[PolicyUse]) -> String {
    let mut text = String::new();
    for PolicyUse { name, effect, message, .. } in uses {
        if let Some(message) = message {
            let separator = if text.is_empty() { "" } else { "; " };
            let _ = write!(text, "{separator}{name} ({}): {message}", effect.name());
        }
        if text.len() > MESSAGES_BYTES {
            break;
        }
    }
    shortened(&text)
}

/// Cut at a character boundary, without control characters.
fn shortened(text: &str) -> String {
    let is_long = text.len() > MESSAGES_BYTES;
    let end = if is_long { text.floor_char_boundary(MESSAGES_BYTES) } else { text.len() };
    let clean = |character: char| if character.is_control() { ' ' } else { character };
    let mut short: String = text[..end].chars().map(clean).collect();
    if is_long {
        short.push('…');
    }
    short
}

/// Each effect of at least one policy.
pub(crate) fn effects(uses: &[PolicyUse]) -> impl Iterator<Item = PolicyEffect> {
    PolicyEffect::ALL.into_iter().filter(|effect| uses.iter().any(|found| found.effect == *effect))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy_use(name: &str, effect: PolicyEffect, message: Option<&str>) -> PolicyUse {
        PolicyUse { name: name.into(), generation: 3, effect, message: message.map(str::to_owned) }
    }

    #[test]
    fn policies_are_listed_with_generation_and_effect() {
        assert_eq!((list(&[]), messages(&[])), (String::new(), String::new()));
        let uses = [
            policy_use("billing", PolicyEffect::Injected, None),
            policy_use("limits", PolicyEffect::Refused, Some("no\nroom")),
        ];
        assert_eq!(list(&uses), "billing@3:injected,limits@3:refused");
        assert_eq!(messages(&uses), "limits (refused): no room");
        assert!(effects(&uses).eq([PolicyEffect::Injected, PolicyEffect::Refused]));
    }

    #[test]
    fn both_texts_are_bounded_with_many_policies() {
        let name = "n".repeat(253);
        let uses = vec![policy_use(&name, PolicyEffect::Audited, Some(&"ä".repeat(300))); 1_000];
        assert!(list(&uses).len() < LIST_BYTES + 20, "{}", list(&uses).len());
        assert!(list(&uses).ends_with("(997 more)"), "{}", list(&uses));
        assert!(messages(&uses).len() < MESSAGES_BYTES + 10);
    }
}
