//! The programs of PostgreSQL on this machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

/// What a server for tests takes.
const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

/// Where Debian's packages put them, below a directory for each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The directory with the programs.
pub(super) fn find() -> Result<PathBuf> {
    let path: Vec<_> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    let is_in = |directory: &Path, name: &str| directory.join(name).is_file();
    match choose(path, versions, is_in) {
        Some(directory) => Ok(directory),
        None => bail!(
            "{} are neither on the PATH nor below {VERSIONS}; on Debian: apt-get install postgresql",
            PROGRAMS.join(", ")
        ),
    }
}

/// The first of the PATH, else the newest version.
fn choose(
    path: Vec<PathBuf>,
    mut versions: Vec<PathBuf>,
    is_in: impl Fn(&Path, &str) -> bool,
) -> Option<PathBuf> {
    versions.sort_by_key(|directory| directory.file_name()?.to_str()?.parse::<u32>().ok());
    let newest_first = versions.into_iter().rev().map(|directory| directory.join("bin"));
    path.into_iter()
        .chain(newest_first)
        .find(|directory| PROGRAMS.iter().all(|program| is_in(directory, program)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_comes_first_and_then_the_newest_version() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let choose = |complete: &[&str]| {
            let is_in = |directory: &Path, name: &str| {
                // Of the others, a client alone.
                name == "pg_ctl" || complete.iter().any(|complete| Path::new(complete) == directory)
            };
            choose(paths(&["/bin", "/opt/pg"]), paths(&["/v/9", "/v/17", "/v/common", "/v/15"]), is_in)
        };
        assert_eq!(choose(&["/opt/pg", "/v/17/bin"]), Some("/opt/pg".into()));
        assert_eq!(choose(&["/v/9/bin", "/v/15/bin", "/v/17/bin"]), Some("/v/17/bin".into()));
        assert_eq!(choose(&["/v/9/bin", "/v/15/bin"]), Some("/v/15/bin".into()));
        assert_eq!(choose(&[]), None);
    }
}
