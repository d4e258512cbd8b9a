//! Tells what happens: a numbered line a step, and what there is to see of it below.

use std::{
    io::{self, Write},
    time::Duration,
};

use crate::output::{self, PLACE, WARNED};

/// Columns of the names of who does something.
const NAME_COLUMNS: usize = 11;

/// A time in milliseconds, as precise as it is worth.
pub(super) fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    let decimals = usize::from(milliseconds < 10.0);
    format!("{milliseconds:.decimals$} ms")
}

/// Tells the steps of one demonstration.
pub(super) struct Narrator {
    told: usize,
    steps: usize,
}

impl Narrator {
    /// For so many steps.
    pub(super) fn new(steps: usize) -> Self {
        Self { told: 0, steps }
    }

    /// The next step: who does what.
    pub(super) fn step(&mut self, who: &str, what: &str) -> io::Result<()> {
        self.told += 1;
        let mut out = output::stdout();
        let (told, steps) = (self.told, self.steps);
        writeln!(out, "{PLACE}{told}/{steps} {who:NAME_COLUMNS$}{PLACE:#} {what}")?;
        out.flush()
    }

    /// What there is to see of the step.
    #[expect(clippy::unused_self, reason = "a detail belongs to a step")]
    pub(super) fn detail(&self, what: &str) -> io::Result<()> {
        let mut out = output::stdout();
        writeln!(out, "      {what}")?;
        out.flush()
    }

    /// What `kubectl` would show in yellow.
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
