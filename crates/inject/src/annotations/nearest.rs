//! "Did you mean": finds the most similar word. The cost is limited for any input.

/// Maximum length of compared words in bytes: the longest name of an annotation and of a container.
const WORD_BYTES: usize = 64;
/// Maximum number of candidates that are compared with one word.
const CANDIDATES: usize = 64;
/// Maximum number of edits between a word and a suggestion.
const EDITS: usize = 5;

/// The candidate with the smallest edit distance to `word`, if it is similar enough.
///
/// Compares at most `CANDIDATES` words of at most `WORD_BYTES` bytes, each up to `EDITS` edits.
/// Callers only ask for the first problems (`Problems::takes_hint`).
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > WORD_BYTES {
        return None;
    }
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= WORD_BYTES && candidate.len().abs_diff(word.len()) <= EDITS)
        .take(CANDIDATES)
        .filter_map(|candidate| {
            let most = (candidate.len() / 3).max(1).min(word.len() - 1);
            Some((distance_within(word, candidate, most)?, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The number of edits (insertions, deletions, substitutions and transpositions of bytes) between
/// two words of at most [`WORD_BYTES`]; `None` if it is above `most` or [`EDITS`].
pub(super) fn distance_within(one: &str, other: &str, most: usize) -> Option<usize> {
    let (one, other, most) = (one.as_bytes(), other.as_bytes(), most.min(EDITS));
    if one.len().max(other.len()) > WORD_BYTES || one.len().abs_diff(other.len()) > most {
        return None;
    }
    // Rows of the table of distances between prefixes of both words. Only cells at most `most` away
    // from the diagonal can contribute to a result, so no others are computed.
    let far = u8::try_from(most + 1).ok()?;
    let cut = |cells: usize| u8::try_from(cells).map_or(far, |cells| cells.min(far));
    let mut before_last = [far; WORD_BYTES + 1];
    let mut last: [u8; WORD_BYTES + 1] = std::array::from_fn(cut);
    for row in 1..=one.len() {
        let mut current = [far; WORD_BYTES + 1];
        let mut nearest_cell = far;
        if row <= most {
            current[0] = cut(row);
            nearest_cell = current[0];
        }
        for column in row.saturating_sub(most).max(1)..=(row + most).min(other.len()) {
            #[cfg(any(test, feature = "count-work"))]
            crate::work::look(0);
            let (byte, wanted) = (one[row - 1], other[column - 1]);
            let mut cell = last[column - 1] + u8::from(byte != wanted);
            cell = cell.min(last[column] + 1).min(current[column - 1] + 1);
            if row > 1 && column > 1 && byte == other[column - 2] && one[row - 2] == wanted {
                cell = cell.min(before_last[column - 2] + 1);
            }
            current[column] = cell.min(far);
            nearest_cell = nearest_cell.min(cell);
        }
        // No later cell can be smaller, not even by a transposition: its cell two rows up has a
        // neighbour in this row that is at most one larger.
        if nearest_cell == far {
            return None;
        }
        (before_last, last) = (last, current);
    }
    Some(usize::from(last[other.len()])).filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_means_a_third_of_the_word() {
        let words = ["sidecar", "init"];
        assert_eq!(nearest("sidcar", words), Some("sidecar"));
        assert_eq!(nearest("int", words), Some("init"));
        assert_eq!(nearest("daemon", words), None);
        assert_eq!(nearest("", words), None);
    }

    #[test]
    fn edits_are_counted_up_to_the_most() {
        for (one, other, most, expected) in [
            ("same", "same", 0, Some(0)),
            ("", "ab", 2, Some(2)),
            ("ab", "", 1, None),
            ("kitten", "sitting", 3, Some(3)),
            ("kitten", "sitting", 2, None),
            ("secert", "secret", 1, Some(1)),
            ("ca", "abc", 3, Some(3)),
            ("abcdefgh", "bcdefghi", 2, Some(2)),
            ("äöü", "aou", 5, None),
        ] {
            assert_eq!(distance_within(one, other, most), expected, "{one:?} {other:?} {most}");
            assert_eq!(distance_within(other, one, most), expected, "{other:?} {one:?} {most}");
        }
    }

    #[test]
    fn a_lower_limit_changes_no_distance_within_it() {
        let mut words = vec![String::new()];
        for length in 0..5 {
            let longer: Vec<_> = words.iter().filter(|word| word.len() == length).cloned().collect();
            words.extend(longer.iter().flat_map(|word| ["a", "b"].map(|letter| format!("{word}{letter}"))));
        }
        for (one, other) in words.iter().flat_map(|one| words.iter().map(move |other| (one, other))) {
            // No cell of two words of five letters is above this limit, so nothing is cut off.
            let distance = distance_within(one, other, 5);
            for most in 0..5 {
                let expected = distance.filter(|distance| *distance <= most);
                assert_eq!(distance_within(one, other, most), expected, "{one:?} {other:?} {most}");
            }
        }
    }

    #[test]
    fn long_words_are_not_compared() {
        let word = "x".repeat(WORD_BYTES);
        let longer = "x".repeat(WORD_BYTES + 1);
        let near = "x".repeat(WORD_BYTES - 1);
        assert_eq!(nearest(&word, [longer.as_str(), &near]), Some(near.as_str()));
        assert_eq!(nearest(&longer, [word.as_str()]), None);
        assert_eq!(distance_within(&longer, &longer, 5), None);
    }

    #[test]
    fn only_the_first_candidates_are_compared() {
        let names: Vec<String> = (0..CANDIDATES).map(|n| format!("other-{n:02}-name")).collect();
        let candidates = |skipped| names[skipped..].iter().map(String::as_str).chain(["worker-name"]);
        assert_eq!(nearest("wroker-name", candidates(1)), Some("worker-name"));
        assert_eq!(nearest("wroker-name", candidates(0)), None);
    }
}
