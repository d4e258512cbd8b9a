//! The built agent as a process, with the development server over TLS on loopback: duration of a
//! start, memory of a sidecar, delay of a change, and a fleet with one identity under ScaiVault's
//! rate limits.
//!
//! ```text
//! cargo bench -p scaivault-agent                                   # all sections, about half an hour
//! cargo bench -p scaivault-agent -- start memory                   # some of them
//! cargo bench -p scaivault-agent -- --agent PATH/TO/AGENT memory   # of another build
//! ```
#![allow(clippy::print_stdout, reason = "the figures are what a benchmark says")]

mod burst;
mod events;
mod figures;
mod fleet;
mod memory;
mod reads;
mod start;
mod world;

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Measures this build of the agent and prints a table.
type Section = fn(&Path) -> Result<()>;

/// In the order of execution: the long ones last.
const SECTIONS: [(&str, Section); 7] = [
    ("start", start::measure),
    ("events", events::measure),
    ("memory", memory::measure),
    ("reads", reads::measure),
    ("burst", burst::measure),
    ("fleet-at-intervals", |agent| fleet::measure(agent, &fleet::AT_INTERVALS)),
    ("fleet-by-events", |agent| fleet::measure(agent, &fleet::BY_EVENTS)),
];

fn main() -> ExitCode {
    match run(std::env::args().skip(1).filter(|arg| arg != "--bench")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: impl Iterator<Item = String>) -> Result<()> {
    let mut agent = PathBuf::from(env!("CARGO_BIN_EXE_scaivault-agent"));
    let mut wanted = Vec::new();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--agent" => agent = args.next().ok_or("--agent takes a path")?.into(),
            section if SECTIONS.iter().any(|(name, _)| *name == section) => wanted.push(arg),
            other => {
                let names = SECTIONS.map(|(name, _)| name).join(", ");
                return Err(format!("{other:?} is none of: --agent PATH, {names}").into());
            }
        }
    }
    for (section, measure) in SECTIONS {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == section) {
            continue;
        }
        println!("\n## {section}");
        measure(&agent)?;
    }
    Ok(())
}
