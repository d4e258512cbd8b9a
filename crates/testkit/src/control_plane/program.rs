//! Programs that end with the process that started them, in whatever way it ends.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use super::ControlPlaneError;

/// Runs `$@` and kills it when standard input is closed, which happens when the process at the
/// other end of the pipe ends, also by SIGKILL. The program's process id is written to the file
/// `$1`.
///
/// The shell waits for its program, so the id cannot be reused before the program is killed. The
/// standard input of a background job is the null device unless it is redirected, hence descriptor
/// 3.
const WATCH: &str = r#"
exec 3<&0
pid_file=$1; shift
"$@" </dev/null 3<&- &
program=$!
echo "$program" >"$pid_file"
{ read -r _ <&3; kill -KILL "$program"; } 2>/dev/null &
watch=$!
wait "$program"
status=$?
kill -KILL "$watch" 2>/dev/null
exit "$status"
"#;

/// Removes the directory `$1` when standard input is closed; repeatedly, because programs that are
/// being killed may still write there.
const REMOVE: &str = r#"
read -r _
tries=0
while ! rm -rf "$1" 2>/dev/null && [ "$tries" -lt 100 ]; do
  tries=$((tries + 1))
  sleep 0.1
done
"#;

/// The number of log lines that are shown when a program fails.
const LOG_LINES: usize = 30;

/// A running program. Killed on drop, and when this process ends.
pub struct Program {
    name: String,
    log: PathBuf,
    process_id: PathBuf,
    shell: Child,
}

impl Program {
    /// Starts a program with its output in `<name>.log` in `directory`, and its process id in
    /// `<name>.pid`. Program, arguments and variables of `command` are used.
    ///
    /// `directory` is its home directory, and the kubeconfig and proxy of the test's environment
    /// are hidden.
    pub fn start(name: &str, command: &Command, directory: &Path) -> Result<Self, ControlPlaneError> {
        let log = directory.join(format!("{name}.log"));
        let process_id = directory.join(format!("{name}.pid"));
        let start = || {
            let output = File::create(&log)?;
            let mut shell = shell(WATCH, directory);
            shell.arg(&process_id).arg(command.get_program()).args(command.get_args());
            shell.envs(command.get_envs().filter_map(|(variable, value)| Some((variable, value?))));
            shell.stderr(output.try_clone()?).stdout(output).spawn()
        };
        let shell = start().map_err(ControlPlaneError::setup(format!("start {name}")))?;
        Ok(Self { name: name.to_owned(), log, process_id, shell })
    }

    /// The name with which it was started.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The exit status, or `None` while it runs. A signal is reported as 128 plus its number.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.shell.try_wait()
    }

    /// The process id; `None` immediately after the start.
    pub fn process_id(&self) -> Option<String> {
        let text = fs::read_to_string(&self.process_id).ok()?;
        text.strip_suffix('\n').map(str::to_owned)
    }

    /// The complete log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// An error if it no longer runs.
    pub(super) fn check(&mut self) -> Result<(), ControlPlaneError> {
        match self.ended() {
            Ok(None) => Ok(()),
            _ => Err(ControlPlaneError::Ended { program: self.name.clone(), log: self.log_tail() }),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        end(&mut self.shell);
    }
}

/// A temporary directory that is removed on drop, and when this process ends.
pub struct Directory {
    path: PathBuf,
    shell: Child,
}

impl Directory {
    /// Creates a directory in the system's temporary directory.
    pub fn new(prefix: &str) -> Result<Self, ControlPlaneError> {
        let make = || {
            let directory = tempfile::Builder::new().prefix(prefix).tempdir()?;
            let shell = shell(REMOVE, Path::new("/"))
                .arg(directory.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            Ok(Self { path: directory.keep(), shell })
        };
        make().map_err(ControlPlaneError::setup("make a directory for temporary files"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, ControlPlaneError> {
        let path = self.path.join(name);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&self.path))?;
            fs::write(&path, text)
        };
        write().map_err(ControlPlaneError::setup(format!("write {name}")))?;
        Ok(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        end(&mut self.shell);
    }
}

/// A shell that runs a script; this process holds the other end of its standard input.
fn shell(script: &str, home: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).stdin(Stdio::piped()).env("HOME", home);
    // A proxy would receive the API server's calls of webhooks, whose names are not loopback names.
    for variable in ["KUBECONFIG", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        command.env_remove(variable);
    }
    command
}

/// Closes the shell's standard input, so that it ends its program, and waits for it.
fn end(shell: &mut Child) {
    drop(shell.stdin.take());
    // Fails only if it was already waited for, and then it has ended.
    let _: io::Result<_> = shell.wait();
}

#[cfg(test)]
mod tests;
