//! An application: a shell that records each signal with the content of its files.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Stdio, id},
};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::support::until_exists;

/// The signal. Not SIGHUP: a shell cannot catch a signal that was ignored when it started, as below
/// `nohup`.
pub(crate) const SIGNAL: &str = "SIGUSR1";

/// Records a count and the first line of each file. It exits with its parent.
const SCRIPT: &str = r#"
report=$1; shift; n=0
note() {
    text=$n
    for file in "$@"; do value=; [ ! -e "$file" ] || read -r value < "$file"; text="$text $value"; done
    echo "$text" > "$report.new"; mv "$report.new" "$report"
}
trap 'n=$((n+1)); note "$@"' USR1
note "$@"
while kill -0 $PPID 2>/dev/null; do read -r line; done
"#;

pub(crate) struct Application {
    _child: Child,
    name: String,
    report: PathBuf,
    _dir: TempDir,
}

impl Application {
    /// An application whose first argument is its name, which no other process of the machine has.
    pub(crate) async fn start(files: &[&Path]) -> Self {
        let name = unused_name("app");
        let mut command = Command::new("/bin/sh");
        command.arg0(&name);
        Self::run(name, tempfile::tempdir().unwrap(), command, files).await
    }

    /// An application whose program has this name, which the kernel truncates at 15 bytes.
    pub(crate) async fn start_program(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join(name);
        symlink("/bin/sh", &program).unwrap();
        Self::run(name.to_owned(), dir, Command::new(program), &[]).await
    }

    async fn run(name: String, dir: TempDir, mut command: Command, files: &[&Path]) -> Self {
        let report = dir.path().join("report");
        command.args(["-c", SCRIPT, "sh"]).arg(&report).args(files);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        until_exists(&report).await;
        Self { _child: child, name, report, _dir: dir }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The number of signals. Several signals at once may count as one.
    pub(crate) fn signals(&self) -> u32 {
        self.note().split(' ').next().unwrap().parse().unwrap()
    }

    /// The content of its files at the last signal, or at its start.
    pub(crate) fn read(&self) -> String {
        self.note().split_once(' ').map_or_else(String::new, |(_, values)| values.to_owned())
    }

    fn note(&self) -> String {
        fs::read_to_string(&self.report).unwrap().trim_end_matches('\n').to_owned()
    }
}

/// A name that no other process of the machine has, even if truncated at 15 bytes.
pub(crate) fn unused_name(of: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}-{of}", id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}
