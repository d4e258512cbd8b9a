//! Copies programs that tests start.

use std::{path::Path, process::Command};

/// Copies a program and sets its mode.
///
/// By a separate process: if a test forks while this process has the copy open for writing, the
/// child has it open too, and a program that is open for writing cannot be started ("Text file
/// busy").
///
/// # Panics
///
/// If it cannot be copied.
pub fn copy_program(from: &Path, to: &Path, mode: u32) {
    let status = Command::new("install").arg(format!("--mode={mode:o}")).args([from, to]).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{} is not copied to {}",
        from.display(),
        to.display()
    );
}
