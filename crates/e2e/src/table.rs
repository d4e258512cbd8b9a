//! Tables for a terminal.

/// Aligns the columns: numbers to the right, other text to the left.
pub(crate) fn render<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let header = header.map(str::to_owned);
    let all = || std::iter::once(&header).chain(rows);
    let widths: [usize; N] =
        std::array::from_fn(|column| all().map(|row| row[column].chars().count()).max().unwrap_or_default());
    let numbers: [bool; N] = std::array::from_fn(|column| {
        rows.iter().all(|row| row[column].starts_with(|c: char| c.is_ascii_digit()))
    });
    let mut text = String::new();
    for row in all() {
        let cells: Vec<_> = row
            .iter()
            .zip(widths)
            .enumerate()
            .map(
                |(column, (cell, width))| {
                    if numbers[column] { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
                },
            )
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["clippy".into(), "12.0 s".into(), "passed".into()],
            ["fmt".into(), "0.3 s".into(), "skipped".into()],
        ];
        assert_eq!(
            render(["step", "time", "result"], &rows),
            "step      time  result\nclippy  12.0 s  passed\nfmt      0.3 s  skipped\n"
        );
    }
}
