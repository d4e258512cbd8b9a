//! The progress of a namespace as an SVG bar.

use std::fmt::Write as _;

use super::escape::Escaped;
use crate::{describe::counted, stage::Stage, summary::StageCounts};

/// The width of the bar in SVG user units.
const WIDTH: f64 = 1000.0;
/// The minimum width of a part, so that one workload in a thousand remains visible.
const MIN_PART: f64 = 6.0;

/// A stacked bar of the workloads by stage, with a text description for screen readers.
pub(super) fn bar(whose: &str, counts: &StageCounts, out: &mut String) {
    let parts: Vec<_> = Stage::ALL.into_iter().map(|stage| (stage, counts.get(stage))).collect();
    let parts: Vec<_> = parts.into_iter().filter(|(_, number)| *number > 0).collect();
    let total: usize = parts.iter().map(|(_, number)| number).sum();
    let words: Vec<_> = parts.iter().map(|(stage, number)| format!("{number} {}", stage.name())).collect();
    let label = format!("{whose}: {}: {}", counted(total, "workload"), words.join(", "));
    let label = Escaped(&label);
    let _ = write!(
        out,
        "<svg class=\"bar\" role=\"img\" aria-label=\"{label}\" viewBox=\"0 0 {WIDTH} 10\" preserveAspectRatio=\"none\"><title>{label}</title>"
    );
    let mut x = 0.0;
    for (stage, width) in parts.iter().map(|(stage, _)| *stage).zip(widths(&parts)) {
        let _ = write!(
            out,
            "<rect class=\"{}\" x=\"{x:.1}\" y=\"0\" width=\"{width:.1}\" height=\"10\"/>",
            stage.id()
        );
        x += width;
    }
    out.push_str("</svg>");
}

/// The widths of the parts; their sum is [`WIDTH`].
fn widths(parts: &[(Stage, usize)]) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "no cluster has 2^52 workloads")]
    let numbers: Vec<f64> = parts.iter().map(|(_, number)| *number as f64).collect();
    let total: f64 = numbers.iter().sum();
    let widths: Vec<f64> = numbers.iter().map(|number| (number / total * WIDTH).max(MIN_PART)).collect();
    let scale = WIDTH / widths.iter().sum::<f64>();
    widths.into_iter().map(|width| width * scale).collect()
}

/// A square in a stage's colour, for the legend.
pub(super) fn swatch(stage: Stage) -> String {
    format!(
        "<svg class=\"bar\" aria-hidden=\"true\" viewBox=\"0 0 10 10\"><rect class=\"{}\" width=\"10\" height=\"10\"/></svg>",
        stage.id()
    )
}
