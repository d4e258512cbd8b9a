//! The results for all objects, as text and as JSON.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use scaivault_audit::Printable;
use scaivault_inject::{
    Code, Decision, MalformedPod, NOT_INJECTED, PolicyEffect, PolicyUse, Problem, SkipReason,
};
use scaivault_policy::PolicyProblem;

use crate::{
    csi::Severity,
    diff,
    document::ParseError,
    edit::Obstacle,
    evaluate::{ObjectResult, Outcome, Setting},
    output::{ADDED, PLACE, REMOVED, STRONG, WARNED},
};

mod json;

/// The results, in the order of the input.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// The objects that were read.
    pub(crate) entries: Vec<Entry>,
    /// The files and documents that could not be read.
    pub(crate) errors: Vec<Unreadable>,
}

/// An object, or a value that is not an object.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The file's name.
    pub(crate) file: String,
    /// The line at which its document's content starts, from 1.
    pub(crate) line: usize,
    /// The object.
    pub(crate) result: ObjectResult,
    /// Why its document was rewritten, without its comments and its layout.
    pub(crate) rewritten: Option<Obstacle>,
    /// The change as a unified diff, if requested.
    pub(crate) diff: Option<String>,
}

/// A file that cannot be read, or a document in it that is neither YAML nor JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The file's name.
    pub(crate) file: String,
    /// The position in the file; `None` if the file as a whole cannot be read.
    pub(crate) place: Option<Place>,
    /// What is wrong.
    pub(crate) message: String,
    /// How to fix it.
    pub(crate) hint: Option<&'static str>,
}

/// A position in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The line, from 1.
    pub(crate) line: usize,
    /// The column, from 1.
    pub(crate) column: usize,
}

impl Report {
    /// Whether there are problems.
    pub(crate) fn has_problems(&self) -> bool {
        self.entries.iter().any(|entry| entry.result.has_problems())
    }

    /// Whether there are warnings.
    pub(crate) fn has_warnings(&self) -> bool {
        let warns = |entry: &Entry| entry.result.csi_findings(Severity::Warning).next().is_some();
        self.entries.iter().any(|entry| !entry.outcome().warnings.is_empty() || warns(entry))
    }

    /// Whether a document must not be applied as it is.
    pub(crate) fn has_refusals(&self) -> bool {
        self.outcomes().any(Outcome::is_refused)
    }

    /// Writes the report as text.
    pub(crate) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        for entry in &self.entries {
            entry.write_text(out)?;
        }
        for error in &self.errors {
            error.write_text(out)?;
        }
        writeln!(out, "\n{STRONG}{}{STRONG:#}", self.summary())
    }

    /// The report as one JSON object with `objects`, `errors` and `summary`.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        json::render(self)
    }

    /// The numbers of objects by outcome, in one line.
    fn summary(&self) -> String {
        let objects = self.entries.len();
        let plural = if objects == 1 { "" } else { "s" };
        let counts: Vec<_> =
            self.counts().into_iter().map(|(word, count)| format!("{count} {word}")).collect();
        let counts = if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) };
        let unreadable = match self.errors.len() {
            0 => String::new(),
            number => format!("; {number} unreadable"),
        };
        format!("{objects} object{plural}{counts}{unreadable}")
    }

    fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for entry in &self.entries {
            *counts.entry(entry.outcome().word).or_default() += 1;
        }
        counts
    }

    fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.entries.iter().map(|entry| &entry.result.outcome)
    }
}

/// An outcome as reported, with the same words as in logs and metrics.
struct ReportedOutcome<'a> {
    word: &'static str,
    reason: &'static str,
    note: Option<&'a str>,
    problems: Vec<&'a Problem>,
    /// The problems of a policy itself.
    policy_problems: Vec<&'a PolicyProblem>,
    warnings: Vec<&'a str>,
}

impl<'a> ReportedOutcome<'a> {
    fn new(word: &'static str, reason: &'static str, note: Option<&'a str>) -> Self {
        Self { word, reason, note, problems: Vec::new(), policy_problems: Vec::new(), warnings: Vec::new() }
    }

    fn decided(decision: &'a Decision) -> Self {
        let (note, problems) = match decision {
            Decision::Skip(skip) => (
                (skip.reason != SkipReason::NotAnnotated).then(|| skip.reason.sentence()),
                skip.problems.iter().collect(),
            ),
            Decision::Deny(denial) => (None, denial.problems.iter().collect()),
            Decision::Inject(_) | Decision::Detach(_) => (None, Vec::new()),
        };
        // A pod that is admitted in spite of problems also has them among its warnings, worded for
        // the client that applies it.
        let is_problem = |warning: &&str| !problems.is_empty() && warning.starts_with(NOT_INJECTED);
        let warnings = decision.warnings().iter().map(String::as_str);
        let warnings = warnings.filter(|warning| !is_problem(warning)).collect();
        Self { problems, warnings, ..Self::new(decision.outcome(), decision.reason(), note) }
    }
}

/// The reason if the command itself removes the injection, regardless of the manifest.
const REQUESTED: &str = "requested";

fn is_detached(decision: &Decision) -> bool {
    matches!(decision, Decision::Detach(detachment) if detachment.warnings.is_empty())
}

impl Entry {
    fn outcome(&self) -> ReportedOutcome<'_> {
        let mut reported = self.decided();
        if let Some(reason) = self.result.rejection().filter(|_| reported.word != "denied") {
            (reported.word, reported.reason, reported.note) = ("denied", reason, None);
        }
        reported.warnings.splice(..0, self.result.warnings.iter().map(String::as_str));
        reported
    }

    fn decided(&self) -> ReportedOutcome<'_> {
        match &self.result.outcome {
            Outcome::NoObject => ReportedOutcome::new("skipped", "no-object", None),
            Outcome::NoPod => ReportedOutcome::new("skipped", "no-pod", None),
            Outcome::Class => ReportedOutcome::new("accepted", "class", None),
            Outcome::Malformed(message) => {
                ReportedOutcome::new("denied", MalformedPod::REASON, Some(message))
            }
            Outcome::InvalidPolicy(problems) => ReportedOutcome {
                policy_problems: problems.iter().collect(),
                ..ReportedOutcome::new("denied", Code::InvalidPolicy.name(), None)
            },
            Outcome::NoReceipt => ReportedOutcome::new(
                "kept",
                SkipReason::NoReceipt.name(),
                Some(
                    "without a receipt, the injected parts cannot be identified; to fix: use \
                     detach --by-name",
                ),
            ),
            Outcome::Decided(decision) if self.result.is_detach_requested && is_detached(decision) => {
                ReportedOutcome::new(decision.outcome(), REQUESTED, None)
            }
            Outcome::Decided(decision) => ReportedOutcome::decided(decision),
        }
    }

    /// Writes it as text.
    pub(crate) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { file, line, result, rewritten, diff } = self;
        let ReportedOutcome { word, reason, note, problems, policy_problems, warnings } = self.outcome();

        write!(out, "{PLACE}{}:{line}{PLACE:#} ", Printable(file))?;
        if let Some(pointer) = result.pointer.strip_prefix('/') {
            write!(out, "({pointer}) ")?;
        }
        if result.outcome != Outcome::NoObject {
            write!(out, "{}", result.display_name())?;
            if let Some(template) = &result.template {
                write!(out, " ({})", Printable(template.trim_start_matches('/')))?;
            }
            write!(out, ": ")?;
        }
        let style = match word {
            "injected" | "detached" | "accepted" => ADDED,
            "skipped" => STRONG,
            _ => REMOVED,
        };
        write!(out, "{style}{word}{style:#} ({reason}")?;
        if let Some(secrets) = result.secrets() {
            write!(out, ", {secrets} secret{}", if secrets == 1 { "" } else { "s" })?;
        }
        writeln!(out, ")")?;

        if let Some(note) = note {
            writeln!(out, "    {}", Printable(note))?;
        }
        for problem in problems {
            writeln!(out, "    {REMOVED}problem:{REMOVED:#} {}", Printable(&problem.to_string()))?;
        }
        for problem in policy_problems {
            writeln!(out, "    {REMOVED}problem:{REMOVED:#} {}", Printable(&problem.to_string()))?;
        }
        for warning in warnings {
            writeln!(out, "    {WARNED}warning:{WARNED:#} {}", Printable(warning))?;
        }
        for finding in &result.csi {
            let (style, word) = match finding.severity {
                Severity::Problem => (REMOVED, "problem"),
                Severity::Warning => (WARNED, "warning"),
                Severity::Note => (STRONG, "note"),
            };
            writeln!(out, "    {style}{word}:{style:#} {}", Printable(&finding.to_string()))?;
        }
        if let Some(obstacle) = rewritten {
            writeln!(
                out,
                "    {WARNED}warning:{WARNED:#} the document is rewritten, without its comments and layout: {obstacle}"
            )?;
        }
        for PolicyUse { name, generation: _, effect, message } in result.policies_shown() {
            let message = message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
            writeln!(out, "    policy {}: {}{}", Printable(name), effect.name(), Printable(&message))?;
        }
        for setting in &result.settings {
            let Setting { key, value, layer, rule } = setting;
            write!(out, "    {key} = {} ({layer}", Printable(value))?;
            match rule {
                Some(rule) => writeln!(out, ": {rule})")?,
                None => writeln!(out, ")")?,
            }
        }
        if let Some(diff) = diff {
            diff::write(diff, out)?;
        }
        Ok(())
    }
}

impl ObjectResult {
    /// The name in the notation of `kubectl`, `deployment/billing`, on one line.
    pub(crate) fn display_name(&self) -> String {
        let name = if self.name.is_empty() { "(no name)" } else { &self.name };
        format!("{}/{}", Printable(&self.kind.to_lowercase()), Printable(name))
    }

    /// The policies to show: with the settings all, else those under `audit`, which are not visible
    /// elsewhere.
    fn policies_shown(&self) -> impl Iterator<Item = &PolicyUse> {
        let is_shown = |found: &&PolicyUse| self.with_policies || found.effect == PolicyEffect::Audited;
        self.policies.iter().filter(is_shown)
    }

    /// The number of secrets of an injection; `None` for other outcomes, and if the object is
    /// rejected for another reason.
    fn secrets(&self) -> Option<usize> {
        match &self.outcome {
            Outcome::Decided(decision) => match &**decision {
                Decision::Inject(injection) if self.rejection().is_none() => Some(injection.secrets),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Unreadable {
    /// A document of a file that cannot be read.
    pub(crate) fn from_document(file: &str, error: ParseError) -> Self {
        let ParseError { line, column, message, hint } = error;
        Self { file: file.to_owned(), place: Some(Place { line, column }), message, hint }
    }

    /// Writes the error as text.
    pub(crate) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { file, place, message, hint } = self;
        write!(out, "{PLACE}{}", Printable(file))?;
        if let Some(Place { line, column }) = place {
            write!(out, ":{line}:{column}")?;
        }
        writeln!(out, "{PLACE:#} {REMOVED}unreadable:{REMOVED:#} {}", Printable(message))?;
        match hint {
            Some(hint) => writeln!(out, "    {hint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
