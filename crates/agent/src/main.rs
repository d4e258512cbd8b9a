//! The program `scaivault-agent`.

use std::{alloc::System, env, process::ExitCode};

use zeroizing_alloc::ZeroAlloc;

/// Zeroes memory when it is freed, including copies of secrets in the buffers of libraries.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    scaivault_agent::run(env::args_os().skip(1))
}
