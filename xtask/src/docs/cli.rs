//! `docs/cli.md`: the help of every subcommand, as the program prints it.

use std::fmt::Write as _;

use anyhow::Result;

const HEAD: &str = "\
<!-- Written by `cargo xtask docs` from the program's own help. -->
# Command line
";

/// The page, from a program that prints the help for the arguments it is called with.
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

/// The names listed under `Commands:`; longer descriptions go on in deeper indented lines.
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

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "\
About.

Usage: injector <COMMAND>

Commands:
  serve   Run the webhook, which has
          a long description
  inject  Inject
  help    Print help

Options:
  -h, --help  Print help
";

    #[test]
    fn every_subcommand_has_its_section() -> Result<()> {
        let page = page(|arguments| {
            Ok(match arguments {
                ["--help"] => ROOT.to_owned(),
                ["serve", "--help"] => "Run the webhook   \n".to_owned(),
                ["inject", "--help"] => "Inject\n\nCommands:\n  deep  Deeper\n".to_owned(),
                ["inject", "deep", "--help"] => "Deeper\n".to_owned(),
                other => anyhow::bail!("unexpected {other:?}"),
            })
        })?;
        let titles: Vec<_> = page.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(
            titles,
            [
                "## `scaivault-injector`",
                "## `scaivault-injector serve`",
                "## `scaivault-injector inject`",
                "## `scaivault-injector inject deep`",
            ]
        );
        assert!(page.contains("```text\nRun the webhook\n```\n"), "{page}");
        Ok(())
    }

    #[test]
    fn a_program_without_subcommands_has_none() {
        assert!(subcommands("Usage: a\n\nOptions:\n  -h  Help\n").is_empty());
    }
}
