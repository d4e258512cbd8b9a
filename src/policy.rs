//! Policies on the command line: their files, their tests, their definition.

mod cases;
mod files;

use std::process::ExitCode;

use jiff::Zoned;

use crate::{
    args::{DateArgs, DefinedKind, PolicyArgs, PolicyCommand, PolicyCrdArgs, PolicyCrdFormat},
    document::emit_yaml,
    output,
};

pub(crate) use files::{PolicyFiles, is_policy};

/// Runs `policy`.
pub(crate) fn run(args: &PolicyArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        PolicyCommand::Test(args) => cases::run(args),
        PolicyCommand::Crd(args) => crd(args),
    }
}

fn crd(args: &PolicyCrdArgs) -> anyhow::Result<ExitCode> {
    let (definition, part) = match args.kind {
        DefinedKind::InjectionPolicy => (scaivault_policy::definition(), "spec"),
        DefinedKind::RotationRollout => (scaivault_restarter::definition(), "status"),
    };
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let text = match args.format {
        PolicyCrdFormat::Yaml => emit_yaml(definition)?,
        PolicyCrdFormat::Md => scaivault_policy::fields_of(schema, part),
    };
    output::until_closed(output::write_stdout(text.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}

impl DateArgs {
    /// The time at which expiry of exceptions is checked, Unix seconds.
    pub(crate) fn now(self) -> i64 {
        self.date.map_or_else(|| Zoned::now().timestamp().as_second(), scaivault_policy::Date::start)
    }
}
