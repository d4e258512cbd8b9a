//! Removes secrets that were sent from a server's messages.

/// The replacement.
const CUT: &str = "…";

/// A part of a secret of at least this length is removed: servers and gateways quote parts of
/// invalid input. Shorter parts would match ordinary text.
const PIECE_CHARS: usize = 8;

/// The text without parts of any of `secrets`: for a server's message about a request that
/// contained them.
pub fn redact(text: &str, secrets: &[&str]) -> String {
    let chars: Vec<_> = text.chars().collect();
    let mut is_secret = vec![false; chars.len()];
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        let length = secret.chars().count().min(PIECE_CHARS);
        for (start, piece) in chars.windows(length).enumerate() {
            if secret.contains(&piece.iter().collect::<String>()) {
                is_secret[start..start + length].fill(true);
            }
        }
    }
    let mut redacted = String::with_capacity(text.len());
    for (index, (char, is_cut)) in chars.into_iter().zip(&is_secret).enumerate() {
        match is_cut {
            false => redacted.push(char),
            true if index > 0 && is_secret[index - 1] => {}
            true => redacted.push_str(CUT),
        }
    }
    redacted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_their_pieces_are_cut_out() {
        let secret = "correct-horse-battery";
        for (text, expected) in [
            ("'correct-horse-battery' is invalid", "'…' is invalid"),
            ("correct-horse-battery", "…"),
            ("begins with correct-horse, it seems", "begins with …, it seems"),
            ("é correct-horse-battery é horse-battery", "é … é …"),
            ("the correct horse", "the correct horse"),
            ("", ""),
        ] {
            assert_eq!(redact(text, &[secret, ""]), expected);
        }
        assert_eq!(redact("the pin 1234 is wrong", &["1234", "other"]), "the pin … is wrong");
    }
}
