//! The text formats, written by the built agent and read by the programs they are for: everything
//! that the agent writes is read unchanged by each of them, and what one of them cannot read is
//! rejected.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod cases;
mod readers;
#[path = "../support/mod.rs"]
mod support;

use cases::{Case, FORMATS, cases};
use readers::{File, Reader, readers};
use serde_json::{Map, Value};
use support::{Pod, skipped};

#[tokio::test]
async fn every_reader_parses_the_secrets_values() {
    let pod = Pod::new().await;
    let cases = cases();
    let mut entries = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let path = format!("app/case{index}");
        pod.vault.write(&path.parse().unwrap(), case.data.clone());
        for format in FORMATS {
            entries.push((format!("{path} -> {}", target(&pod, index, format)), format));
        }
    }
    let lines = entries.iter().map(|(entry, format)| format!("{entry} format={format}"));
    let mapping = lines.collect::<Vec<_>>().join("\n");
    let ended = pod.run("init", &[("SECRETS", &mapping), ("FAIL_OPEN", "true")]).await;
    ended.check(0, &[]);

    let mut mistakes = Vec::new();
    for (format, index, case) in
        FORMATS.iter().flat_map(|format| cases.iter().enumerate().map(move |(i, case)| (*format, i, case)))
    {
        let is_written = pod.path(&target_name(index, format)).exists();
        if is_written == case.is_refused_by(format) {
            let what = if is_written { "is written" } else { "is refused" };
            mistakes.push(format!("format={format} {what}: {}", shortened(&case.data)));
        }
    }
    for reader in readers() {
        let files = written(&pod, &cases, &reader);
        match reader.read(&files) {
            None => skipped(&format!("no {}: {}", reader.name, reader.fix)),
            Some(read) => {
                assert_eq!(read.len(), files.len(), "{}", reader.name);
                for (file, read) in files.iter().zip(read) {
                    if read.as_ref() != Some(&file.data) {
                        let (expected, read) =
                            (shortened(&file.data), read.map(|read| shortened(&read)).unwrap_or_default());
                        mistakes.push(format!(
                            "{} reads format={}: {read}, not {expected}",
                            reader.name, reader.format
                        ));
                    }
                }
            }
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

fn target_name(index: usize, format: &str) -> String {
    format!("secrets/{format}{index}")
}

fn target(pod: &Pod, index: usize, format: &str) -> String {
    pod.path(&target_name(index, format)).display().to_string()
}

fn written(pod: &Pod, cases: &[Case], reader: &Reader) -> Vec<File> {
    let file = |(index, case): (usize, &Case)| {
        let path = pod.path(&target_name(index, reader.format));
        let data = if reader.is_typed { case.data.clone() } else { case.texts() };
        path.exists().then_some(File { path, data })
    };
    cases.iter().enumerate().filter_map(file).collect()
}

fn shortened(data: &Map<String, Value>) -> String {
    Value::from(data.clone()).to_string().chars().take(120).collect()
}
