//! Runs other programs, with error messages that contain the command.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};

/// The workspace's directory.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this crate is two directories below")
}

/// The cargo that started this program, in the workspace's directory.
pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    // Cargo sets `CARGO` for the programs it runs; without it, this program was started manually.
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// Runs a program with this process's standard streams.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    println!("$ {line}");
    let status = command.status().with_context(|| format!("`{line}` does not start"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs a program and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("`{line}` does not start"))?;
    answer(&line, output)
}

/// Runs a program with this standard input, and returns its standard output. The program must read
/// all input before it writes.
pub(crate) fn output_of(command: &mut Command, input: &str) -> Result<String> {
    let line = line(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("`{line}` does not start"))?;
    let mut stdin = child.stdin.take().context("standard input is piped")?;
    // A program that exits without reading reports the reason in its output.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    answer(&line, child.wait_with_output()?)
}

/// A command as it would be typed.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    let words: Vec<_> = words.map(|word| quote(&word.to_string_lossy())).collect();
    words.join(" ")
}

fn answer(line: &str, output: Output) -> Result<String> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed ({}): {}", output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` wrote something that is not UTF-8"))
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_as_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "--workspace", "--", "a b"]);
        assert_eq!(line(&command), "cargo test --workspace -- 'a b'");
    }

    #[test]
    fn a_failure_names_the_command_and_its_output() {
        let error = output(&mut cargo(["no-such-subcommand"])).expect_err("there is no such subcommand");
        let text = error.to_string();
        assert!(text.starts_with("`cargo no-such-subcommand` failed"), "{text}");
        assert!(text.contains("no such command"), "{text}");
    }

    #[test]
    fn a_program_answers_its_input() -> Result<()> {
        let mut metadata = cargo(["metadata", "--no-deps", "--format-version=1"]);
        assert!(output_of(&mut metadata, "is not read")?.contains("xtask"));
        assert_eq!(output_of(&mut Command::new("cat"), "said")?, "said");
        Ok(())
    }
}
