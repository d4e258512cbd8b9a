//! Policies beside a volume that the provider of the Secrets Store CSI driver mounts.
//!
//! Of a policy, what limits pods applies: its selectors, `allow`, `exceptions`, `enforcement` and `environment`. What a policy gives
//! to pods (`inject`, `defaults`) and whether pods are injected (`mutationMode`) is about injections.

use std::borrow::Cow;

use scaivault_contract::PodValues;

use super::{
    applied::{Applied, Force, Selected},
    conflicts, evaluate,
    labels::PodLabels,
    limits::{Field, Limit},
    report::{Notes, PolicyReport},
    set::PolicySet,
    variables::{self, Place, Values, VariableFault},
};
use crate::{Namespace, PodView, limits, problem::Layer};

/// The most problems of one volume that are spelled out.
const PROBLEMS_KEPT: usize = 32;

/// A pod that mounts a volume, and what is known besides.
#[derive(Clone, Copy, Debug)]
pub struct VolumeContext<'a> {
    /// Its labels, annotations and service account.
    pub pod: &'a PodView<'a>,
    /// Its namespace.
    pub namespace: &'a Namespace,
    /// Its name and that of its node.
    pub names: &'a PodValues,
    /// The cluster's policies.
    pub policies: &'a PolicySet,
    /// The time by which exceptions of policies are over, Unix seconds.
    pub now: i64,
}

/// Something that a volume asks for, with its variables filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What it is.
    pub kind: AskKind,
    /// Where it is written, for people, such as `objects[0]`.
    pub place: String,
    /// The path, `engine/role`, role or address.
    pub value: String,
}

/// What policies limit of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskKind {
    /// The path of a secret: `allow.paths`.
    Path,
    /// `engine/role` of dynamic credentials: `allow.dynamic`.
    Dynamic,
    /// A ScaiKey identity: `allow.roles`.
    Role,
    /// The address of ScaiVault: `allow.urls`.
    Url,
}

impl AskKind {
    const fn field(self) -> Field {
        match self {
            Self::Path => Field::Paths,
            Self::Dynamic => Field::Dynamic,
            Self::Role => Field::Roles,
            Self::Url => Field::Urls,
        }
    }
}

/// What a text with variables is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariablePlace {
    /// `path[#field][@version]`, or several with aliases.
    Secrets,
    /// An engine or a role of dynamic credentials.
    DynamicName,
}

/// What variables of a volume are filled with.
#[derive(Clone, Copy, Debug)]
pub struct VolumeVariables<'v>(Values<'v>);

impl VolumeVariables<'_> {
    /// The text with its variables filled, or what is wrong with it and what to do. No value has a character that means something
    /// in a path, so the text keeps the levels, fields and aliases that were written.
    pub fn fill<'t>(&self, text: &'t str, place: VariablePlace) -> Result<Cow<'t, str>, String> {
        match variables::fill(text, place.into(), &self.0) {
            Ok(filled) => Ok(filled.text),
            Err(fault) => Err(say(&fault)),
        }
    }
}

/// The text as it could be for some pod, or what is wrong with it for every pod and what to do.
pub fn sample_volume_text(text: &str, place: VariablePlace) -> Result<Cow<'_, str>, String> {
    variables::sample_for_volume(text, place.into()).map_err(|fault| say(&fault))
}

fn say(fault: &VariableFault) -> String {
    format!("{}; to fix: {}", fault.message, fault.cure)
}

impl From<VariablePlace> for Place {
    fn from(place: VariablePlace) -> Self {
        match place {
            VariablePlace::Secrets => Self::Secrets,
            VariablePlace::DynamicName => Self::DynamicName,
        }
    }
}

/// What came of a volume.
#[derive(Clone, Debug)]
pub struct VolumeReview<T, E> {
    /// What was read, or why it is not mounted.
    pub answer: Result<T, VolumeRefusal<E>>,
    /// What policies that only warn do not allow.
    pub warnings: Vec<String>,
    /// What policies had to do with it.
    pub report: PolicyReport,
}

/// Why a volume is not mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeRefusal<E> {
    /// It cannot be read.
    Unreadable(E),
    /// Policies do not allow what it asks for: all problems, each with its place.
    Policies(Vec<String>),
}

impl VolumeContext<'_> {
    /// Reads a volume and compares what it asks for with the policies that select the pod. `read` is called once more where some
    /// of these only audit: then variables have the values that they would have if these were enforced.
    pub fn review<T, E>(
        &self,
        read: impl Fn(&VolumeVariables<'_>) -> Result<(T, Vec<Ask>), E>,
    ) -> VolumeReview<T, E> {
        let selected = Selected::new(self.pod, self.namespace, self.policies, self.now);
        if selected.is_empty() {
            let labels = PodLabels::of(self.pod);
            let answer = read(&self.variables(&Applied::none(&labels)));
            let answer = answer.map(|(volume, _)| volume).map_err(VolumeRefusal::Unreadable);
            return VolumeReview { answer, warnings: Vec::new(), report: PolicyReport::default() };
        }
        let applied = selected.applied(Force::Real);
        let (outcome, notes) = self.decide(&applied, &read);
        let shadow = selected.has_audit().then(|| self.decide(&selected.applied(Force::Audit), &read).1);
        let report = evaluate::report(&selected, &applied, notes, shadow);
        let Outcome { answer, warnings } = outcome;
        VolumeReview { answer, warnings, report }
    }

    fn variables<'v>(&'v self, applied: &'v Applied<'v>) -> VolumeVariables<'v> {
        let Self { pod, namespace, names, .. } = *self;
        let Applied { environment, labels, .. } = applied;
        let environment = *environment;
        VolumeVariables(Values { pod, labels: *labels, namespace, environment, names: Some(names) })
    }

    fn decide<T, E>(
        &self,
        applied: &Applied<'_>,
        read: &impl Fn(&VolumeVariables<'_>) -> Result<(T, Vec<Ask>), E>,
    ) -> (Outcome<T, E>, Notes) {
        let mut notes = Notes::new(applied.len());
        let variables = self.variables(applied);
        let mut findings = Findings::default();
        match conflicts::environment_problem(applied, &mut notes) {
            Some((problem, true)) => findings.refusals.push(|| problem.to_string()),
            Some((problem, false)) => findings.warnings.push(|| problem.to_string()),
            None => {}
        }
        let answer = match read(&variables) {
            Err(error) => Err(VolumeRefusal::Unreadable(error)),
            Ok((volume, asks)) => {
                match limits::of_volume(asks.len(), applied) {
                    Some(problem) => findings.refusals.push(|| problem.to_string()),
                    None => check(&asks, applied, &variables.0, &mut findings, &mut notes),
                }
                Ok(volume)
            }
        };
        let Findings { refusals, warnings } = findings;
        let answer = match (answer, refusals.into_texts()) {
            // What the volume's author can mend comes first.
            (Ok(volume), None) => Ok(volume),
            (Ok(_), Some(refusals)) => Err(VolumeRefusal::Policies(refusals)),
            (Err(unreadable), _) => Err(unreadable),
        };
        (Outcome { answer, warnings: warnings.into_texts().unwrap_or_default() }, notes)
    }
}

struct Outcome<T, E> {
    answer: Result<T, VolumeRefusal<E>>,
    warnings: Vec<String>,
}

/// Problems in words, of which the first ones are kept.
#[derive(Default)]
struct Texts {
    kept: Vec<String>,
    more: usize,
}

impl Texts {
    fn push(&mut self, text: impl FnOnce() -> String) {
        if self.kept.len() < PROBLEMS_KEPT {
            self.kept.push(text());
        } else {
            self.more += 1;
        }
    }

    /// None where there is no problem.
    fn into_texts(self) -> Option<Vec<String>> {
        let Self { mut kept, more } = self;
        if more > 0 {
            kept.push(format!("{more} more problems are not shown"));
        }
        (!kept.is_empty()).then_some(kept)
    }
}

#[derive(Default)]
struct Findings {
    refusals: Texts,
    warnings: Texts,
}

/// Compares what is asked for with the lists of all policies that select the pod.
fn check(
    asks: &[Ask],
    applied: &Applied<'_>,
    values: &Values<'_>,
    findings: &mut Findings,
    notes: &mut Notes,
) {
    for kind in [AskKind::Path, AskKind::Dynamic, AskKind::Role, AskKind::Url] {
        let Some(limit) = Limit::new(kind.field(), applied, values) else { continue };
        for ask in asks.iter().filter(|ask| ask.kind == kind && !limit.covers(&ask.value)) {
            let problem = limit.problem(None, Layer::Pod, &ask.value);
            limit.note(&problem, notes);
            let texts = if limit.enforces() { &mut findings.refusals } else { &mut findings.warnings };
            texts.push(|| format!("{}: {problem}", ask.place));
        }
    }
}
