//! Prints the demo's steps: a numbered line for each step, with details below.

use std::{
    io::{self, Write},
    time::Duration,
};

use crate::output::{self, PLACE, WARNED};

/// The width of the column with the acting component.
const NAME_COLUMNS: usize = 11;

/// A time in milliseconds, rounded to a meaningful precision.
pub(super) fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    let decimals = usize::from(milliseconds < 10.0);
    format!("{milliseconds:.decimals$} ms")
}

/// Prints the steps of one demo.
pub(super) struct Narrator {
    step: usize,
    steps: usize,
}

impl Narrator {
    /// For this number of steps.
    pub(super) fn new(steps: usize) -> Self {
        Self { step: 0, steps }
    }

    /// Prints the next step: who does what.
    pub(super) fn step(&mut self, who: &str, what: &str) -> io::Result<()> {
        self.step += 1;
        let mut out = output::stdout();
        let (step, steps) = (self.step, self.steps);
        writeln!(out, "{PLACE}{step}/{steps} {who:NAME_COLUMNS$}{PLACE:#} {what}")?;
        out.flush()
    }

    /// Prints a detail of the step.
    #[expect(clippy::unused_self, reason = "a detail belongs to a step")]
    pub(super) fn detail(&self, what: &str) -> io::Result<()> {
        let mut out = output::stdout();
        writeln!(out, "      {what}")?;
        out.flush()
    }

    /// Prints a warning in yellow, as `kubectl` does.
    #[expect(clippy::unused_self, reason = "a warning belongs to a step")]
    pub(super) fn warning(&self, what: &str) -> io::Result<()> {
        let mut out = output::stdout();
        writeln!(out, "      {WARNED}warning:{WARNED:#} {what}")?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded() {
        assert_eq!(milliseconds(Duration::from_micros(1240)), "1.2 ms");
        assert_eq!(milliseconds(Duration::from_micros(1_951_600)), "1952 ms");
    }
}
