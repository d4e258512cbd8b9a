//! `inject`, `detach` and `check`: manifests in, manifests and a report out.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{anyhow, ensure};
use scaivault_inject::KubeVersion;

use crate::{
    args::{CheckArgs, ClusterArgs, DetachArgs, InjectArgs, LayerArgs, ManifestOutput, ReportOutput},
    config, document,
    evaluate::{Action, evaluate_namespace},
    input::{self, InputFiles, UsageError},
    object::objects,
    offline_cluster::OfflineCluster,
    output::{self, PROBLEMS, until_closed},
    policy::PolicyFiles,
    report::{Entry, Report},
    yaml_stream,
};

use self::job::{Job, Product, Results};

mod job;

/// Runs `inject`.
pub(crate) fn inject(args: &InjectArgs) -> anyhow::Result<ExitCode> {
    let InjectArgs { files, layers, output, diff, explain } = args;
    let product = product(*output);
    let job =
        Job { action: Action::Inject, with_diff: *diff, with_settings: *explain, with_csi: false, product };
    let found = find(&files.filenames, Some(layers))?;
    let (cluster, namespaces) = cluster(layers)?;
    let mut results = job.run(&found, cluster)?;
    report_namespaces(namespaces, &mut results.report);
    write_manifests(&results, *output)
}

/// Runs `detach`.
pub(crate) fn detach(args: &DetachArgs) -> anyhow::Result<ExitCode> {
    let DetachArgs { files, by_name, output, diff } = args;
    let job = Job {
        action: if *by_name { Action::DetachByName } else { Action::Detach },
        with_diff: *diff,
        with_settings: false,
        with_csi: false,
        product: product(*output),
    };
    let cluster = OfflineCluster::new(config::read(None)?, KubeVersion::default());
    let results = job.run(&find(&files.filenames, None)?, cluster)?;
    write_manifests(&results, *output)
}

/// Runs `check`.
pub(crate) fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let CheckArgs { files, layers, output, diff, explain, deny_warnings } = args;
    let product = Product::None;
    let job =
        Job { action: Action::Inject, with_diff: *diff, with_settings: *explain, with_csi: true, product };
    let found = find(&files.filenames, Some(layers))?;
    let (cluster, namespaces) = cluster(layers)?;
    let mut results = job.run(&found, cluster)?;
    report_namespaces(namespaces, &mut results.report);
    let code = write_report(&results.report, *output)?;
    let is_denied = *deny_warnings && results.report.has_warnings();
    Ok(if code == ExitCode::SUCCESS && is_denied { ExitCode::from(PROBLEMS) } else { code })
}

fn product(output: ManifestOutput) -> Product {
    match output {
        ManifestOutput::Yaml => Product::Text,
        ManifestOutput::Json => Product::Values,
        ManifestOutput::Report => Product::None,
    }
}

/// Finds the manifests and rejects repeated use of standard input before anything is read.
pub(crate) fn find(filenames: &[PathBuf], layers: Option<&LayerArgs>) -> Result<InputFiles, UsageError> {
    let found = input::find(filenames)?;
    let manifests = found.files.iter().map(|path| ("the manifests", path));
    let layers = layers.into_iter().flat_map(|layers| {
        let LayerArgs { cluster, namespace_file, policies, date: _ } = layers;
        let files = [("--config", &cluster.config.config), ("--namespace-file", namespace_file)];
        let files = files.into_iter().filter_map(|(flag, path)| Some((flag, path.as_ref()?)));
        files.chain(policies.iter().map(|path| ("--policy", path)))
    });
    input::stdin_once(manifests.chain(layers).map(|(purpose, path)| (purpose, path.as_path())))?;
    Ok(found)
}

/// The simulated cluster according to the arguments, and the findings about the namespaces of
/// `--namespace-file`.
pub(crate) fn cluster(layers: &LayerArgs) -> anyhow::Result<(OfflineCluster, Vec<Entry>)> {
    let LayerArgs { cluster: ClusterArgs { config, kube_version }, namespace_file, policies, date } = layers;
    let mut cluster = OfflineCluster::new(config::read(config.config.as_deref())?, kube_version.kube_version);
    let namespaces = match namespace_file {
        Some(path) => note_namespaces(path, &mut cluster)?,
        None => Vec::new(),
    };
    cluster.policies = PolicyFiles::read(policies)?;
    cluster.now = date.now();
    Ok((cluster, namespaces))
}

/// Records the namespaces of a file, and returns each as an entry of a report.
pub(crate) fn note_namespaces(path: &Path, cluster: &mut OfflineCluster) -> anyhow::Result<Vec<Entry>> {
    let source = input::read(path)?;
    let mut entries: Vec<Entry> = Vec::new();
    for document in yaml_stream::split(&source.text) {
        let value = document::parse(&document)
            .map_err(|error| anyhow!("{}:{}:{}: {error}", source.name, error.line, error.column))?
            .unwrap_or_default();
        for object in objects(&value) {
            if cluster.give_namespace(&object) {
                let line = document.content.as_ref().map_or(document.line, |content| content.line);
                let place = format!("{}:{line}", source.name);
                let name = object.name();
                ensure!(!name.is_empty(), "{place}: metadata.name: is required; write the namespace's name");
                ensure!(
                    entries.iter().all(|entry| entry.result.name != name),
                    "{place}: the namespace {name} is in this file twice; remove one of the two"
                );
                entries.push(Entry {
                    file: source.name.clone(),
                    line,
                    result: evaluate_namespace(&object, cluster),
                    rewritten: None,
                    diff: None,
                });
            }
        }
    }
    ensure!(
        !entries.is_empty(),
        "{}: no manifest of kind Namespace: write one with `kubectl get namespace NAME -o yaml`",
        source.name
    );
    Ok(entries)
}

/// Adds the namespaces of `--namespace-file` that have findings before the manifests.
fn report_namespaces(namespaces: Vec<Entry>, report: &mut Report) {
    let pods = report.entries.iter().map(|entry| &entry.result).filter(|result| result.has_pod());
    let used = pods.map(|result| result.namespace.clone()).collect();
    report.entries.splice(..0, namespace_findings(namespaces, &used));
}

/// The namespaces of `--namespace-file` that have problems or warnings. `used` contains the
/// namespaces of all workloads, with an empty name for manifests without one.
pub(crate) fn namespace_findings(mut namespaces: Vec<Entry>, used: &BTreeSet<String>) -> Vec<Entry> {
    let is_used = |namespace: &Entry| {
        used.contains(&namespace.result.name) || namespaces.len() == 1 && used.contains("")
    };
    let is_unused = !used.is_empty() && !namespaces.iter().any(is_used);
    if is_unused && let Some(first) = namespaces.first_mut() {
        first
            .result
            .warnings
            .push("no workload among the manifests is in a namespace of this file".to_owned());
    }
    namespaces.retain(|entry| entry.result.has_findings());
    namespaces
}

/// Writes the manifests to standard output and the report to standard error. Nothing is written to
/// standard output if a document must not be applied, because a pipe into `kubectl apply` does not
/// see the exit code.
fn write_manifests(results: &Results, output: ManifestOutput) -> anyhow::Result<ExitCode> {
    let report = &results.report;
    let withheld = report.has_refusals() || !report.errors.is_empty();
    match output {
        ManifestOutput::Report => return write_report(report, ReportOutput::Report),
        _ if withheld => {}
        ManifestOutput::Json => until_closed(output::write_stdout(results.json()?.as_bytes()))?,
        ManifestOutput::Yaml => {
            until_closed(output::write_stdout(yaml_stream::join(&results.streams).as_bytes()))?;
        }
    }
    until_closed(write_findings(report, withheld))?;
    Ok(output::exit_code(!report.errors.is_empty(), report.has_problems()))
}

fn write_findings(report: &Report, withheld: bool) -> io::Result<()> {
    let mut stderr = output::stderr();
    report.write_text(&mut stderr)?;
    if withheld {
        writeln!(stderr, "nothing is written to standard output until the problems are fixed")?;
    }
    Ok(())
}

fn write_report(report: &Report, output: ReportOutput) -> anyhow::Result<ExitCode> {
    let mut stdout = output::stdout();
    let written = match output {
        ReportOutput::Report => report.write_text(&mut stdout),
        ReportOutput::Json => stdout.write_all(report.to_json()?.as_bytes()),
    };
    until_closed(written.and_then(|()| stdout.flush()))?;
    Ok(output::exit_code(!report.errors.is_empty(), report.has_problems()))
}
