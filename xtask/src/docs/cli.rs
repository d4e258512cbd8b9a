//! `docs/cli.md`: the help of every subcommand, as printed by the program.

use std::fmt::Write as _;

use anyhow::Result;

const HEAD: &str = "\
<!-- Written by `cargo xtask docs` from the program's own help. -->
# Command line
";

/// Generates the page, given a function that returns the help for arguments.
pub(super) fn page(help: impl Fn(&[&str]) -> Result<String>) -> Result<String> {
    let mut page = HEAD.to_owned();
    section(&mut page, &help, &[])?;
    Ok(page)
}

fn section(page: &mut String, help: &dyn Fn(&[&str]) -> Result<String>, path: &[&str]) -> Result<()> {
    let text = help(&[path, &["--help"]].concat())?;
    let title = [&["scaivault-injector"], path].concat().join(" ");
    write!(page, "\n## `{title}`\n\n```text\n")?;
    for line in text.trim_end().lines() {
        writeln!(page, "{}", line.trim_end())?;
    }
    page.push_str("```\n");
    for subcommand in subcommands(&text) {
        section(page, help, &[path, &[subcommand]].concat())?;
    }
    Ok(())
}

/// The names listed under `Commands:`; continuation lines of descriptions have a deeper
/// indentation.
fn subcommands(help: &str) -> Vec<&str> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with(' '))
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect()
}
