//! Rules about files. Rust files are read line by line; the compiler and lints check the rest.

use super::{
    has_word,
    tree::{Tree, is_rust},
};

/// The composition root must stay an overview.
const MAIN: &str = "src/main.rs";
const MAIN_LINES: usize = 40;
/// A longer file should be split. Test files may be longer, because they are lists of cases.
const FILE_LINES: usize = 600;
/// No manually written file is larger, and the history of a repository keeps large files forever.
const FILE_BYTES: usize = 1 << 20;
/// Marks of postponed work, which belongs in the issue tracker.
const MARKS: [&str; 2] = ["TODO", "FIXME"];

/// Where the lint must be set, and how: the workspace, and the packages outside it.
const FORBIDS_UNSAFE: [(&str, &str); 3] = [
    ("Cargo.toml", "\nunsafe_code = \"forbid\"\n"),
    ("crates/csi-provider/generate/Cargo.toml", "\nunsafe_code = \"forbid\"\n"),
    // Not for the thin targets, because libFuzzer's macro exports a function.
    ("fuzz/src/lib.rs", "\n#![forbid(unsafe_code)]\n"),
];

/// A lint rejects unsafe code; this rule ensures that the lint stays enabled.
pub(super) fn no_unsafe(tree: &Tree) -> Vec<String> {
    let unset = FORBIDS_UNSAFE.iter().filter(|(path, lint)| !tree.text(path).contains(lint));
    let mut findings: Vec<_> =
        unset.map(|(path, lint)| format!("{path}: must say `{}`", lint.trim())).collect();
    let targets = tree.rust().filter(|(path, _)| path.starts_with("fuzz/fuzz_targets/"));
    findings.extend(
        targets
            .filter(|(_, text)| has_word(text, "unsafe"))
            .map(|(path, _)| format!("{path}: no unsafe code")),
    );
    findings
}

pub(super) fn small_main(tree: &Tree) -> Vec<String> {
    let lines = tree.text(MAIN).lines().count();
    let finding = format!("{MAIN}: has {lines} lines; it stays under {MAIN_LINES}: it only starts things");
    if lines < MAIN_LINES { Vec::new() } else { vec![finding] }
}

pub(super) fn small_files(tree: &Tree) -> Vec<String> {
    let lines =
        tree.rust().filter(|(path, _)| !is_test(path)).map(|(path, text)| (path, text.lines().count()));
    let long = lines.filter(|(_, lines)| *lines > FILE_LINES);
    long.map(|(path, lines)| format!("{path}: has {lines} lines; {FILE_LINES} at most: split it")).collect()
}

/// Whether the whole file is test code: `tests.rs`, or anything below a directory `tests` or
/// `benches`.
fn is_test(path: &str) -> bool {
    path.split('/').any(|component| matches!(component, "tests.rs" | "tests" | "benches"))
}

/// Skipped tests and tests that wait for a fixed time are not reliable. A test on tokio's paused
/// clock may sleep, and so may the functions that it calls in the same file.
pub(super) fn honest_tests(tree: &Tree) -> Vec<String> {
    const PAUSED: &str = "start_paused = true";
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        let mut find = |index: usize, what: &str| findings.push(format!("{path}:{}: {what}", index + 1));
        let has_paused_tests = text.contains(PAUSED);
        let mut is_in_tests = is_test(path);
        // Determined by the attributes above the test, or by the file before the first test.
        let mut may_sleep = has_paused_tests;
        for (index, line) in text.lines().enumerate() {
            let code = line.trim_start();
            is_in_tests |= code.starts_with("#[cfg(test)]");
            if code.starts_with("#[test]") || code.starts_with("#[tokio::test") {
                may_sleep = code.contains(PAUSED);
            } else if line.starts_with('}') || line.starts_with("    }") && !is_test(path) {
                // The end of an item: what follows is not a test unless an attribute says so.
                may_sleep = has_paused_tests;
            }
            let is_comment = code.starts_with("//");
            if code.starts_with("#[ignore") {
                find(index, "a test that is ignored protects nothing");
            }
            let sleeps = has_word(code, "sleep(") || has_word(code, "sleep_until(");
            if is_in_tests && !is_comment && sleeps && (!may_sleep || code.contains("thread::sleep(")) {
                find(index, "a test waits for an event, or runs on a paused clock");
            }
            let fence = code.trim_start_matches(['/', '!', '*', ' ']);
            if is_comment && fence.starts_with("```") && fence.contains("ignore") {
                find(index, "an example that is not compiled goes stale; use `no_run` or `text`");
            }
        }
    }
    findings
}

/// In Rust, only comments are checked, because marks in code are data, as in this file.
pub(super) fn no_leftovers(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        for (index, line) in text.lines().enumerate() {
            let written =
                if is_rust(path) { line.split_once("//").map_or("", |(_, comment)| comment) } else { line };
            if MARKS.iter().any(|mark| has_word(written, mark)) {
                findings.push(format!("{path}:{}: do it, or write it into the issue tracker", index + 1));
            }
        }
    }
    findings
}

pub(super) fn small_text_files(tree: &Tree) -> Vec<String> {
    let finding = |(path, text): (&String, &Option<String>)| match text {
        None => Some(format!("{path}: is not text: what cannot be reviewed is not kept here")),
        Some(text) if text.len() > FILE_BYTES => Some(format!(
            "{path}: has {} bytes; at most {FILE_BYTES}: generate it or leave it out",
            text.len()
        )),
        Some(_) => None,
    };
    tree.files.iter().filter_map(finding).collect()
}
