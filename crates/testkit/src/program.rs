//! Copies of programs that tests start.

use std::{path::Path, process::Command};

/// Copies a program and sets its mode.
///
/// By a process of its own: a test that forks while this one has the copy open for writing would hold it open, too, and a
/// program that is open for writing cannot be started ("Text file busy").
///
/// # Panics
///
/// Where it cannot be copied.
pub fn copy_program(from: &Path, to: &Path, mode: u32) {
    let status = Command::new("install").arg(format!("--mode={mode:o}")).args([from, to]).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{} is not copied to {}",
        from.display(),
        to.display()
    );
}
