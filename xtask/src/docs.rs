//! The generated files of the project: written by the program they describe, and checked to be up to date.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process;

mod chart;
mod cli;
mod dictionary;
mod policies;

const CHART_README: &str = "charts/scaivault-injector/README.md";
const CHART_CRD: &str = "charts/scaivault-injector/templates/crd.yaml";
const CHART_SCHEMA: &str = "charts/scaivault-injector/values.schema.json";
const CHART_VALUES: &str = "charts/scaivault-injector/values.yaml";
const CSI_CHART_README: &str = "charts/secrets-store-csi-driver-scaivault/README.md";
const CSI_CHART_SCHEMA: &str = "charts/secrets-store-csi-driver-scaivault/values.schema.json";
const CSI_CHART_VALUES: &str = "charts/secrets-store-csi-driver-scaivault/values.yaml";
const POLICIES: &str = "docs/policies.md";

/// A page and what writes it.
struct Page {
    /// Where it is kept.
    path: &'static str,
    write: fn(&Injector) -> Result<String>,
}

/// Every generated file of the project.
const PAGES: &[Page] = &[
    Page { path: "docs/annotations.md", write: |injector| injector.say(&["annotations", "--format", "md"]) },
    Page { path: "docs/cli.md", write: |injector| cli::page(|arguments| injector.say(arguments)) },
    Page {
        path: "fuzz/dictionaries/annotations.dict",
        write: |injector| dictionary::page(&injector.say(&["annotations", "--format", "json"])?),
    },
    Page { path: CHART_CRD, write: |injector| policies::template(&injector.say(&["policy", "crd"])?) },
    Page {
        path: POLICIES,
        write: |injector| {
            policies::page(&read(POLICIES)?, &injector.say(&["policy", "crd", "--format", "md"])?)
        },
    },
    Page { path: CHART_README, write: |_| chart::readme(&read(CHART_README)?, &read(CHART_VALUES)?) },
    Page {
        path: CHART_SCHEMA,
        write: |injector| {
            let registry = chart::Registry {
                table: injector.say(&["annotations", "--format", "json"])?,
                schema: injector.say(&["annotations", "--format", "schema"])?,
            };
            chart::schema(&read(CHART_SCHEMA)?, &read(CHART_VALUES)?, Some(&registry))
        },
    },
    Page {
        path: CSI_CHART_README,
        write: |_| chart::readme(&read(CSI_CHART_README)?, &read(CSI_CHART_VALUES)?),
    },
    Page {
        path: CSI_CHART_SCHEMA,
        write: |_| chart::schema(&read(CSI_CHART_SCHEMA)?, &read(CSI_CHART_VALUES)?, None),
    },
];

/// A file of the project.
fn read(path: &str) -> Result<String> {
    fs::read_to_string(process::root().join(path)).with_context(|| format!("cannot read {path}"))
}

/// Writes every page, or only says which are out of date.
pub(crate) fn run(check: bool) -> Result<()> {
    let injector = Injector::build()?;
    let mut stale = Vec::new();
    for Page { path, write } in PAGES {
        let fresh = write(&injector).with_context(|| format!("cannot write {path}"))?;
        let file = process::root().join(path);
        if fs::read_to_string(&file).is_ok_and(|old| old == fresh) {
            println!("{path} is up to date");
        } else if check {
            stale.push(*path);
        } else {
            if let Some(dir) = file.parent() {
                fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
            }
            fs::write(&file, fresh).with_context(|| format!("cannot write {path}"))?;
            println!("{path} is written anew");
        }
    }
    if !stale.is_empty() {
        bail!("out of date: {}; to mend: cargo xtask docs", stale.join(", "));
    }
    Ok(())
}

/// The built binary of the injector.
pub(crate) struct Injector {
    /// Where it is.
    pub(crate) program: PathBuf,
}

impl Injector {
    /// Builds it.
    pub(crate) fn build() -> Result<Self> {
        let mut command = process::cargo([
            "build",
            "--quiet",
            "--locked",
            "--bin=scaivault-injector",
            "--message-format=json-render-diagnostics",
        ]);
        let messages = process::output(&mut command)?;
        let program = executable(&messages).context("cargo built no scaivault-injector")?;
        Ok(Self { program })
    }

    /// What it writes to standard output for these arguments. It sees nothing of this machine, neither its environment
    /// nor the width of its terminal, so that the pages are the same everywhere.
    fn say(&self, arguments: &[&str]) -> Result<String> {
        let mut command = std::process::Command::new(&self.program);
        command.args(arguments).env_clear().env("COLUMNS", "100");
        process::output(&mut command)
    }
}

/// The one line of cargo's JSON messages that tells where a program was put.
fn executable(messages: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .find_map(|message| message.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_in_what_cargo_says() {
        let messages = r#"{"reason":"compiler-artifact","executable":null}
{"reason":"build-script-executed"}
not json
{"reason":"compiler-artifact","executable":"/t/debug/scaivault-injector"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages), Some(PathBuf::from("/t/debug/scaivault-injector")));
        assert_eq!(executable(r#"{"reason":"build-finished"}"#), None);
    }
}
