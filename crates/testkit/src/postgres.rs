//! A PostgreSQL server for tests, from the machine's own packages.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use thiserror::Error;

/// The user who may do everything on the server.
const ADMIN: &str = "admin";

/// That user's password. The server is reached through a directory that nobody else can enter.
const ADMIN_PASSWORD: &str = "example";

/// Makes a server in `$1` and says `ready`. It ends and is removed when standard input ends, which it does with the
/// process that holds the other end of the pipe, however that ends. A Ctrl-C is for that process: it ends the pipe.
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

/// A server. It ends when dropped, and when this process ends.
pub struct Postgres {
    directory: PathBuf,
    shell: Child,
    _says: ChildStdout,
}

impl Postgres {
    /// A new server, without a port: it listens on a socket in a directory of its own. `initdb` and `pg_ctl` have to be
    /// on the `PATH`.
    ///
    /// PostgreSQL does not run as root; for root it runs as the user `postgres`, or `nobody` where there is none.
    pub fn start() -> Result<Self, PostgresError> {
        let directory = tempfile::Builder::new().prefix("pg-").tempdir()?.keep();
        fs::write(directory.join("password"), ADMIN_PASSWORD)?;
        let mut command = Command::new("sh");
        command.args(["-c", SERVER, "sh"]).arg(&directory).arg(ADMIN).current_dir(&directory);
        // The settings of whoever runs the tests.
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

    /// What a client of the server's administrator is given.
    pub fn admin_url(&self, database: &str) -> String {
        self.url(ADMIN, ADMIN_PASSWORD, database)
    }

    /// What a client of this user is given. Names and passwords of letters, digits, `-` and `_`.
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
        // Fails only if somebody waited before, and then it is gone.
        let _: io::Result<_> = self.shell.wait();
    }
}

/// Why there is no server.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// Files or processes.
    #[error("cannot set up a PostgreSQL server")]
    Setup(#[from] io::Error),
    /// The user as whom it would run.
    #[error("there is neither a user postgres nor nobody, and PostgreSQL does not run as root")]
    User,
    /// The server's own words.
    #[error("PostgreSQL does not start; with `cargo xtask test`, its programs are found: {0}")]
    Start(String),
}

/// Whether this process, which made the directory, is root's.
fn is_roots(directory: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::metadata(directory)?.uid() == 0)
}

/// The numbers of a user and its group.
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
