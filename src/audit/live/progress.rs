//! Progress of the audit of a large cluster.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The minimum number of objects of one kind for which a progress bar is shown.
const WORTH_A_BAR: u64 = 1_000;

/// A progress bar on standard error, shown if that is a terminal and a list is long.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos} of {len} {msg}")
            .expect("the template is well-formed");
        Self { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_style(style) }
    }

    /// Starts the bar of a list.
    pub(super) fn begin(&self, resource: &str) {
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
        self.bar.reset();
        self.bar.set_message(resource.to_owned());
    }

    /// Reports a page.
    pub(super) fn page(&self, read: usize, remaining: Option<i64>) {
        let read = read as u64;
        let total = read + remaining.and_then(|remaining| u64::try_from(remaining).ok()).unwrap_or_default();
        if total >= WORTH_A_BAR && self.bar.is_hidden() {
            // Draws nothing if standard error is not a terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_length(total);
        self.bar.set_position(read);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
