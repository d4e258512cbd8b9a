//! Runs real manifests through the built program: each workload is injected, injected again and
//! detached, and each file is injected and detached unchanged, byte for byte.
//!
//! It runs the program instead of the library, so that parsing and writing YAML is tested too. The
//! manifests are those of this repository, or those below the directory in the variable `CORPUS`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod laws;
#[allow(dead_code, reason = "this test uses a part of it")]
#[path = "../cli/program.rs"]
mod program;
mod round_trip;
mod variants;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// The manifests of this repository.
const OWN: [&str; 2] = ["examples", "tests/manifests"];
/// The Kubernetes release for which the manifests are injected: one that supports environment
/// variables from files.
const INJECT: [&str; 5] = ["inject", "--kube-version", "1.35", "-f", "-"];
const DETACH: [&str; 3] = ["detach", "-f", "-"];

#[test]
fn detaching_restores_the_manifests() {
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for file in files() {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let Ok(documents) = documents(&text) else {
            tally.count("file", "not YAML (a template?)");
            continue;
        };
        for variant in variants::ALL {
            let Some(outcome) = round_trip::check(&text, variant) else {
                tally.count("file", "without a pod");
                break;
            };
            if outcome.starts_with(round_trip::DIFFERS) {
                failures.push(format!("{}: {}: {outcome}", file.display(), variant.name));
            }
            tally.count(&format!("file as written, {}", variant.name), &outcome);
        }
        for document in documents {
            let Some(pointer) = pod_pointer(&document) else {
                tally.count("document", "without a pod");
                continue;
            };
            for variant in variants::ALL {
                let outcome = laws::check(&variant.annotate(document.clone(), pointer));
                if let laws::Outcome::Broken(law) = &outcome {
                    let name = name(&document);
                    failures.push(format!("{}: {name} with {}: {law}", file.display(), variant.name));
                }
                tally.count(variant.name, &outcome.to_string());
            }
        }
    }
    println!("{}", tally.table());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let injected = laws::Outcome::Injected.to_string();
    assert!(tally.0.keys().any(|(_, outcome)| *outcome == injected), "no manifest was injected");
}

/// The number of documents by outcome and set of annotations.
#[derive(Default)]
struct Tally(BTreeMap<(String, String), usize>);

impl Tally {
    fn count(&mut self, what: &str, outcome: &str) {
        *self.0.entry((what.to_owned(), outcome.to_owned())).or_default() += 1;
    }

    fn table(&self) -> String {
        let row = |((what, outcome), count): (&(String, String), &usize)| {
            format!("{what:<36}  {count:>5}  {outcome}\n")
        };
        self.0.iter().map(row).collect()
    }
}

/// All manifests: `.yaml`, `.yml` and `.json`, at any depth.
#[expect(clippy::disallowed_methods, reason = "a variable for the person who runs the test")]
fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    match std::env::var_os("CORPUS") {
        Some(directory) => walk(&root.join(directory), &mut files),
        None => OWN.iter().for_each(|directory| walk(&root.join(directory), &mut files)),
    }
    files
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            walk(&path, files);
        } else if path
            .extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
        {
            files.push(path);
        }
    }
}

fn documents(text: &str) -> Result<Vec<Value>, serde_saphyr::Error> {
    // Kubernetes' tools read `defaultMode: 0400` as octal.
    serde_saphyr::from_multiple_with_options(text, serde_saphyr::options! { legacy_octal_numbers: true })
}

/// The pointers at which workloads have their pod.
const POINTERS: &[&str] = &["", "/spec/template", "/spec/jobTemplate/spec/template", "/template"];

/// The pointer to a document's pod, found by its shape: only the injector knows which kinds are
/// workloads.
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
