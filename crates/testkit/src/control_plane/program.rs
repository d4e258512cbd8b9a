//! Programs that end with the process that started them, however that ends.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use super::ControlPlaneError;

/// Runs `$@` and kills it when standard input ends, which it does with the process that holds the other end of the pipe.
/// A SIGKILL of that process is noticed like every other end. `$1` is where the program's process id is written.
///
/// The shell waits for its program, so the id cannot belong to another process when it is killed. A background job's
/// standard input is the null device unless it is given another, hence descriptor 3.
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

/// Removes the directory `$1` when standard input ends: again while programs that are being killed still write there.
const REMOVE: &str = r#"
read -r _
tries=0
while ! rm -rf "$1" 2>/dev/null && [ "$tries" -lt 100 ]; do
  tries=$((tries + 1))
  sleep 0.1
done
"#;

/// Lines of a log that are shown when its program fails.
const LOG_LINES: usize = 30;

/// A program that runs. Killed when dropped, and when this process ends.
pub struct Program {
    name: String,
    log: PathBuf,
    process_id: PathBuf,
    shell: Child,
}

impl Program {
    /// Starts a program whose output goes to `<name>.log` in `directory`, its process id to `<name>.pid`. Of `command`, program,
    /// arguments and variables are taken.
    ///
    /// `directory` is its home, and it knows no kubeconfig or proxy of whoever runs the tests.
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

    /// The name under which it was started.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it ended, or nothing while it runs. A signal is 128 and its number.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.shell.try_wait()
    }

    /// Its process id; none within its first moments.
    pub fn process_id(&self) -> Option<String> {
        let text = fs::read_to_string(&self.process_id).ok()?;
        text.strip_suffix('\n').map(str::to_owned)
    }

    /// All it wrote.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines it wrote.
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// An error if it runs no longer.
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

/// A directory for temporary files that is removed when dropped, and when this process ends.
pub struct Directory {
    path: PathBuf,
    shell: Child,
}

impl Directory {
    /// A new one in the system's directory for temporary files.
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
    // A proxy would get the API server's calls of webhooks, whose names are no loopback names.
    for variable in ["KUBECONFIG", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        command.env_remove(variable);
    }
    command
}

/// Closes the shell's standard input, on which it ends what it watches, and waits for it.
fn end(shell: &mut Child) {
    drop(shell.stdin.take());
    // Fails only if somebody waited before, and then it is gone.
    let _: io::Result<_> = shell.wait();
}

#[cfg(test)]
mod tests;
