//! The generated files of the project: written by the program they describe, and checked to be up
//! to date.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use crate::workspace;

mod chart;
mod cli;
mod dictionary;
mod policies;

const CHART_README: &str = "charts/scaivault-injector/README.md";
const CHART_CRD: &str = "charts/scaivault-injector/templates/crd.yaml";
const CHART_ROLLOUT_CRD: &str = "charts/scaivault-injector/templates/restarter-crd.yaml";
const CHART_SCHEMA: &str = "charts/scaivault-injector/values.schema.json";
const CHART_VALUES: &str = "charts/scaivault-injector/values.yaml";
const CSI_CHART_README: &str = "charts/secrets-store-csi-driver-scaivault/README.md";
const CSI_CHART_SCHEMA: &str = "charts/secrets-store-csi-driver-scaivault/values.schema.json";
const CSI_CHART_VALUES: &str = "charts/secrets-store-csi-driver-scaivault/values.yaml";
const POLICIES: &str = "docs/policies.md";
const RESTART: &str = "docs/restart.md";
/// The arguments that print the definition of `RotationRollout`.
const ROLLOUT: [&str; 4] = ["policy", "crd", "--kind", "RotationRollout"];

/// A page and its generator.
type Page = (&'static str, fn(&Injector) -> Result<String>);

/// Every generated file of the project.
const PAGES: &[Page] = &[
    ("docs/annotations.md", |injector| injector.say(&["annotations", "--format", "md"])),
    ("docs/cli.md", |injector| cli::page(|arguments| injector.say(arguments))),
    ("fuzz/dictionaries/annotations.dict", |injector| {
        dictionary::page(&injector.say(&["annotations", "--format", "json"])?)
    }),
    (CHART_CRD, |injector| policies::template(&injector.say(&["policy", "crd"])?, "policy", "policies")),
    (CHART_ROLLOUT_CRD, |injector| policies::template(&injector.say(&ROLLOUT)?, "restarter", "restarter")),
    (RESTART, |injector| {
        let fields = injector.say(&[&ROLLOUT[..], &["--format", "md"]].concat())?;
        policies::page(&read(RESTART)?, &fields)
    }),
    (POLICIES, |injector| {
        policies::page(&read(POLICIES)?, &injector.say(&["policy", "crd", "--format", "md"])?)
    }),
    (CHART_README, |_| chart::readme(&read(CHART_README)?, &read(CHART_VALUES)?)),
    (CHART_SCHEMA, |injector| {
        let registry = chart::Registry {
            table: injector.say(&["annotations", "--format", "json"])?,
            schema: injector.say(&["annotations", "--format", "schema"])?,
        };
        chart::schema(&read(CHART_SCHEMA)?, &read(CHART_VALUES)?, Some(&registry))
    }),
    (CSI_CHART_README, |_| chart::readme(&read(CSI_CHART_README)?, &read(CSI_CHART_VALUES)?)),
    (CSI_CHART_SCHEMA, |_| chart::schema(&read(CSI_CHART_SCHEMA)?, &read(CSI_CHART_VALUES)?, None)),
];

fn read(path: &str) -> Result<String> {
    fs::read_to_string(workspace::root().join(path)).with_context(|| format!("cannot read {path}"))
}

/// Writes every page, or only reports which are out of date.
pub(crate) fn run(check: bool) -> Result<()> {
    let injector = Injector::build()?;
    let mut stale = Vec::new();
    for (path, write) in PAGES {
        let fresh = write(&injector).with_context(|| format!("cannot write {path}"))?;
        let file = workspace::root().join(path);
        if fs::read_to_string(&file).is_ok_and(|old| old == fresh) {
            println!("{path} is up to date");
        } else if check {
            stale.push(*path);
        } else {
            fs::write(&file, fresh).with_context(|| format!("cannot write {path}"))?;
            println!("{path} is written");
        }
    }
    if !stale.is_empty() {
        bail!("out of date: {}; to fix: cargo xtask docs", stale.join(", "));
    }
    Ok(())
}

/// The built injector.
struct Injector {
    shell: Shell,
    program: PathBuf,
}

impl Injector {
    fn build() -> Result<Self> {
        let shell = workspace::shell()?;
        workspace::cargo(&shell, &["build", "--quiet", "--locked", "--bin=scaivault-injector"]).run()?;
        let program = workspace::metadata(&shell)?.target_directory.join("debug/scaivault-injector");
        Ok(Self { shell, program })
    }

    /// Its standard output for these arguments. It runs without this machine's environment and
    /// terminal width, so that the pages are the same everywhere.
    fn say(&self, arguments: &[&str]) -> Result<String> {
        let Self { shell, program } = self;
        let command = cmd!(shell, "{program} {arguments...}").quiet().env_clear().env("COLUMNS", "100");
        Ok(String::from_utf8(command.output()?.stdout)?)
    }
}
