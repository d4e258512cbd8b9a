//! Compares `docs/troubleshooting.md` with the agent's messages in both directions, by their text.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The sources of the agent's messages: its own, and the errors of rendering, client, templates and
/// variables that it quotes.
const SOURCES: [&str; 10] = [
    "crates/agent/src",
    "crates/render/src",
    "crates/contract/src/deferred.rs",
    "crates/contract/src/template/error.rs",
    "crates/client/src/error.rs",
    "crates/client/src/listener.rs",
    "crates/client/src/login.rs",
    "crates/client/src/secret.rs",
    "crates/client/src/tls.rs",
    "crates/log-queue/src/logger.rs",
];
/// Calls whose last literal that is not the value of a field is a message.
const CALLS: [&str; 4] = ["warn!(", "error!(", ".problem(", "Problem::new("];
/// Text that directly precedes a message.
const TEXTS: [&str; 7] =
    ["#[error(", "message: ", "not_ready(", "let reason = ", "leave_message(&", "Err(", "map_err(|_| "];
/// Blocks, by start and end, in which all literals are messages.
const BLOCKS: [(&str, &str); 2] =
    [("let (exit, fix) = match error.class() {", "};"), ("let fix = if ", "};")];
/// The section of the page whose headings and first columns are messages of the agent.
const CHAPTER: &str = "## The agent";

#[test]
fn every_message_of_the_agent_is_explained() {
    let page = explained();
    let missing: Vec<_> = messages()
        .into_iter()
        .filter(|(message, _)| !page.contains(message))
        .map(|(message, files)| {
            format!("  {message}    ({})", files.into_iter().collect::<Vec<_>>().join(", "))
        })
        .collect();
    assert!(
        missing.is_empty(),
        "docs/troubleshooting.md has to explain these, as a heading or in the first column of a table of a chapter \
         \"{CHAPTER}…\":\n{}",
        missing.join("\n")
    );
}

#[test]
fn every_message_that_is_explained_is_one_of_the_agent() {
    let messages = messages();
    let gone: Vec<_> = explained().into_iter().filter(|message| !messages.contains_key(message)).collect();
    assert!(
        gone.is_empty(),
        "docs/troubleshooting.md explains what the agent does not say any more:\n  {}",
        gone.join("\n  ")
    );
}

/// A guard against a scan that finds nothing.
#[test]
fn messages_are_found_in_all_forms_of_source() {
    let source = r#"
        tracing::warn!(%error, state = "a field", "one line");
        tracing::error!(
            pending = count(&[1, 2]),
            "several lines"
        );
        Err(_) => tracing::warn!("in an arm"),
        tracing::info!("not this");
        reader.problem(name, format!("it requires {other}; set it too"));
        _ => Err("it is neither"),
        #[error("the volume of {} is full", .0.display())]
        #[error(
            "user {own_uid} may not \
             signal {{it}}"
        )]
        #[error(transparent)]
        Fatal { exit, message: format!("cannot start: {error}") }
        Fatal { exit, message: "stopped".to_owned() }
        Fatal { exit, message: problems.to_string() }
        let (exit, fix) = match error.class() { A => (X, "first"), B | C => { (X, "second") } };
        #[cfg(test)]
        mod tests { tracing::warn!("not this either"); }
    "#;
    let expected = [
        "one line",
        "several lines",
        "in an arm",
        "it requires …; set it too",
        "it is neither",
        "the volume of … is full",
        "user … may not signal {it}",
        "cannot start: …",
        "stopped",
        "first",
        "second",
    ];
    assert_eq!(in_source(source).into_iter().collect::<BTreeSet<_>>(), expected.map(str::to_owned).into());
}

/// Every message, with the files that contain it.
fn messages() -> BTreeMap<String, BTreeSet<String>> {
    let mut messages = BTreeMap::<_, BTreeSet<_>>::new();
    for source in SOURCES {
        for (file, text) in files(source) {
            for message in in_source(&text) {
                messages.entry(message).or_default().insert(file.clone());
            }
        }
    }
    messages
}

/// The messages of one file, with `…` for placeholders.
fn in_source(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\n").next().unwrap();
    let mut found = Vec::new();
    let behind = |marker: &str| {
        let places: Vec<_> = text.match_indices(marker).map(|(at, _)| &text[at + marker.len()..]).collect();
        places
    };
    for arguments in CALLS.iter().flat_map(|marker| behind(marker)) {
        found.extend(
            literals(arguments).filter(|literal| !literal.is_value).map(|literal| literal.text).last(),
        );
    }
    for after in TEXTS.iter().flat_map(|marker| behind(marker)) {
        let after = after.trim_start();
        let after = after.strip_prefix("format!(").unwrap_or(after).trim_start();
        if after.starts_with('"') {
            found.extend(literals(after).map(|literal| literal.text).next());
        }
    }
    for (begin, end) in BLOCKS {
        for block in behind(begin) {
            let block = &block[..block.find(end).unwrap()];
            found.extend(literals(block).map(|literal| literal.text));
        }
    }
    // A text that only combines others, or that is the name of a variable, is not a message.
    found
        .iter()
        .map(|literal| printed(literal))
        .filter(|message| message.contains(char::is_lowercase))
        .collect()
}

struct Literal {
    text: String,
    /// Whether it is the value of a field (`name = "value"`).
    is_value: bool,
}

/// The string literals up to the bracket that closes the one open before `text`, or to its end.
fn literals(text: &str) -> impl Iterator<Item = Literal> {
    let (mut all, mut depth, mut before) = (Vec::new(), 0, ' ');
    let mut rest = text.chars();
    while let Some(char) = rest.next() {
        match char {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            '"' => {
                let mut literal = String::new();
                while let Some(char) = rest.next().filter(|char| *char != '"') {
                    literal.push(char);
                    if char == '\\' {
                        literal.extend(rest.next());
                    }
                }
                all.push(Literal { text: literal, is_value: before == '=' });
            }
            _ => {}
        }
        if !char.is_whitespace() {
            before = char;
        }
    }
    all.into_iter()
}

/// A literal as printed: without escapes, and with `…` for placeholders.
fn printed(literal: &str) -> String {
    let mut printed = String::new();
    let mut rest = literal.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            '\\' => match rest.next() {
                Some('\n') => while rest.next_if(|char| char.is_whitespace()).is_some() {},
                Some(escaped) => printed.push(escaped),
                None => {}
            },
            '{' | '}' if rest.next_if_eq(&char).is_some() => printed.push(char),
            '{' => {
                if !printed.ends_with('…') {
                    printed.push('…');
                }
                while rest.next().is_some_and(|char| char != '}') {}
            }
            _ => printed.push(char),
        }
    }
    printed
}

/// The messages that the page explains in its sections about the agent.
fn explained() -> BTreeSet<String> {
    let page = fs::read_to_string(repository().join("docs/troubleshooting.md")).unwrap();
    let mut explained = BTreeSet::new();
    let mut is_chapter = false;
    for line in page.lines() {
        if line.starts_with("## ") {
            is_chapter = line.starts_with(CHAPTER);
        }
        let code = line.strip_prefix("### `").or_else(|| line.strip_prefix("| `")).filter(|_| is_chapter);
        explained.extend(code.map(|code| code.split('`').next().unwrap().to_owned()));
    }
    assert!(!explained.is_empty(), "the page has chapters \"{CHAPTER}…\"");
    explained
}

fn files(source: &str) -> Vec<(String, String)> {
    let path = repository().join(source);
    if path.is_file() {
        return vec![(source.to_owned(), fs::read_to_string(path).unwrap())];
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name != "tests.rs" {
            files.extend(self::files(&format!("{source}/{name}")));
        }
    }
    files
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
