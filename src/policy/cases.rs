//! `policy test`: compares the expectations of test cases with the actual decisions on their pods.

mod outcome;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use scaivault_audit::Printable;
use scaivault_contract::Excerpt;
use scaivault_inject::{Context, KubeVersion, Namespace, PolicySet, Settings};
use scaivault_policy::{Case, KIND, PolicyTest, TEST_KIND, TestNamespace};
use serde::Serialize;

use self::outcome::Outcome;
use super::files::{PolicyFiles, is_policy, parse_mistake};
use crate::{
    args::{ClusterArgs, PolicyTestArgs, ReportOutput},
    config, diff,
    document::{self, emit_yaml},
    edit::Places,
    input::{self, Source},
    object::{Object, objects},
    offline_cluster::named_label,
    output::{self, ADDED, PLACE, PROBLEMS, REMOVED, STRONG, until_closed},
    yaml_stream,
};

/// Runs `policy test`.
pub(super) fn run(args: &PolicyTestArgs) -> anyhow::Result<ExitCode> {
    let PolicyTestArgs { files, cluster: ClusterArgs { config, kube_version }, date, output } = args;
    let cluster = Cluster {
        settings: config::read(config.config.as_deref())?,
        kube_version: kube_version.kube_version,
        now: date.now(),
    };
    let found = input::find(files)?;
    if let Some(error) = found.errors.into_iter().next() {
        return Err(error.into());
    }
    let mut results = Results::default();
    for path in &found.files {
        results.run_file(path, &cluster)?;
    }
    if results.cases.is_empty() && results.mistakes.is_empty() {
        bail!("no {TEST_KIND} is in these files; `scaivault-injector policy test --help` shows one");
    }
    match output {
        ReportOutput::Report => until_closed(results.write_text(&mut output::stdout()))?,
        ReportOutput::Json => until_closed(output::write_stdout(results.json()?.as_bytes()))?,
    }
    Ok(if results.has_failed() { ExitCode::from(PROBLEMS) } else { ExitCode::SUCCESS })
}

/// The settings that all cases share.
struct Cluster {
    settings: Settings,
    kube_version: KubeVersion,
    now: i64,
}

/// The cases of all files.
#[derive(Default, Serialize)]
struct Results {
    cases: Vec<CaseResult>,
    /// Policies and tests that cannot be used, one line each.
    mistakes: Vec<String>,
}

/// One case.
#[derive(Serialize)]
struct CaseResult {
    file: String,
    /// The line at which it starts, from 1.
    line: usize,
    name: String,
    passed: bool,
    /// The difference between expected and actual result.
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
}

impl Results {
    fn run_file(&mut self, path: &Path, cluster: &Cluster) -> anyhow::Result<()> {
        let source = input::read(path)?;
        for document in yaml_stream::split(&source.text) {
            let Some(content) = &document.content else { continue };
            let value = match document::parse(&document) {
                Ok(value) => value.unwrap_or_default(),
                Err(error) => {
                    self.add_mistakes([parse_mistake(&source, &error)]);
                    continue;
                }
            };
            let places = Places::parse(&document);
            for object in objects(&value) {
                let place = Place {
                    path,
                    source: &source,
                    line: content.line,
                    places: places.as_ref(),
                    object: &object.pointer,
                };
                self.run_object(&object, &place, cluster)?;
            }
        }
        Ok(())
    }

    fn run_object(
        &mut self,
        object: &Object<'_>,
        place: &Place<'_>,
        cluster: &Cluster,
    ) -> anyhow::Result<()> {
        if object.value["kind"] == TEST_KIND || object.kind == TEST_KIND {
            match PolicyTest::read(&object.standalone()) {
                Ok(test) => self.run_test(&test, place, cluster)?,
                Err(problems) => {
                    let named =
                        problems.iter().map(|problem| format!("{}: {problem}", place.at(&problem.field)));
                    self.add_mistakes(named);
                }
            }
        } else if is_policy(object) && object.kind != KIND {
            // A misspelt kind: its cases would otherwise be skipped silently.
            let kind = Excerpt::new(object.kind);
            let place = place.at("kind");
            self.add_mistakes([format!("{place}: kind: expected {TEST_KIND} or {KIND}, found {kind}")]);
        }
        Ok(())
    }

    /// Policies of several tests are read for each of them, but their mistakes are reported once.
    fn add_mistakes(&mut self, mistakes: impl IntoIterator<Item = String>) {
        for mistake in mistakes {
            if !self.mistakes.contains(&mistake) {
                self.mistakes.push(mistake);
            }
        }
    }

    fn run_test(&mut self, test: &PolicyTest, place: &Place<'_>, cluster: &Cluster) -> anyhow::Result<()> {
        let PolicyTest { policies, namespaces, kube_version, cases } = test;
        let mut files = PolicyFiles::default();
        files.is_read(place.path);
        files.add_source(place.source);
        for policy in policies {
            files.add_path(&place.sibling(policy))?;
        }
        if files.count() == 0 {
            bail!("{place}: no policy to test; name its file under policies, or write it into this file");
        }
        if !files.mistakes.is_empty() {
            self.add_mistakes(files.mistakes);
            return Ok(());
        }
        let kube_version = match kube_version {
            Some(version) => version.parse().with_context(|| format!("{place}: kubeVersion"))?,
            None => cluster.kube_version,
        };
        let world = World { cluster, kube_version, policies: files.into_set(), namespaces };
        for (index, case) in cases.iter().enumerate() {
            self.cases.push(world.run(case, &place.at(&format!("cases[{index}]")))?);
        }
        Ok(())
    }

    fn has_failed(&self) -> bool {
        !self.mistakes.is_empty() || self.cases.iter().any(|case| !case.passed)
    }

    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        for CaseResult { file, line, name, passed, diff } in &self.cases {
            let (style, word) = if *passed { (ADDED, "passed") } else { (REMOVED, "failed") };
            let place = format!("{}:{line}", Printable(file));
            writeln!(out, "{PLACE}{place}{PLACE:#} {}: {style}{word}{style:#}", Printable(name))?;
            if let Some(diff) = diff {
                diff::write(diff, out)?;
            }
        }
        for mistake in &self.mistakes {
            writeln!(out, "{REMOVED}problem:{REMOVED:#} {}", Printable(mistake))?;
        }
        writeln!(out, "\n{STRONG}{}{STRONG:#}", self.summary())
    }

    fn summary(&self) -> String {
        let passed = self.cases.iter().filter(|case| case.passed).count();
        let (all, failed) = (self.cases.len(), self.cases.len() - passed);
        let problems = match self.mistakes.len() {
            0 => String::new(),
            1 => "; 1 problem".to_owned(),
            number => format!("; {number} problems"),
        };
        format!("{all} case{}: {passed} passed, {failed} failed{problems}", if all == 1 { "" } else { "s" })
    }

    fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|json| format!("{json}\n"))
    }
}

/// The location of a test, or of a part of it.
#[derive(Clone)]
struct Place<'a> {
    path: &'a Path,
    source: &'a Source,
    line: usize,
    places: Option<&'a Places<'a>>,
    /// RFC 6901 pointer to the test in its document.
    object: &'a str,
}

impl Place<'_> {
    /// The location of a field of the test.
    fn at(&self, field: &str) -> Self {
        let line = self.places.and_then(|places| places.field(self.object, field));
        Self { line: line.unwrap_or(self.line), ..self.clone() }
    }

    /// Resolves a path in the test relative to the test file.
    fn sibling(&self, path: &str) -> PathBuf {
        self.path.parent().map_or_else(|| PathBuf::from(path), |directory| directory.join(path))
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.source.name, self.line)
    }
}

/// The settings that the cases of one test share.
struct World<'a> {
    cluster: &'a Cluster,
    kube_version: KubeVersion,
    policies: PolicySet,
    namespaces: &'a [TestNamespace],
}

impl World<'_> {
    fn run(&self, case: &Case, place: &Place<'_>) -> anyhow::Result<CaseResult> {
        let namespace = self.namespace(case.namespace.as_deref().unwrap_or_default());
        let now = case.date.map_or(self.cluster.now, scaivault_policy::Date::start);
        let context = Context::new(&self.cluster.settings, &namespace, self.kube_version)
            .with_policies(&self.policies, now)
            .with_service_account_role(case.service_account_role.as_deref());
        let outcome =
            Outcome::of_pod(&case.pod, &context).with_context(|| format!("{place}: {}", case.name))?;
        let [expected, actual] = outcome.compare(&case.expect);
        let passed = expected == actual;
        let diff = if passed {
            None
        } else {
            let (expected, actual) = (emit_yaml(&expected)?, emit_yaml(&actual)?);
            Some(diff::named(&expected, &actual, ["expected", "actual"]))
        };
        let (file, name) = (place.source.name.clone(), case.name.clone());
        Ok(CaseResult { file, line: place.line, name, passed, diff })
    }

    fn namespace(&self, name: &str) -> Namespace {
        let known = self.namespaces.iter().find(|namespace| namespace.name == name);
        let (mut labels, annotations) =
            known.map(|known| (known.labels.clone(), known.annotations.clone())).unwrap_or_default();
        labels.extend(named_label(name));
        Namespace { name: name.to_owned(), annotations, labels }
    }
}
