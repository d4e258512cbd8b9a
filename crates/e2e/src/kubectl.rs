//! Runs kubectl as a user does, so that every step can be repeated manually.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;

/// The polling interval.
const LOOK: Duration = Duration::from_millis(500);

/// A program in the directory `KUBEBUILDER_ASSETS` (a convention of controller tests), else on the
/// `PATH`.
pub(super) fn find(program: &str) -> Result<PathBuf> {
    let assets = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let found = find_in(program, assets.into_iter().chain(env::split_paths(&path)));
    found.with_context(|| {
        format!("{program} is needed, on the PATH or in the directory that KUBEBUILDER_ASSETS names")
    })
}

fn find_in(program: &str, dirs: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    dirs.map(|dir| dir.join(program)).find(|file| Path::is_file(file))
}

/// kubectl for the cluster of KUBECONFIG.
pub(super) struct Kubectl(PathBuf);

impl Kubectl {
    pub(super) fn find() -> Result<Self> {
        find("kubectl").map(Self)
    }

    /// Runs it with this process's standard streams.
    pub(super) fn run(&self, args: &[&str]) -> Result<()> {
        process::run(&mut self.command(args))
    }

    /// Its output as text.
    pub(super) fn text(&self, args: &[&str]) -> Result<String> {
        process::output(&mut self.command(args))
    }

    /// Its output for some input.
    pub(super) fn text_of(&self, args: &[&str], input: &str) -> Result<String> {
        process::output_of(&mut self.command(args), input)
    }

    /// Its output as JSON, which the arguments must request.
    pub(super) fn json(&self, args: &[&str]) -> Result<Value> {
        let text = self.text(args)?;
        serde_json::from_str(&text).context("kubectl wrote something that is not JSON")
    }

    pub(super) fn items(&self, args: &[&str]) -> Result<Vec<Value>> {
        let list = self.json(&[&["get", "--output=json"], args].concat())?;
        list.get("items").and_then(Value::as_array).cloned().context("kubectl wrote no list")
    }

    /// Whether an object exists.
    pub(super) fn exists(&self, object: &[&str]) -> Result<bool> {
        let args = [&["get", "--ignore-not-found", "--output=name"], object].concat();
        Ok(!self.text(&args)?.trim().is_empty())
    }

    /// Creates an object, or a list of them; the error contains the API server's message.
    pub(super) fn create(&self, namespace: &str, object: &Value) -> Result<()> {
        let namespace = format!("--namespace={namespace}");
        self.text_of(&["create", "--filename=-", "--output=name", &namespace], &object.to_string()).map(drop)
    }

    /// The result of creating an object as a dry run, after admission.
    pub(super) fn dry_run(&self, namespace: &str, object: &Value) -> Result<Value> {
        let namespace = format!("--namespace={namespace}");
        let args = ["create", "--dry-run=server", "--filename=-", "--output=json", &namespace];
        let text = self.text_of(&args, &object.to_string())?;
        serde_json::from_str(&text).context("kubectl wrote something that is not JSON")
    }

    /// The API server's warnings when creating an object as a dry run.
    pub(super) fn warnings(&self, namespace: &str, object: &Value) -> Result<String> {
        let namespace = format!("--namespace={namespace}");
        let args = ["create", "--dry-run=server", "--warnings-as-errors", "--filename=-", &namespace];
        // Only an error contains kubectl's standard error, so the command is made to fail.
        let Err(error) = self.text_of(&args, &object.to_string()) else {
            return Ok(String::new());
        };
        let text = format!("{error:#}");
        if text.contains("warning received") || text.contains("warnings received") {
            Ok(text)
        } else {
            Err(error)
        }
    }

    /// Deletes objects and waits until they are gone.
    pub(super) fn delete(&self, namespace: &str, objects: &[&str]) -> Result<()> {
        let args = ["delete", "--ignore-not-found", "--wait=true", "--timeout=2m", "--namespace", namespace];
        self.text(&[&args, objects].concat()).map(drop)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.0);
        command.args(args);
        command
    }
}

/// Polls until there is a result, with a timeout.
pub(super) fn wait_for<T>(
    what: &str,
    at_most: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + at_most;
    loop {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {} s", at_most.as_secs());
        }
        thread::sleep(LOOK);
    }
}

/// Polls for this time, and fails as soon as a check fails.
pub(super) fn hold(at_least: Duration, mut look: impl FnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + at_least;
    loop {
        look()?;
        if Instant::now() >= end {
            return Ok(());
        }
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_the_first_directory_that_has_them() {
        let here = process::root();
        let dirs = || [here.join("docs"), here.to_owned(), here.join("xtask")].into_iter();
        assert_eq!(find_in("Cargo.toml", dirs()), Some(here.join("Cargo.toml")));
        // A directory is not a program.
        assert_eq!(find_in("src", dirs()), None);
    }

    #[test]
    fn waiting_ends() {
        let mut looks = 0;
        let seen = wait_for("a third look", Duration::from_mins(1), || {
            looks += 1;
            Ok((looks == 1).then_some(looks))
        });
        assert_eq!(seen.unwrap(), 1);
        let error = wait_for::<()>("rain", Duration::ZERO, || Ok(None)).unwrap_err();
        assert_eq!(error.to_string(), "rain: not within 0 s");
    }
}
