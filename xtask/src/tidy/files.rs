//! What may stand in any file.

use super::{Finding, has_word, rust_text::RustText, tree::Tree};

/// No file that a person wrote is larger, and a clone is kept for ever.
const FILE_BYTES: usize = 1 << 20;

/// Written where something was put off: it belongs into the tracker, with a name and a date.
const MARKS: [&str; 2] = ["TODO", "FIXME"];

pub(super) fn no_leftovers(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        let Some(text) = &file.text else { continue };
        let split;
        // In code the marks may be data, as they are here.
        let text = if file.is_rust() {
            split = RustText::of(text);
            &split.comments
        } else {
            text
        };
        for (index, line) in text.lines().enumerate() {
            if MARKS.iter().any(|mark| has_word(line, mark)) {
                let place = format!("{}:{}", file.path, index + 1);
                findings.push(Finding::new(place, "do it, or write it into the issue tracker"));
            }
        }
    }
    findings
}

pub(super) fn small_text_files(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        if file.bytes > FILE_BYTES {
            let what = format!("has {} bytes; at most {FILE_BYTES}: generate it or leave it out", file.bytes);
            findings.push(Finding::new(&file.path, what));
        }
        if file.text.is_none() {
            findings.push(Finding::new(&file.path, "is not text: what cannot be reviewed is not kept here"));
        }
    }
    findings
}

/// The images are built by the toolchain that everything is tested with.
pub(super) fn one_toolchain(tree: &Tree) -> Vec<Finding> {
    let value = |file: &str, key: &str| {
        let mut lines = tree.text(file)?.lines();
        let value = lines.find_map(|line| line.trim().strip_prefix(key))?;
        Some(value.trim_start_matches([' ', '=']).trim_matches('"').to_owned())
    };
    let (pinned, built_by) = (value("rust-toolchain.toml", "channel"), value("Dockerfile", "ARG RUST_IMAGE"));
    match (pinned, built_by) {
        (Some(pinned), Some(image)) if image.contains(&format!(":{pinned}-")) => Vec::new(),
        (Some(pinned), Some(_)) => {
            vec![Finding::new(
                "Dockerfile",
                format!("RUST_IMAGE must have Rust {pinned}, as rust-toolchain.toml says"),
            )]
        }
        _ => vec![Finding::new(
            "Dockerfile",
            "must have `ARG RUST_IMAGE=`, and rust-toolchain.toml a `channel`, to be compared",
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|finding| finding.place.as_str()).collect()
    }

    #[test]
    fn what_was_put_off_is_found() {
        let mark = MARKS[0];
        let tree = Tree::with_file(
            "src/a.rs",
            &format!("fn f() {{}} // {mark}: later\nconst A: &str = \"{mark}\";\n"),
        )
        .and_file("values.yaml", &format!("a: 1\n# {mark}\n"))
        .and_file("docs/a.md", &format!("METHOD{mark}S\n"));
        assert_eq!(places(&no_leftovers(&tree)), ["src/a.rs:1", "values.yaml:2"]);
    }

    #[test]
    fn what_nobody_reviews_is_found() {
        let tree = Tree::with_file("docs/a.md", &"a".repeat(FILE_BYTES))
            .and_file("docs/b.md", &"a".repeat(FILE_BYTES + 1))
            .and_file("docs/logo.png", "\u{89}PNG\0");
        assert_eq!(places(&small_text_files(&tree)), ["docs/b.md", "docs/logo.png"]);
    }

    #[test]
    fn the_images_toolchain_is_the_pinned_one() {
        let tree = |image: &str| {
            Tree::with_file("rust-toolchain.toml", "[toolchain]\nchannel = \"1.95.0\"\n")
                .and_file("Dockerfile", &format!("# for all\n{image}\nFROM a\n"))
        };
        assert_eq!(one_toolchain(&tree("ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim")), []);
        for wrong in
            ["ARG RUST_IMAGE=rust:1.94.0-slim", "ARG RUST_IMAGE=rust:1.95.01-slim", "FROM rust:1.95.0-slim"]
        {
            assert_eq!(places(&one_toolchain(&tree(wrong))), ["Dockerfile"], "{wrong}");
        }
    }
}
