//! The result for each workload, as text.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use scaivault_audit::Printable;

use super::map::{MissingEntry, skeleton};
use crate::{
    diff,
    edit::Obstacle,
    output::{ADDED, PLACE, REMOVED, STRONG, WARNED},
    report::{self, Unreadable},
};

/// Every workload with secrets, in the order of the input.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) entries: Vec<Entry>,
    /// Objects that are not migrated and have problems or warnings, as in the report of `check`.
    pub(super) others: Vec<report::Entry>,
    pub(super) errors: Vec<Unreadable>,
}

/// A workload.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) pointer: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) outcome: Outcome,
    /// Why its document was rewritten, without its comments and layout.
    pub(super) rewritten: Option<Obstacle>,
    pub(super) diff: Option<String>,
}

/// The result for a workload.
#[derive(Debug)]
pub(super) enum Outcome {
    Migrated(Summary),
    /// It is unchanged.
    Left {
        problems: Vec<String>,
        missing: BTreeSet<MissingEntry>,
    },
}

/// The content of a migrated workload.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) files: usize,
    pub(super) mount_path: Option<String>,
    pub(super) variables: usize,
    pub(super) has_sidecar: bool,
    pub(super) warnings: Vec<String>,
}

impl Report {
    /// Whether a workload is not migrated, or another object has problems.
    pub(super) fn has_problems(&self) -> bool {
        self.left().next().is_some() || self.others.iter().any(|other| other.result.outcome.has_problems())
    }

    /// The workloads that are not migrated.
    pub(super) fn left(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| matches!(entry.outcome, Outcome::Left { .. }))
    }

    /// Adds a warning about a workload that several manifests describe, as overlays do: the plan
    /// would apply them one after the other.
    pub(super) fn warn_of_duplicates(&mut self) {
        let key = |entry: &Entry| (entry.kind.clone(), entry.namespace.clone(), entry.name.clone());
        let mut places: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for entry in &self.entries {
            places.entry(key(entry)).or_default().push(format!("{}:{}", entry.file, entry.line));
        }
        for entry in &mut self.entries {
            let places = places.get(&key(entry)).map_or(&[][..], Vec::as_slice);
            if let Outcome::Migrated(summary) = &mut entry.outcome
                && places.len() > 1
            {
                summary.warnings.push(format!(
                    "several manifests describe this workload: {}; migrate those of one cluster at a time",
                    places.join(", ")
                ));
            }
        }
    }

    /// The missing entries, as a map to fill in; empty if none is missing.
    pub(super) fn skeleton(&self) -> String {
        let missing: BTreeSet<&MissingEntry> = self
            .entries
            .iter()
            .filter_map(|entry| match &entry.outcome {
                Outcome::Left { missing, .. } => Some(missing),
                Outcome::Migrated(_) => None,
            })
            .flatten()
            .collect();
        // If a workload needs the keys, the entry with them is enough.
        let has_keys = |namespace: &str, name: &str| {
            missing.iter().any(|other| matches!(other, MissingEntry::Keys { namespace: n, name: o } if n == namespace && o == name))
        };
        let needed = missing.iter().copied().filter(|entry| match entry {
            MissingEntry::Secret { namespace, name } => !has_keys(namespace, name),
            _ => true,
        });
        skeleton(needed)
    }

    /// Writes all entries.
    pub(super) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        for entry in &self.entries {
            entry.write_text(out)?;
        }
        self.write_end(out)
    }

    /// Writes only the workloads that are not migrated.
    pub(super) fn write_left(&self, out: &mut impl Write) -> io::Result<()> {
        for entry in self.left() {
            entry.write_text(out)?;
        }
        self.write_end(out)
    }

    fn write_end(&self, out: &mut impl Write) -> io::Result<()> {
        for other in &self.others {
            other.write_text(out)?;
        }
        for error in &self.errors {
            error.write_text(out)?;
        }
        let skeleton = self.skeleton();
        if !skeleton.is_empty() {
            writeln!(
                out,
                "\nThe map (--map) has to say where these are; fill in:\n\n{}",
                PrintableLines(&skeleton)
            )?;
        }
        let (all, left) = (self.entries.len(), self.left().count());
        let plural = if all == 1 { "" } else { "s" };
        let unreadable = match self.errors.len() {
            0 => String::new(),
            number => format!("; {number} unreadable"),
        };
        writeln!(
            out,
            "\n{STRONG}{all} workload{plural} with secrets: {} migrated, {left} left as they are{unreadable}{STRONG:#}",
            all - left
        )
    }
}

/// Text of several lines, in which line breaks are preserved.
struct PrintableLines<'a>(&'a str);

impl std::fmt::Display for PrintableLines<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.lines().try_for_each(|line| writeln!(f, "{}", Printable(line)))
    }
}

impl Entry {
    /// The name in the notation of `kubectl`: `deployment/billing`.
    pub(super) fn display_name(&self) -> String {
        let name = if self.name.is_empty() { "(no name)" } else { &self.name };
        format!("{}/{}", Printable(&self.kind.to_lowercase()), Printable(name))
    }

    /// Why it is not migrated, one line for each reason.
    pub(super) fn reasons(&self) -> Vec<String> {
        let Outcome::Left { problems, missing } = &self.outcome else { return Vec::new() };
        let missing = missing.iter().map(|missing| match missing {
            MissingEntry::Secret { name, .. } => format!("the map has no entry for the Secret {name}; add one, or pass --path"),
            MissingEntry::Keys { name, .. } => format!(
                "the keys of the Secret {name} are not known; list them under `keys` of its entry in the map, or pass its manifest, too"
            ),
            MissingEntry::Vault(path) => format!("the map has no entry for the Vault path {path}; add one, or pass --vault-path"),
        });
        let mut reasons: Vec<String> = problems.iter().cloned().chain(missing).collect();
        reasons.dedup();
        reasons
    }

    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { file, line, pointer, outcome, rewritten, diff, .. } = self;
        write!(out, "{PLACE}{}:{line}{PLACE:#} ", Printable(file))?;
        if let Some(pointer) = pointer.strip_prefix('/') {
            write!(out, "({pointer}) ")?;
        }
        write!(out, "{}: ", self.display_name())?;
        match outcome {
            Outcome::Left { .. } => {
                writeln!(out, "{REMOVED}left as it is{REMOVED:#}")?;
                for reason in self.reasons() {
                    writeln!(out, "    {REMOVED}problem:{REMOVED:#} {}", Printable(&reason))?;
                }
            }
            Outcome::Migrated(summary) => {
                writeln!(out, "{ADDED}migrated{ADDED:#} ({summary})")?;
                let warnings: BTreeSet<&String> = summary.warnings.iter().collect();
                for warning in warnings {
                    writeln!(out, "    {WARNED}warning:{WARNED:#} {}", Printable(warning))?;
                }
            }
        }
        if let Some(obstacle) = rewritten {
            writeln!(
                out,
                "    {WARNED}warning:{WARNED:#} the document is rewritten, without its comments and layout: {obstacle}"
            )?;
        }
        match diff {
            Some(diff) => diff::write(diff, out),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { files, mount_path, variables, has_sidecar, warnings: _ } = self;
        let number =
            |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let mut parts = Vec::new();
        if let Some(mount_path) = mount_path {
            parts.push(format!("{} in {}", number(*files, "file"), Printable(mount_path)));
        }
        if *variables > 0 {
            parts.push(number(*variables, "variable"));
        }
        parts.push(if *has_sidecar { "sidecar" } else { "init container" }.to_owned());
        f.write_str(&parts.join(", "))
    }
}
