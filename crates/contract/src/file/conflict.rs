//! Files that cannot exist together.

use std::fmt;

use crate::Excerpt;

/// Two files that cannot both be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The first file; for `a` and `a/b` it is `a`.
    pub first: String,
    /// The second file.
    pub second: String,
    /// The reason.
    pub kind: ConflictKind,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, second, kind } = self;
        let (first, second) = (Excerpt::new(first), Excerpt::new(second));
        match kind {
            ConflictKind::Twice => write!(f, "the file {first} is written twice; give each its own name"),
            ConflictKind::InsideFile => {
                write!(f, "the file {second} is inside {first}, which is also a file; rename one of them")
            }
        }
    }
}

/// Why two files cannot both be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    /// They have the same path.
    Twice,
    /// The path of one is a directory of the other.
    InsideFile,
}

/// The files that conflict with another file: the same path twice, or `a` and `a/b`.
///
/// Sorted by path. Each file is reported with one conflicting file, even if it conflicts with
/// several.
pub fn conflicts<'a>(files: impl IntoIterator<Item = &'a str>) -> Vec<Conflict> {
    let files: Vec<_> = files.into_iter().collect();
    let clashes = clashes(&files);
    let conflict = |clash: &Clash| Conflict {
        first: files[clash.first].to_owned(),
        second: files[clash.second].to_owned(),
        kind: clash.kind,
    };
    clashes.iter().map(conflict).collect()
}

/// A [`Conflict`] between the files at these indices.
pub(crate) struct Clash {
    pub(crate) first: usize,
    pub(crate) second: usize,
    pub(crate) kind: ConflictKind,
}

pub(crate) fn clashes(files: &[&str]) -> Vec<Clash> {
    let mut order: Vec<usize> = (0..files.len()).collect();
    // Sorted by segments and not by bytes, where `-` comes before `/`, so that everything inside a
    // file directly follows it.
    order.sort_by_cached_key(|&index| by_segments(files[index]));

    let mut clashes = Vec::new();
    let mut previous: Option<usize> = None;
    let mut outermost: Option<usize> = None;
    for index in order {
        let same = previous.filter(|&other| files[other] == files[index]);
        let around = outermost.filter(|&other| is_inside(files[index], files[other]));
        if let Some(first) = same {
            clashes.push(Clash { first, second: index, kind: ConflictKind::Twice });
        } else {
            previous = Some(index);
            match around {
                Some(first) => clashes.push(Clash { first, second: index, kind: ConflictKind::InsideFile }),
                None => outermost = Some(index),
            }
        }
    }
    clashes
}

/// A sort key whose byte order is the order of the path's segments. Paths contain no NUL, and
/// comparing bytes is faster than comparing segments.
pub(super) fn by_segments(path: &str) -> String {
    path.replace('/', "\0")
}

fn is_inside(file: &str, other: &str) -> bool {
    file.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &[&str], expected: &[(&str, &str, ConflictKind)]) {
        let found = conflicts(files.iter().copied());
        let found: Vec<_> = found
            .iter()
            .map(|conflict| (conflict.first.as_str(), conflict.second.as_str(), conflict.kind))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn neighbours_do_not_collide() {
        check(&[], &[]);
        check(&["/a"], &[]);
        check(&["/a/b", "/a/c", "/a-b", "/ab/c", "/b"], &[]);
    }

    #[test]
    fn finds_the_same_file_twice() {
        check(&["/a", "/b", "/a"], &[("/a", "/a", ConflictKind::Twice)]);
        check(&["a", "a", "a"], &[("a", "a", ConflictKind::Twice), ("a", "a", ConflictKind::Twice)]);
    }

    #[test]
    fn a_file_inside_a_file_is_found() {
        // In byte order, `/a-b` and `/a.b` would be between the two.
        check(&["/a/b/c", "/a.b", "/a-b", "/a"], &[("/a", "/a/b/c", ConflictKind::InsideFile)]);
        check(
            &["/a", "/a/b", "/a/c/d", "/a/b"],
            &[
                ("/a", "/a/b", ConflictKind::InsideFile),
                ("/a/b", "/a/b", ConflictKind::Twice),
                ("/a", "/a/c/d", ConflictKind::InsideFile),
            ],
        );
    }

    #[test]
    fn errors_name_the_fix() {
        let found = conflicts(["/a", "/a/b", "/a"]);
        let said: Vec<_> = found.iter().map(Conflict::to_string).collect();
        assert_eq!(
            said,
            [
                "the file \"/a\" is written twice; give each its own name",
                "the file \"/a/b\" is inside \"/a\", which is also a file; rename one of them",
            ]
        );
    }
}
