//! Real manifests through the built program: injected, injected again and detached, the laws checked at each step, and
//! each file as it is written injected and detached again, byte for byte.
//!
//! It drives the command line and not the library, so that reading and writing YAML is part of what is proven. The
//! manifests are not kept here; any directory of published ones will do.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{docs::Injector, table};

mod laws;
mod round_trip;
mod variants;

/// What to read, and how to inject.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A directory with manifests (`.yaml`, `.yml`, `.json`), at any depth
    dir: PathBuf,
    /// Passed on to `scaivault-injector inject`, for example `-- --kube-version 1.36`
    #[arg(last = true)]
    inject: Vec<String>,
}

/// Checks every workload with every set of annotations; prints how often what came out, and fails if a law is broken.
pub(crate) fn run(args: &Args) -> Result<()> {
    let injector = Injector::build()?;
    let mut files = Vec::new();
    walk(&args.dir, &mut files)?;
    let mut tally = Tally::default();
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let Ok(documents) = documents(&text) else {
            tally.count("file", "not YAML (a template?)");
            continue;
        };
        for variant in variants::ALL {
            let Some(outcome) = round_trip::check(&injector.program, &args.inject, &text, variant)? else {
                tally.count("file", "without a pod");
                break;
            };
            if !["byte-identical", "untouched"].contains(&outcome.as_str()) && !outcome.starts_with("refused")
            {
                println!("{}: {}: {outcome}", file.display(), variant.name);
            }
            tally.count(&format!("file as written, {}", variant.name), &outcome);
        }
        for document in documents {
            let Some(pointer) = pod_pointer(&document) else {
                tally.count("document", "without a pod");
                continue;
            };
            for variant in variants::ALL {
                let annotated = variant.annotate(document.clone(), pointer);
                let outcome = laws::check(&injector.program, &args.inject, &annotated)?;
                if let laws::Outcome::Broken(law) = &outcome {
                    println!("{}: {} with {}: {law}", file.display(), name(&document), variant.name);
                }
                tally.count(variant.name, &outcome.to_string());
            }
        }
    }
    println!("{}", tally.table());
    match tally.broken() {
        0 => Ok(()),
        broken => bail!("corpus: a law is broken {broken} times"),
    }
}

/// How often what came out, by the set of annotations.
#[derive(Default)]
struct Tally(BTreeMap<(String, String), usize>);

impl Tally {
    fn count(&mut self, what: &str, outcome: &str) {
        *self.0.entry((what.to_owned(), outcome.to_owned())).or_default() += 1;
    }

    fn broken(&self) -> usize {
        let broken = self.0.iter().filter(|((_, outcome), _)| {
            outcome.starts_with(laws::BROKEN) || outcome.starts_with(round_trip::DIFFERS)
        });
        broken.map(|(_, count)| count).sum()
    }

    fn table(&self) -> String {
        let row = |((what, outcome), count): (&(String, String), &usize)| {
            [what.clone(), outcome.clone(), count.to_string()]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        table::render(["annotations", "outcome", "count"], &rows)
    }
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            walk(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
        {
            files.push(path);
        }
    }
    Ok(())
}

fn documents(text: &str) -> Result<Vec<Value>, serde_saphyr::Error> {
    // `defaultMode: 0400` is octal to Kubernetes' tools.
    serde_saphyr::from_multiple_with_options(text, serde_saphyr::options! { legacy_octal_numbers: true })
}

/// Where workloads have their pod.
const POINTERS: &[&str] = &["", "/spec/template", "/spec/jobTemplate/spec/template", "/template"];

/// Where the document has a pod, judged by its shape: which kinds are workloads is the injector's knowledge.
fn pod_pointer(document: &Value) -> Option<&'static str> {
    POINTERS.iter().copied().find(|pointer| {
        let pod = document.pointer(pointer);
        pod.and_then(|pod| pod.pointer("/spec/containers")).is_some_and(Value::is_array)
    })
}

fn name(document: &Value) -> String {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    format!("{} {}", text("/kind"), text("/metadata/name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_known_by_their_shape() -> Result<()> {
        let text = "\
kind: Pod
spec: {containers: []}
---
kind: Deployment
spec: {template: {spec: {containers: []}}}
---
kind: CronJob
spec: {jobTemplate: {spec: {template: {spec: {containers: []}}}}}
---
kind: Service
spec: {ports: []}
";
        let pointers: Vec<_> = documents(text)?.iter().map(pod_pointer).collect();
        assert_eq!(
            pointers,
            [Some(""), Some("/spec/template"), Some("/spec/jobTemplate/spec/template"), None]
        );
        Ok(())
    }

    #[test]
    fn modes_are_octal() -> Result<()> {
        assert_eq!(documents("defaultMode: 0400\n")?[0]["defaultMode"], 256);
        Ok(())
    }

    #[test]
    fn broken_laws_are_counted() {
        let mut tally = Tally::default();
        tally.count("init", "injected");
        tally.count("init", &laws::Outcome::Broken("no".into()).to_string());
        tally.count("init", &laws::Outcome::Broken("yes".into()).to_string());
        assert_eq!(tally.broken(), 2);
    }
}
