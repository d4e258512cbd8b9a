//! The report as a table for a terminal.

use std::fmt::Write as _;

use crate::{
    describe::{self, counted},
    model::{Audit, Workload},
    printable::Printable,
    stage::Stage,
};

/// Options of the table.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableOptions {
    /// The terminal's width in columns; `None` for unlimited lines, as in a pipe.
    pub width: Option<usize>,
    /// Also list the workloads that use no secrets.
    pub all: bool,
}

/// Number of spaces between two columns.
const GAP: usize = 2;
/// The minimum width of a truncated column.
const MIN_WIDTH: usize = 8;
/// Maximum number of native Secrets, products or policies that a cell names; the rest is counted.
const NAMED_IN_CELL: usize = 3;
/// Maximum number of drifted pods that are named per workload.
const NAMED_PODS: usize = 5;

/// The column headers. Columns without content are omitted, except the first three.
const HEADER: [&str; 7] = ["NAMESPACE", "WORKLOAD", "STAGE", "NATIVE SECRETS", "OTHERS", "POLICIES", "PODS"];
/// Whether a column may be truncated if the table is too wide. Columns with names may.
const FLEXIBLE: [bool; 7] = [true, true, false, true, true, true, false];

/// The text of an empty cell.
const NOTHING: &str = "-";

const BOLD: &str = "\u{1b}[1m";
const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[33m";
const RED: &str = "\u{1b}[31m";
const RESET: &str = "\u{1b}[0m";

/// The report as a table with ANSI colours. The caller removes the colours if the output is not a
/// terminal.
pub fn table(audit: &Audit, options: TableOptions) -> String {
    let mut out = String::new();
    let shown: Vec<&Workload> =
        audit.workloads.iter().filter(|workload| options.all || workload.is_relevant()).collect();
    if !shown.is_empty() {
        write_table(&shown, options.width, &mut out);
        out.push('\n');
    }
    write_problems(audit, &mut out);
    write_drift(audit, &mut out);
    write_tokens(audit, &mut out);
    for error in &audit.errors {
        let _ = writeln!(
            out,
            "{RED}unreadable:{RESET} {}: {}",
            Printable(&error.what),
            Printable(&error.message)
        );
        if let Some(fix) = &error.fix {
            let _ = writeln!(out, "    to fix: {}", Printable(fix));
        }
    }
    for note in &audit.notes {
        let _ = writeln!(out, "note: {}", Printable(note));
    }
    write_summary(audit, audit.workloads.len() - shown.len(), &mut out);
    out
}

fn write_table(workloads: &[&Workload], width: Option<usize>, out: &mut String) {
    let rows: Vec<[String; 7]> = workloads.iter().map(|workload| cells(workload)).collect();
    let mut columns: Vec<Column> = HEADER.into_iter().zip(FLEXIBLE).enumerate().map(Column::new).collect();
    for row in &rows {
        for column in &mut columns {
            column.widen(&row[column.index]);
        }
    }
    columns.retain(|column| column.index < 3 || column.is_used);
    if let Some(width) = width {
        fit(&mut columns, width);
    }
    let header = HEADER.map(str::to_owned);
    let _ = writeln!(out, "{BOLD}{}{RESET}", line(&header, &columns, None).trim_end());
    for (workload, row) in workloads.iter().zip(&rows) {
        let _ = writeln!(out, "{}", line(row, &columns, Some(color(workload.stage))).trim_end());
    }
}

/// A column of the table.
struct Column {
    index: usize,
    width: usize,
    is_flexible: bool,
    /// Whether any cell has content.
    is_used: bool,
}

impl Column {
    fn new((index, (title, is_flexible)): (usize, (&str, bool))) -> Self {
        Self { index, width: title.chars().count(), is_flexible, is_used: false }
    }

    fn widen(&mut self, cell: &str) {
        self.width = self.width.max(cell.chars().count());
        self.is_used |= !cell.is_empty() && cell != NOTHING;
    }
}

/// Truncates the widest flexible column repeatedly until the table fits or no column can become
/// narrower.
fn fit(columns: &mut [Column], width: usize) {
    let total = |columns: &[Column]| {
        columns.iter().map(|column| column.width).sum::<usize>() + GAP * (columns.len() - 1)
    };
    while total(columns) > width {
        let flexible = columns.iter_mut().filter(|column| column.is_flexible && column.width > MIN_WIDTH);
        let Some(widest) = flexible.max_by_key(|column| column.width) else { return };
        widest.width -= 1;
    }
}

fn line(row: &[String; 7], columns: &[Column], stage_color: Option<&str>) -> String {
    let mut line = String::new();
    for Column { index, width, .. } in columns {
        let text = cut(&row[*index], *width);
        let padding = " ".repeat(width.saturating_sub(text.chars().count()) + GAP);
        match stage_color.filter(|_| HEADER[*index] == "STAGE") {
            Some(color) => {
                let _ = write!(line, "{color}{text}{RESET}{padding}");
            }
            None => {
                let _ = write!(line, "{text}{padding}");
            }
        }
    }
    line
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn cells(workload: &Workload) -> [String; 7] {
    let native = workload.native_secrets.iter().map(|native| native.secret.as_str());
    let others = workload.other_products.iter().map(|other| other.product.name());
    let policies = workload.policies.iter().map(|policy| policy.name.as_str());
    [
        if workload.namespace.is_empty() { NOTHING.to_owned() } else { printable(&workload.namespace) },
        printable(&workload.display_name()),
        workload.stage.name().to_owned(),
        few(native),
        few(others),
        few(policies),
        describe::pods(workload),
    ]
}

fn printable(text: &str) -> String {
    Printable(text).to_string()
}

/// The first names and the number of the others; a dash if there are none.
fn few<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    let first: Vec<_> = names.iter().take(NAMED_IN_CELL).map(|name| printable(name)).collect();
    match names.len() {
        0 => NOTHING.to_owned(),
        number if number > NAMED_IN_CELL => format!("{} +{}", first.join(", "), number - NAMED_IN_CELL),
        _ => first.join(", "),
    }
}

const fn color(stage: Stage) -> &'static str {
    match stage {
        Stage::Moved => GREEN,
        Stage::Refused => RED,
        Stage::Mixed | Stage::Native | Stage::OtherProduct => YELLOW,
        Stage::None => "",
    }
}

/// A workload's namespace and name, and the manifest that it comes from.
fn headline(workload: &Workload) -> String {
    let namespace = match workload.namespace.as_str() {
        "" => String::new(),
        namespace => format!("{namespace} "),
    };
    let place = workload.place.as_ref().map(|place| format!(" ({}:{})", place.file, place.line));
    printable(&format!("{namespace}{}{}", workload.display_name(), place.unwrap_or_default()))
}

fn write_problems(audit: &Audit, out: &mut String) {
    for workload in &audit.workloads {
        let outcome = &workload.becomes;
        if outcome.problems.is_empty() && outcome.warnings.is_empty() {
            continue;
        }
        let _ =
            writeln!(out, "{BOLD}{}{RESET}: {}", headline(workload), printable(&describe::outcome(workload)));
        for problem in &outcome.problems {
            let _ = writeln!(out, "    {RED}problem:{RESET} {}", Printable(problem));
        }
        for warning in &outcome.warnings {
            let _ = writeln!(out, "    {YELLOW}warning:{RESET} {}", Printable(warning));
        }
    }
}

fn write_drift(audit: &Audit, out: &mut String) {
    for workload in &audit.workloads {
        let Some(pods) = workload.pods.as_ref().filter(|pods| !pods.drifted.is_empty()) else { continue };
        let (drifted, total) = (pods.drifted.len(), counted(pods.total, "pod"));
        let _ = writeln!(out, "{BOLD}{}{RESET}: {drifted} of {total} drifted", headline(workload));
        for pod in pods.drifted.iter().take(NAMED_PODS) {
            let _ = write!(out, "    {YELLOW}{}:{RESET} {}", pod.state.name(), Printable(&pod.name));
            let differences = pod.differences.join("; ");
            let _ = match differences.as_str() {
                "" => writeln!(out),
                differences => writeln!(out, " ({})", Printable(differences)),
            };
        }
        if drifted > NAMED_PODS {
            let _ = writeln!(out, "    and {} more (all of them with --output json)", drifted - NAMED_PODS);
        }
    }
}

fn write_tokens(audit: &Audit, out: &mut String) {
    for token in &audit.long_lived_tokens {
        let mut text =
            format!("{}/{} of service account {}", token.namespace, token.secret, token.service_account);
        let facts = [("last used", &token.last_used), ("invalid since", &token.invalid_since)];
        for (fact, day) in facts {
            if let Some(day) = day {
                let _ = write!(text, ", {fact} {day}");
            }
        }
        if !token.used_by.is_empty() {
            let _ = write!(text, ", read by {}", token.used_by.join(", "));
        }
        let _ = writeln!(out, "{YELLOW}long-lived token:{RESET} {}", Printable(&text));
    }
}

fn write_summary(audit: &Audit, hidden: usize, out: &mut String) {
    let summary = audit.summary();
    let stages = Stage::ALL.into_iter().map(|stage| (summary.stages.get(stage), stage.name()));
    let stages: Vec<_> =
        stages.filter(|(number, _)| *number > 0).map(|(number, name)| format!("{number} {name}")).collect();
    let separator = if out.is_empty() { "" } else { "\n" };
    let mut text = counted(summary.workloads, "workload");
    if !stages.is_empty() {
        let _ = write!(text, ": {}", stages.join(", "));
    }
    let _ = write!(text, "; {}", counted(summary.native_secrets, "native Secret"));
    if summary.pods > 0 {
        let _ = write!(text, "; {}, {} drifted", counted(summary.pods, "pod"), summary.drifted_pods);
    }
    if summary.long_lived_tokens > 0 {
        let _ = write!(text, "; {}", counted(summary.long_lived_tokens, "long-lived token"));
    }
    if summary.errors > 0 {
        let _ = write!(text, "; {} unreadable", summary.errors);
    }
    let _ = writeln!(out, "{separator}{BOLD}{text}{RESET}");
    if hidden > 0 {
        let _ = writeln!(out, "{} without secrets not shown; --all shows them", counted(hidden, "workload"));
    }
}
