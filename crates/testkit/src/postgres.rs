//! A PostgreSQL server for tests, from the machine's own packages.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use thiserror::Error;

/// The superuser of the server.
const ADMIN: &str = "admin";

/// That user's password. The server is only reachable through a directory that other users cannot
/// enter.
const ADMIN_PASSWORD: &str = "example";

/// Creates a server in `$1` and prints `ready`. It stops and is removed when standard input is
/// closed, which happens when the process at the other end of the pipe ends in any way. The script
/// ignores Ctrl-C, because that ends the other process and thereby closes the pipe.
const SERVER: &str = r#"
trap : INT TERM HUP
initdb --pgdata "$1/data" --username "$2" --pwfile "$1/password" --auth scram-sha-256 \
  --encoding UTF8 --no-locale --no-sync >"$1/log" 2>&1 </dev/null &&
  pg_ctl start --wait --silent --pgdata "$1/data" --log "$1/log" --options \
    "-c listen_addresses='' -c unix_socket_directories='$1' -c fsync=off -c shared_buffers=16MB" </dev/null &&
  echo ready
read -r _
pg_ctl stop --wait --silent --mode immediate --pgdata "$1/data" </dev/null >/dev/null 2>&1
rm -rf "$1"
"#;

/// A server. It stops on drop, and when this process ends.
pub struct Postgres {
    directory: PathBuf,
    shell: Child,
    _says: ChildStdout,
}

impl Postgres {
    /// Starts a server without a port: it listens on a socket in its own directory. `initdb` and
    /// `pg_ctl` must be on the `PATH`.
    ///
    /// PostgreSQL does not run as root; for root it runs as the user `postgres`, or `nobody` if
    /// that does not exist.
    pub fn start() -> Result<Self, PostgresError> {
        let directory = tempfile::Builder::new().prefix("pg-").tempdir()?.keep();
        fs::write(directory.join("password"), ADMIN_PASSWORD)?;
        let mut command = Command::new("sh");
        command.args(["-c", SERVER, "sh"]).arg(&directory).arg(ADMIN).current_dir(&directory);
        // Removes settings of the test's environment.
        for variable in ["PGDATA", "PGHOST", "PGPORT", "PGOPTIONS", "PGCTLTIMEOUT"] {
            command.env_remove(variable);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        if is_roots(&directory)? {
            let (user, group) = unprivileged(&fs::read_to_string("/etc/passwd")?)?;
            chown(directory.join("password"), Some(user), Some(group))?;
            chown(&directory, Some(user), Some(group))?;
            command.uid(user).gid(group);
        }
        let mut shell = command.spawn()?;
        let mut says = shell.stdout.take().ok_or(PostgresError::Start(String::new()))?;
        let mut line = String::new();
        BufReader::new(&mut says).read_line(&mut line)?;
        let server = Self { directory, shell, _says: says };
        if line.trim() == "ready" { Ok(server) } else { Err(PostgresError::Start(server.log())) }
    }

    /// The connection URL of the server's administrator.
    pub fn admin_url(&self, database: &str) -> String {
        self.url(ADMIN, ADMIN_PASSWORD, database)
    }

    /// The connection URL of this user. Names and passwords may contain letters, digits, `-` and
    /// `_`.
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        let host = self.directory.to_string_lossy().replace('/', "%2F");
        format!("postgres://{user}:{password}@{host}/{database}")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Fails only if it was already waited for, and then it has ended.
        let _: io::Result<_> = self.shell.wait();
    }
}

/// Why a server could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// An error with files or processes.
    #[error("cannot set up a PostgreSQL server")]
    Setup(#[from] io::Error),
    /// The user to run as does not exist.
    #[error("there is neither a user postgres nor nobody, and PostgreSQL does not run as root")]
    User,
    /// The server's error.
    #[error("PostgreSQL does not start; with `cargo xtask test`, its programs are found: {0}")]
    Start(String),
}

/// Whether this process, which created the directory, runs as root.
fn is_roots(directory: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::metadata(directory)?.uid() == 0)
}

/// The ids of a user and its group.
fn unprivileged(passwd: &str) -> Result<(u32, u32), PostgresError> {
    let numbers = |wanted: &str| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let is_it = fields.next() == Some(wanted);
            let (user, group) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            is_it.then_some((user, group))
        })
    };
    numbers("postgres").or_else(|| numbers("nobody")).ok_or(PostgresError::User)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_rights_is_found() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
        assert_eq!(unprivileged(passwd).unwrap(), (65534, 65534));
        let passwd = format!("{passwd}postgres:x:105:110:,,,:/var/lib/postgresql:/bin/bash\n");
        assert_eq!(unprivileged(&passwd).unwrap(), (105, 110));
        assert!(matches!(unprivileged("root:x:0:0::/:/bin/sh"), Err(PostgresError::User)));
    }
}
