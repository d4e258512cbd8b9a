//! "Did you mean": the nearest of some words.

/// The candidate with the smallest edit distance to `word`, if it is near enough to be what was meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1) && *distance < word.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_is_a_third_of_the_word() {
        let words = ["sidecar", "init"];
        assert_eq!(nearest("sidcar", words), Some("sidecar"));
        assert_eq!(nearest("int", words), Some("init"));
        assert_eq!(nearest("daemon", words), None);
    }
}
