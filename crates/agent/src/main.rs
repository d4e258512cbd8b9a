//! The program `scaivault-agent`.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    scaivault_agent::run(env::args_os().skip(1))
}
