//! Path patterns of policies and subscriptions.

/// Whether `path` matches `pattern`: `*` matches one segment or a part of it, `**` any number of
/// segments, and `?` one character.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<_> = pattern.split('/').collect();
    let path: Vec<_> = path.split('/').collect();
    match_segments(&pattern, &path)
}

fn match_segments(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => (0..=path.len()).any(|skipped| match_segments(rest, &path[skipped..])),
        (Some((first, pattern)), Some((segment, path))) => {
            match_characters(first.as_bytes(), segment.as_bytes()) && match_segments(pattern, path)
        }
        _ => false,
    }
}

fn match_characters(pattern: &[u8], segment: &[u8]) -> bool {
    match (pattern.split_first(), segment.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            (0..=segment.len()).any(|skipped| match_characters(rest, &segment[skipped..]))
        }
        (Some((b'?', pattern)), Some((_, segment))) => match_characters(pattern, segment),
        (Some((expected, pattern)), Some((found, segment))) => {
            expected == found && match_characters(pattern, segment)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_published() {
        for (pattern, path, expected) in [
            ("app/**", "app/db", true),
            ("app/**", "app/db/main", true),
            ("app/**", "other/db", false),
            ("app/db/*", "app/db/main", true),
            ("app/db/*", "app/db/main/password", false),
            ("**/ssl/*", "app/ssl/cert", true),
            ("app/d?", "app/db", true),
            ("app/d?", "app/d", false),
            ("app/db", "app/db", true),
            ("app/db", "app/db2", false),
            ("environments/prod-*/x", "environments/prod-eu/x", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }
}
