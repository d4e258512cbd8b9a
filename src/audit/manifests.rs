//! The audit of manifests.

use std::path::Path;

use scaivault_audit::{Audit, AuditError, Source};

use super::{
    args::AuditArgs,
    collect::{Collector, Place},
};
use crate::{
    config, document, input,
    manifest_cmd::{namespace_findings, note_namespaces},
    object::objects,
    offline_cluster::OfflineCluster,
    policy::PolicyFiles,
    yaml_stream,
};

/// Audits the manifests that the arguments name.
pub(super) fn audit(args: &AuditArgs) -> anyhow::Result<Audit> {
    let found = input::find(&args.filenames)?;
    let read_for = found.files.iter().map(|path| ("the manifests", path.as_path()));
    let config = args.config.config.as_deref().map(|path| ("--config", path));
    let namespaces = args.namespace_file.as_deref().map(|path| ("--namespace-file", path));
    let policies = args.policies.iter().map(|path| ("--policy", path.as_path()));
    input::stdin_once(read_for.chain(config).chain(namespaces).chain(policies))?;
    let settings = config::read(args.config.config.as_deref())?;
    let mut cluster = OfflineCluster::new(settings, args.kube_version.unwrap_or_default());
    let namespaces = match &args.namespace_file {
        Some(path) => note_namespaces(path, &mut cluster)?,
        None => Vec::new(),
    };
    cluster.policies = PolicyFiles::read(&args.policies)?;
    cluster.now = args.date.now();
    let mut collector = Collector::new(cluster);
    collector.errors.extend(found.errors.iter().map(|error| AuditError {
        what: error.name.clone(),
        message: error.reason.to_string(),
        fix: None,
    }));
    let mut parsed = Vec::new();
    for path in &found.files {
        parse(path, &mut parsed, &mut collector);
    }
    // A workload may come before the namespace and other objects it depends on, also in another
    // file.
    for (value, place) in &parsed {
        for object in objects(value) {
            collector.note(&object, Some(place));
        }
    }
    for (value, place) in &parsed {
        collector.document(value, Some(place));
    }
    for namespace in namespace_findings(namespaces, &collector.namespaces()) {
        collector.given_namespace(namespace);
    }
    let source = Source::Manifests { files: found.files.len() };
    Ok(collector.finish(source, jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
}

fn parse(path: &Path, parsed: &mut Vec<(serde_json::Value, Place)>, collector: &mut Collector) {
    let source = match input::read(path) {
        Ok(source) => source,
        Err(error) => {
            let (what, message) = (error.name, error.reason.to_string());
            collector.errors.push(AuditError { what, message, fix: None });
            return;
        }
    };
    for document in yaml_stream::split(&source.text) {
        match document::parse(&document) {
            Ok(value) => {
                let line = document.content.as_ref().map_or(1, |content| content.line);
                parsed.extend(value.map(|value| (value, Place { file: source.name.clone(), line })));
            }
            Err(error) => collector.errors.push(AuditError {
                what: format!("{}:{}:{}", source.name, error.line, error.column),
                message: error.message,
                fix: error.hint.map(str::to_owned),
            }),
        }
    }
}
