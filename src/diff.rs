//! Shows the change of a document as a unified diff.

use std::io::{self, Write};

use similar::{ChangeTag, TextDiff};

use crate::output::{ADDED, PLACE, REMOVED};

/// Unchanged lines shown around a change.
const CONTEXT_LINES: usize = 3;

/// A unified diff of two texts.
pub(crate) fn unified(before: &str, after: &str, name: &str) -> String {
    named(before, after, [&format!("{name} (before)"), &format!("{name} (after)")])
}

/// A unified diff of two texts with these names.
pub(crate) fn named(one: &str, other: &str, names: [&str; 2]) -> String {
    let diff = TextDiff::from_lines(one, other);
    diff.unified_diff().context_radius(CONTEXT_LINES).header(names[0], names[1]).to_string()
}

/// Writes a unified diff with colours.
pub(crate) fn write(diff: &str, out: &mut impl Write) -> io::Result<()> {
    for (index, line) in diff.lines().enumerate() {
        let style = match line.as_bytes().first() {
            // The two header lines.
            _ if index < 2 => PLACE,
            Some(b'+') => ADDED,
            Some(b'-') => REMOVED,
            Some(b'@') => PLACE,
            _ => {
                writeln!(out, "{line}")?;
                continue;
            }
        };
        writeln!(out, "{style}{line}{style:#}")?;
    }
    Ok(())
}

/// The numbers of added and removed lines.
pub(crate) fn changed_lines(before: &str, after: &str) -> (usize, usize) {
    let diff = TextDiff::from_lines(before, after);
    let count = |tag| diff.iter_all_changes().filter(|change| change.tag() == tag).count();
    (count(ChangeTag::Insert), count(ChangeTag::Delete))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_with_its_neighbours() {
        let diff = unified("a\nb\nc\n", "a\nx\nc\n", "pod/app");
        assert_eq!(diff, "--- pod/app (before)\n+++ pod/app (after)\n@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n");
        assert_eq!(changed_lines("a\nb\nc\n", "a\nx\ny\nc\n"), (2, 1));
    }

    #[test]
    fn colours_do_not_change_the_text() {
        let diff = unified("a\n--- b\n", "a\n", "pod/app");
        let mut coloured = Vec::new();
        write(&diff, &mut coloured).unwrap();
        assert_eq!(anstream::adapter::strip_bytes(&coloured).into_vec(), diff.as_bytes());
        assert!(coloured.len() > diff.len());
    }
}
