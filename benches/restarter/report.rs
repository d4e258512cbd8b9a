//! Figures and their limits.

/// Prints figures, and records those that exceed their limits.
#[derive(Default)]
pub(crate) struct Report {
    exceeded: Vec<String>,
}

impl Report {
    /// A figure and its maximum.
    pub(crate) fn at_most(&mut self, what: &str, figure: f64, limit: f64, unit: &str) {
        let line = format!("{what}: {figure:.1} {unit}, limit {limit:.1} {unit}");
        let is_exceeded = figure > limit;
        println!("{line}{}", if is_exceeded { ": EXCEEDED" } else { "" });
        if is_exceeded {
            self.exceeded.push(line);
        }
    }

    /// Fails if a limit was exceeded.
    pub(crate) fn end(self) {
        assert!(self.exceeded.is_empty(), "limits exceeded:\n{}", self.exceeded.join("\n"));
    }
}
