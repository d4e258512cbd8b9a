//! `inject`, `detach` and `check`: manifests in, manifests and a report out.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use scaivault_inject::{Context, Decision, PodView};
use serde_json::{Value, json};

use crate::{
    args::{CheckArgs, DetachArgs, InjectArgs, LayerArgs, ManifestOutput, ReportOutput},
    config, diff,
    document::{self, emit_yaml},
    input::{self, Source},
    object::objects,
    output::{self, PROBLEMS, UNREADABLE},
    report::{Entry, Report, Unreadable},
    surroundings::Surroundings,
    treatment::{Treated, Verb, treat},
    yaml_stream::{self, Document},
};

/// From this many files on, a bar shows how far the work is.
const FILES_WORTH_A_BAR: usize = 16;

/// Runs `inject`.
pub(crate) fn inject(args: &InjectArgs) -> anyhow::Result<ExitCode> {
    let InjectArgs {
        files,
        layers,
        output,
        diff,
        explain,
    } = args;
    let job = Job {
        verb: Verb::Inject,
        with_diff: *diff,
        with_settings: *explain,
    };
    let worked = job.run(&files.filenames, surroundings(layers)?)?;
    worked.write_manifests(*output)
}

/// Runs `detach`.
pub(crate) fn detach(args: &DetachArgs) -> anyhow::Result<ExitCode> {
    let DetachArgs {
        files,
        by_name,
        output,
        diff,
    } = args;
    let job = Job {
        verb: if *by_name {
            Verb::DetachByName
        } else {
            Verb::Detach
        },
        with_diff: *diff,
        with_settings: false,
    };
    let surroundings = Surroundings::new(config::read(None)?, scaivault_inject::KubeVersion::default());
    let worked = job.run(&files.filenames, surroundings)?;
    worked.write_manifests(*output)
}

/// Runs `check`.
pub(crate) fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let CheckArgs {
        files,
        layers,
        output,
        diff,
        explain,
    } = args;
    let job = Job {
        verb: Verb::Inject,
        with_diff: *diff,
        with_settings: *explain,
    };
    let worked = job.run(&files.filenames, surroundings(layers)?)?;
    worked.write_report(*output)
}

fn surroundings(layers: &LayerArgs) -> anyhow::Result<Surroundings> {
    let LayerArgs {
        config,
        namespace_file,
        kube_version,
    } = layers;
    let mut surroundings = Surroundings::new(config::read(config.as_deref())?, *kube_version);
    if let Some(path) = namespace_file {
        note_namespaces(path, &mut surroundings)?;
    }
    Ok(surroundings)
}

fn note_namespaces(path: &Path, surroundings: &mut Surroundings) -> anyhow::Result<()> {
    let source = input::read(path)?;
    let mut found = false;
    for document in yaml_stream::split(&source.text) {
        let value = document::parse(&document)
            .with_context(|| source.name.clone())?
            .unwrap_or_default();
        for object in objects(&value) {
            found |= surroundings.note_namespace(&object);
        }
    }
    ensure!(
        found,
        "{}: no manifest of kind Namespace: write one with `kubectl get namespace NAME -o yaml`",
        source.name
    );
    Ok(())
}

/// What is to be done, and what is to be shown of it.
struct Job {
    verb: Verb,
    with_diff: bool,
    with_settings: bool,
}

/// What came out.
#[derive(Default)]
struct Worked {
    report: Report,
    /// The resulting text of each source.
    streams: Vec<String>,
    /// The resulting value of each document.
    values: Vec<Value>,
}

impl Job {
    fn run(&self, arguments: &[PathBuf], mut surroundings: Surroundings) -> anyhow::Result<Worked> {
        let paths = input::find(arguments)?;
        let bar = progress(paths.len());
        let mut sources = Vec::with_capacity(paths.len());
        for path in bar.wrap_iter(paths.iter()) {
            sources.push(input::read(path)?);
        }
        let mut worked = Worked::default();
        let mut parsed = Vec::with_capacity(sources.len());
        for source in &sources {
            parsed.push(parse(source, &mut worked.report));
        }
        // A workload may stand before its service account, and in another file.
        for (_, value) in parsed.iter().flatten() {
            for object in objects(value) {
                surroundings.note_service_account(&object);
            }
        }
        for (source, documents) in sources.iter().zip(parsed) {
            let mut stream = String::with_capacity(source.text.len());
            for (document, value) in documents {
                self.work(source, &document, value, &surroundings, &mut worked, &mut stream)?;
            }
            worked.streams.push(stream);
        }
        Ok(worked)
    }

    /// Treats one document: its text goes to `stream`, its value and entries to `worked`.
    fn work(
        &self,
        source: &Source,
        document: &Document<'_>,
        value: Value,
        surroundings: &Surroundings,
        worked: &mut Worked,
        stream: &mut String,
    ) -> anyhow::Result<()> {
        let Some(content) = &document.content else {
            stream.push_str(document.text);
            return Ok(());
        };
        let place = || format!("{}:{}", source.name, content.line);
        let (treated, changed) =
            treat(&value, self.verb, surroundings, self.with_settings, self.decide()).with_context(place)?;

        let entry = |treated, diff| Entry {
            file: source.name.clone(),
            line: content.line,
            treated,
            diff,
        };
        if treated.is_empty() {
            worked.report.entries.push(entry(None, None));
        }
        for treated in treated {
            let diff = match &changed {
                Some(changed) if self.with_diff => {
                    object_diff(&treated, &value, changed).with_context(place)?
                }
                _ => None,
            };
            worked.report.entries.push(entry(Some(treated), diff));
        }
        match changed {
            Some(changed) => {
                let text = document::emit(&changed, document).with_context(place)?;
                stream.push_str(&document.with_content(&text));
                worked.values.push(changed);
            }
            None => {
                stream.push_str(document.text);
                worked.values.push(value);
            }
        }
        Ok(())
    }

    fn decide(&self) -> impl Fn(&PodView<'_>, &Context<'_>) -> Decision {
        let by_name = self.verb == Verb::DetachByName;
        move |pod, context| {
            if by_name {
                scaivault_inject::detach_by_name(pod)
            } else {
                scaivault_inject::decide(pod, context)
            }
        }
    }
}

/// Reads all documents of a source. What cannot be read is noted and left out.
fn parse<'a>(source: &'a Source, report: &mut Report) -> Vec<(Document<'a>, Value)> {
    let mut parsed = Vec::new();
    for document in yaml_stream::split(&source.text) {
        match document::parse(&document) {
            Ok(value) => parsed.push((document, value.unwrap_or_default())),
            Err(error) => report.errors.push(Unreadable {
                file: source.name.clone(),
                line: error.line,
                column: error.column,
                message: error.message,
                hint: error.hint,
            }),
        }
    }
    parsed
}

fn object_diff(treated: &Treated, before: &Value, after: &Value) -> anyhow::Result<Option<String>> {
    let (Some(before), Some(after)) = (before.pointer(&treated.pointer), after.pointer(&treated.pointer))
    else {
        return Ok(None);
    };
    // Both as this program writes them: what only the format does is no change.
    let (before, after) = (emit_yaml(before)?, emit_yaml(after)?);
    Ok((before != after).then(|| diff::unified(&before, &after, &treated.display_name())))
}

impl Worked {
    /// The manifests to standard output, the report to standard error. Nothing goes to standard output if a
    /// document must not be applied: a pipe into `kubectl apply` does not see the exit code.
    fn write_manifests(&self, output: ManifestOutput) -> anyhow::Result<ExitCode> {
        if output == ManifestOutput::Report {
            return self.write_report(ReportOutput::Report);
        }
        let withheld = self.report.has_refusals() || !self.report.errors.is_empty();
        if !withheld {
            match output {
                ManifestOutput::Json => output::write_stdout(self.list()?.as_bytes())?,
                ManifestOutput::Yaml | ManifestOutput::Report => {
                    output::write_stdout(yaml_stream::join(&self.streams).as_bytes())?;
                }
            }
        }
        let mut stderr = output::stderr();
        self.report.write_text(&mut stderr)?;
        if withheld {
            writeln!(
                stderr,
                "nothing is written to standard output until this is mended"
            )?;
        }
        Ok(self.exit_code())
    }

    fn write_report(&self, output: ReportOutput) -> anyhow::Result<ExitCode> {
        let mut stdout = output::stdout();
        match output {
            ReportOutput::Report => self.report.write_text(&mut stdout)?,
            ReportOutput::Json => stdout.write_all(self.report.to_json()?.as_bytes())?,
        }
        stdout.flush()?;
        Ok(self.exit_code())
    }

    /// All objects as one `List`, whatever the number, so that a script has one case.
    fn list(&self) -> Result<String, serde_json::Error> {
        let items: Vec<&Value> = self
            .values
            .iter()
            .flat_map(objects)
            .map(|object| object.value)
            .collect();
        let mut list =
            serde_json::to_string_pretty(&json!({"apiVersion": "v1", "kind": "List", "items": items}))?;
        list.push('\n');
        Ok(list)
    }

    fn exit_code(&self) -> ExitCode {
        if !self.report.errors.is_empty() {
            ExitCode::from(UNREADABLE)
        } else if self.report.has_problems() {
            ExitCode::from(PROBLEMS)
        } else {
            ExitCode::SUCCESS
        }
    }
}

/// A bar on standard error, if that is a terminal and the work may take a while.
fn progress(files: usize) -> ProgressBar {
    if files < FILES_WORTH_A_BAR {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:30} {pos}/{len} files").expect("the template is well-formed");
    ProgressBar::new(files as u64).with_style(style)
}
