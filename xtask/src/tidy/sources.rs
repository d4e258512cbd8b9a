//! What may stand in a Rust file.

use super::{
    Finding, has_word,
    tree::{RustFile, Tree},
};

/// The composition root stays a table of contents.
const MAIN: &str = "src/main.rs";
const MAIN_LINES: usize = 40;

/// More than this and a file holds two things. Test files may be longer: they are lists of cases.
const FILE_LINES: usize = 600;

/// Where output belongs to a program, not to a library.
const MAY_PRINT: [&str; 3] = ["src/", "crates/e2e/", "xtask/"];

/// Nothing here needs it, and the workspace's lint forbids it; this keeps the lint itself from going away.
pub(super) fn no_unsafe(tree: &Tree) -> Vec<Finding> {
    let mut findings = find_in_code(tree, "unsafe", "no unsafe code");
    if tree.text("Cargo.toml").is_some_and(|text| !text.contains("unsafe_code = \"forbid\"")) {
        findings
            .push(Finding::new("Cargo.toml", "the workspace's lints must say `unsafe_code = \"forbid\"`"));
    }
    findings
}

pub(super) fn small_main(tree: &Tree) -> Vec<Finding> {
    let lines = tree.text(MAIN).map_or(0, |text| text.lines().count());
    let too_long = (lines >= MAIN_LINES).then(|| {
        Finding::new(MAIN, format!("has {lines} lines; it stays under {MAIN_LINES}: it only starts things"))
    });
    too_long.into_iter().collect()
}

pub(super) fn small_files(tree: &Tree) -> Vec<Finding> {
    tree.rust_files()
        .filter(|file| !file.is_test())
        .map(|file| (file.path, file.text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES)
        .map(|(path, lines)| Finding::new(path, format!("has {lines} lines; {FILE_LINES} at most: split it")))
        .collect()
}

pub(super) fn libraries_do_not_print(tree: &Tree) -> Vec<Finding> {
    let library =
        |file: &RustFile<'_>| !MAY_PRINT.iter().any(|dir| file.path.starts_with(dir)) && !file.is_test();
    let macros = ["println!", "print!", "eprintln!", "eprint!"];
    let mut findings = Vec::new();
    for file in tree.rust_files().filter(library) {
        let end = file.first_test_line().unwrap_or(usize::MAX);
        for (index, line) in file.split.code.lines().enumerate().take(end) {
            if macros.iter().any(|name| has_word(line, name)) {
                let place = format!("{}:{}", file.path, index + 1);
                findings.push(Finding::new(
                    place,
                    "a library returns facts or logs events; only a program prints",
                ));
            }
        }
    }
    findings
}

/// A test that is skipped or that waits for a while proves nothing on the day it matters. Sleeping is no waiting in a
/// test that runs on tokio's paused clock, nor in what such a test calls.
pub(super) fn honest_tests(tree: &Tree) -> Vec<Finding> {
    let mut findings = find_in_code(tree, "#[ignore", "a test that is ignored protects nothing");
    for file in tree.rust_files() {
        let mut find = |index: usize, what: &str| {
            findings.push(Finding::new(format!("{}:{}", file.path, index + 1), what));
        };
        let first_test_line = file.first_test_line().unwrap_or(usize::MAX);
        let lines = file.split.code.lines().zip(paused_lines(&file.split.code));
        for (index, (line, paused)) in lines.enumerate().skip(first_test_line) {
            let sleeps = has_word(line, "sleep(") || has_word(line, "sleep_until(");
            if sleeps && (!paused || has_word(line, "thread::sleep(")) {
                find(index, "a test waits for an event, or runs on a paused clock");
            }
        }
        for (index, line) in file.split.comments.lines().enumerate() {
            let fence = line.trim_start_matches(['/', '!', '*', ' ']);
            if fence.starts_with("```") && fence.contains("ignore") {
                find(index, "an example that is not compiled goes stale; use `no_run` or `text`");
            }
        }
    }
    findings
}

/// For each line of code, whether it runs on tokio's paused clock: in a test, if the test says so; elsewhere, if any
/// test of the file does.
fn paused_lines(code: &str) -> Vec<bool> {
    const PAUSED: &str = "start_paused = true";
    let elsewhere = code.contains(PAUSED);
    let mut depth = 0_usize;
    // Of the attributes that were seen: is a test announced, and is it paused.
    let (mut test, mut paused) = (false, false);
    // The depth outside of the test, and whether its body has begun.
    let mut inside: Option<(usize, bool)> = None;
    let mut lines = Vec::new();
    for line in code.lines() {
        if inside.is_none() {
            if line.contains("#[test]") || line.contains("#[tokio::test") {
                (test, paused) = (true, false);
            }
            paused |= line.contains(PAUSED);
            if test && has_word(line, "fn ") {
                (test, inside) = (false, Some((depth, false)));
            }
        }
        lines.push(if inside.is_some() { paused } else { elsewhere });
        for c in line.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        inside = inside
            .map(|(outside, begun)| (outside, begun || line.contains('{')))
            .filter(|(outside, begun)| !begun || depth > *outside);
    }
    lines
}

/// The lines of code that have the word.
fn find_in_code(tree: &Tree, word: &str, what: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust_files() {
        for (index, line) in file.split.code.lines().enumerate() {
            if has_word(line, word) {
                findings.push(Finding::new(format!("{}:{}", file.path, index + 1), what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: fn(&Tree) -> Vec<Finding>, path: &str, text: &str, places: &[&str]) {
        let findings = rule(&Tree::with_file(path, text));
        let found: Vec<_> = findings.iter().map(|finding| finding.place.as_str()).collect();
        assert_eq!(found, places, "{path}: {text}");
    }

    #[test]
    fn unsafe_code_is_found_and_talk_about_it_is_not() {
        check(no_unsafe, "certs/src/lib.rs", "fn f() {\n    unsafe { g() }\n}\n", &["certs/src/lib.rs:2"]);
        check(no_unsafe, "certs/src/lib.rs", "// unsafe\nfn not_unsafe() { f(\"unsafe\") }\n", &[]);
        check(no_unsafe, "Cargo.toml", "[workspace.lints.rust]\n", &["Cargo.toml"]);
    }

    #[test]
    fn main_stays_small() {
        check(small_main, MAIN, &"//\n".repeat(39), &[]);
        check(small_main, MAIN, &"//\n".repeat(40), &[MAIN]);
    }

    #[test]
    fn files_stay_small_and_lists_of_cases_may_grow() {
        check(small_files, "certs/src/lib.rs", &"//\n".repeat(600), &[]);
        check(small_files, "certs/src/lib.rs", &"//\n".repeat(601), &["certs/src/lib.rs"]);
        check(small_files, "certs/src/authority/tests.rs", &"//\n".repeat(601), &[]);
    }

    #[test]
    fn libraries_are_quiet() {
        let prints = "fn f() {\n    println!(\"a\");\n}\n";
        check(libraries_do_not_print, "certs/src/lib.rs", prints, &["certs/src/lib.rs:2"]);
        check(libraries_do_not_print, "src/report.rs", prints, &[]);
        check(libraries_do_not_print, "certs/tests/files.rs", prints, &[]);
        check(
            libraries_do_not_print,
            "certs/src/lib.rs",
            "#[cfg(test)]\nmod tests { fn f() { eprintln!() } }",
            &[],
        );
        check(libraries_do_not_print, "certs/src/lib.rs", "// println! would do\n", &[]);
    }

    #[test]
    fn tests_are_neither_skipped_nor_slow() {
        let ignored = "#[test]\n#[ignore = \"flaky\"]\nfn f() {}\n";
        check(honest_tests, "tests/cli.rs", ignored, &["tests/cli.rs:2"]);
        let sleeps = "fn f() {\n    std::thread::sleep(ms)\n}\n";
        check(honest_tests, "tests/cli.rs", sleeps, &["tests/cli.rs:2"]);
        check(honest_tests, "webhook/src/serve.rs", sleeps, &[]);
        let inline = "fn f() { sleep(a) }\n#[cfg(test)]\nmod tests { fn g() { time::sleep(a).await } }\n";
        check(honest_tests, "webhook/src/serve.rs", inline, &["webhook/src/serve.rs:3"]);
        let paused = "#[tokio::test(start_paused = true)]\nasync fn f() { sleep(a).await }\n";
        check(honest_tests, "tests/cli.rs", paused, &[]);
        let really = format!("{paused}fn g() {{ std::thread::sleep(a) }}\n");
        check(honest_tests, "tests/cli.rs", &really, &["tests/cli.rs:3"]);
        let another = "#[tokio::test(start_paused = true)]\nasync fn f(\n) {\n    if a {}\n    sleep(a).await\n}\n\
                       #[tokio::test]\nasync fn g() {\n    sleep(a).await\n}\n";
        check(honest_tests, "tests/cli.rs", another, &["tests/cli.rs:9"]);
        let called = format!("{paused}fn slow_body() {{ sleep(a) }}\n");
        check(honest_tests, "tests/cli.rs", &called, &[]);
        check(honest_tests, "tests/cli.rs", "fn no_sleep() {}\n", &[]);
        let example = "//! ```ignore\n//! let a = 1;\n//! ```\n";
        check(honest_tests, "certs/src/lib.rs", example, &["certs/src/lib.rs:1"]);
    }
}
