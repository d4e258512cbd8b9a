//! How far the audit of a large cluster is.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// From this many objects of one kind on, a bar is shown.
const WORTH_A_BAR: u64 = 1_000;

/// A bar on standard error, if that is a terminal and a list is long.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos} of {len} {msg}")
            .expect("the template is well-formed");
        Self { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_style(style) }
    }

    /// A list begins.
    pub(super) fn begin(&self, resource: &str) {
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
        self.bar.reset();
        self.bar.set_message(resource.to_owned());
    }

    /// A page is read.
    pub(super) fn page(&self, read: usize, remaining: Option<i64>) {
        let read = read as u64;
        let total = read + remaining.and_then(|remaining| u64::try_from(remaining).ok()).unwrap_or_default();
        if total >= WORTH_A_BAR && self.bar.is_hidden() {
            // Draws nothing where standard error is no terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_length(total);
        self.bar.set_position(read);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
