//! The programs that read the formats.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Map, Value};

/// A file written by the agent, and its expected content.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) data: Map<String, Value>,
}

/// The content of each file according to a reader; `None` if the reader rejects it.
type Read = Vec<Option<Map<String, Value>>>;

/// A program that reads files of a format, or a test program with a library for it.
pub(crate) struct Reader {
    pub(crate) name: &'static str,
    pub(crate) format: &'static str,
    /// Whether it supports types other than text.
    pub(crate) is_typed: bool,
    /// How to install it.
    pub(crate) fix: &'static str,
    read: fn(&[File]) -> Option<Read>,
}

impl Reader {
    /// `None` if this machine does not have the reader.
    pub(crate) fn read(&self, files: &[File]) -> Option<Read> {
        (self.read)(files)
    }
}

const BY_XTASK: &str = "`cargo xtask test` installs it";

/// All readers.
pub(crate) fn readers() -> [Reader; 13] {
    let text = |name, format, fix, read| Reader { name, format, is_typed: false, fix, read };
    let typed = |name, format, fix, read| Reader { name, format, is_typed: true, fix, read };
    [
        text("sh", "env", "it belongs to every system", |files| shell("sh", files)),
        text("dash", "env", "apt-get install dash", |files| shell("dash", files)),
        text("bash", "env", "apt-get install bash", |files| shell("bash", files)),
        text("systemd", "env", "apt-get install python3 libsystemd-shared", |files| python("systemd", files)),
        text("node --env-file", "dotenv", "install Node 20 or newer", node),
        text("npm dotenv", "dotenv", BY_XTASK, npm_dotenv),
        text("python-dotenv", "dotenv", BY_XTASK, |files| python("dotenv", files)),
        text("compose", "dotenv", BY_XTASK, |files| go("compose", files)),
        text("java.util.Properties", "properties", "apt-get install default-jdk-headless", java),
        typed("PyYAML", "yaml", BY_XTASK, |files| python("yaml", files)),
        typed("gopkg.in/yaml.v3", "yaml", BY_XTASK, |files| go("yaml", files)),
        typed("python json", "json", "apt-get install python3", |files| python("json", files)),
        typed("JSON.parse", "json", "install Node 20 or newer", node_json),
    ]
}

/// The shell's variables after it has sourced the file.
fn shell(program: &str, files: &[File]) -> Option<Read> {
    const SCRIPT: &str = r#". "$1"; shift; for name do eval "value=\$$name"; printf '%s\0' "$value"; done"#;
    let mut read = Read::new();
    for file in files {
        let names: Vec<_> = file.data.keys().cloned().collect();
        let mut command = Command::new(program);
        command.args(["-c", SCRIPT, program]).arg(&file.path).args(&names).env_clear();
        let output = output(&mut command)?;
        let values = String::from_utf8(output.stdout).unwrap();
        let values: Vec<_> = values.split_terminator('\0').map(Value::from).collect();
        read.push((values.len() == names.len()).then(|| names.into_iter().zip(values).collect()));
    }
    Some(read)
}

fn node(files: &[File]) -> Option<Read> {
    let script = "const { PATH, ...read } = process.env; process.stdout.write(JSON.stringify([read]))";
    let mut read = Read::new();
    for file in files {
        let mut command = Command::new("node");
        command.arg(format!("--env-file={}", file.path.display())).args(["-e", script]);
        command.env_clear().envs(variable("PATH").map(|path| ("PATH", path)));
        read.extend(parsed(&output(&mut command)?)?);
    }
    Some(read)
}

fn node_json(files: &[File]) -> Option<Read> {
    let script = "process.stdout.write(JSON.stringify(process.argv.slice(1).map(file => \
                  JSON.parse(require('node:fs').readFileSync(file, 'utf8')))))";
    parsed(&output(Command::new("node").args(["-e", script, "--"]).args(paths(files)))?)
}

fn npm_dotenv(files: &[File]) -> Option<Read> {
    let mut command = Command::new("node");
    command.envs(installed("node/node_modules").map(|path| ("NODE_PATH", path)));
    command.arg(source("read.js")).args(paths(files));
    parsed(&output(&mut command)?)
}

fn python(reader: &str, files: &[File]) -> Option<Read> {
    let mut command = Command::new("python3");
    command.envs(installed("python").map(|path| ("PYTHONPATH", path))).env("PYTHONDONTWRITEBYTECODE", "1");
    parsed(&output(command.arg(source("read.py")).arg(reader).args(paths(files)))?)
}

fn go(reader: &str, files: &[File]) -> Option<Read> {
    parsed(&output(Command::new(installed("go/readers")?).arg(reader).args(paths(files)))?)
}

fn java(files: &[File]) -> Option<Read> {
    parsed(&output(Command::new("java").arg(source("ReadProperties.java")).args(paths(files)))?)
}

fn paths(files: &[File]) -> impl Iterator<Item = &Path> {
    files.iter().map(|file| file.path.as_path())
}

/// The output of a program; `None` if it is not installed.
fn output(command: &mut Command) -> Option<Output> {
    command.stdin(Stdio::null()).output().ok()
}

/// The array that a reader prints; `None` if its exit code reports a missing library.
fn parsed(output: &Output) -> Option<Read> {
    if output.status.code() == Some(3) {
        return None;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// A reader's source.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/assets/readers").join(name)
}

/// The location of an installed reader; `None` if none was installed.
fn installed(name: &str) -> Option<PathBuf> {
    Some(Path::new(&variable("SCAIVAULT_READERS")?).join(name))
}

#[expect(clippy::disallowed_methods, reason = "the environment sets the locations of programs")]
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
