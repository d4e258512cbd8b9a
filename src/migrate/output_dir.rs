//! Writes the result to a directory: manifests before and after, the batches, and the plan.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, bail};

use super::{
    plan::{Plan, markdown},
    work::Migration,
};
use crate::document::emit_yaml;

/// Rejects a directory that is not empty: an earlier result may be needed for a rollback.
pub(super) fn check_is_empty(directory: &Path) -> anyhow::Result<()> {
    match fs::read_dir(directory) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                bail!(
                    "--output-dir {}: the directory is not empty, and an earlier result in it may be needed to go back; name another one",
                    directory.display()
                );
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("--output-dir {}", directory.display())),
    }
}

/// Writes everything.
pub(super) fn write(directory: &Path, migration: &Migration, plan: &Plan) -> anyhow::Result<()> {
    let mut names = Vec::new();
    for file in &migration.files {
        names.push(unique(relative(&file.name), &names));
    }
    let common = common_directory(&names);
    for (file, name) in migration.files.iter().zip(&names) {
        let name = name.strip_prefix(&common).unwrap_or(name);
        write_file(&directory.join("original").join(name), &file.original)?;
        write_file(&directory.join("manifests").join(name), &file.migrated)?;
    }
    for batch in &plan.batches {
        let batch_directory = directory.join(format!("batches/{:02}", batch.number));
        let mut jobs = String::new();
        for planned in &batch.workloads {
            let workload = &migration.workloads[planned.index];
            write_file(&batch_directory.join("apply").join(&planned.file), &workload.migrated)?;
            write_file(&batch_directory.join("rollback").join(&planned.file), &workload.original)?;
            if let Some(job) = &workload.job {
                jobs.push_str("---\n");
                jobs.push_str(&emit_yaml(job)?);
            }
        }
        if !jobs.is_empty() {
            write_file(&batch_directory.join("verify.yaml"), &jobs)?;
        }
    }
    let skeleton = migration.report.skeleton();
    if !skeleton.is_empty() {
        write_file(&directory.join("missing-in-map.yaml"), &skeleton)?;
    }
    let mut json = serde_json::to_string_pretty(plan)?;
    json.push('\n');
    write_file(&directory.join("plan.json"), &json)?;
    write_file(&directory.join("plan.md"), &markdown(plan))
}

fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// A file's name without components that lead out of the directory.
fn relative(name: &str) -> PathBuf {
    let normal = Path::new(name).components().filter(|part| matches!(part, Component::Normal(_)));
    let path: PathBuf = normal.collect();
    if path.extension().is_none() { path.with_extension("yaml") } else { path }
}

/// The name, or a similar one that is not taken: `../a.yaml` and `a.yaml` are two files.
fn unique(name: PathBuf, taken: &[PathBuf]) -> PathBuf {
    if !taken.contains(&name) {
        return name;
    }
    let last = name.file_name().unwrap_or_default().display().to_string();
    let mut numbered = (2..).map(|number| name.with_file_name(format!("{number}-{last}")));
    numbered.find(|name| !taken.contains(name)).unwrap_or(name)
}

/// The common directory of all these files.
fn common_directory(names: &[PathBuf]) -> PathBuf {
    let mut parents = names.iter().map(|name| name.parent().unwrap_or(Path::new("")).to_owned());
    let Some(first) = parents.next() else { return PathBuf::new() };
    parents.fold(first, |common, parent| {
        let pairs = common.components().zip(parent.components());
        pairs.take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
    })
}
