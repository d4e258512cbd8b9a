//! Applies policies to a volume that the provider of the Secrets Store CSI driver mounts.
//!
//! Only what limits pods applies to volumes: selectors, `allow`, `exceptions`, `enforcement` and
//! `environment`. `inject`, `defaults` and `mutationMode` concern injections.

use std::borrow::Cow;

use scaivault_contract::PodValues;

use super::{
    applied::{AppliedPolicies, Force, SelectedPolicies},
    conflicts, evaluate,
    labels::PodLabels,
    limits::{Field, Limit},
    report::{Notes, PolicyReport},
    set::PolicySet,
    variables::{self, Place, Values, VariableFault},
};
use crate::{Namespace, PodView, limits, problem::Layer};

/// Maximum number of problems of one volume that are spelled out.
const PROBLEMS_KEPT: usize = 32;

/// A pod that mounts a volume, and its context.
#[derive(Clone, Copy, Debug)]
pub struct VolumeContext<'a> {
    /// Its labels, annotations and service account.
    pub pod: &'a PodView<'a>,
    /// Its namespace.
    pub namespace: &'a Namespace,
    /// Its name and its node's name.
    pub names: &'a PodValues,
    /// The cluster's policies.
    pub policies: &'a PolicySet,
    /// The current time for exceptions of policies, in Unix seconds.
    pub now: i64,
}

/// Something that a volume requests, with filled variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The kind of request.
    pub kind: AskKind,
    /// Its location in the class, such as `objects[0]`, for messages.
    pub place: String,
    /// The path, `engine/role`, role or URL.
    pub value: String,
}

/// The kinds of requests that policies limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskKind {
    /// The path of a secret: `allow.paths`.
    Path,
    /// `engine/role` of dynamic credentials: `allow.dynamic`.
    Dynamic,
    /// A ScaiKey identity: `allow.roles`.
    Role,
    /// The URL of ScaiVault: `allow.urls`.
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

/// The kind of a text with variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariablePlace {
    /// `path[#field][@version]`, or several with aliases.
    Secrets,
    /// An engine or a role of dynamic credentials.
    DynamicName,
}

/// The values of the variables of a volume.
#[derive(Clone, Copy, Debug)]
pub struct VolumeVariables<'v>(Values<'v>);

impl VolumeVariables<'_> {
    /// Fills the variables of a text; the error includes the fix. Values have no character that is
    /// special in a path, so the text keeps the levels, fields and aliases that were written.
    pub fn fill<'t>(&self, text: &'t str, place: VariablePlace) -> Result<Cow<'t, str>, String> {
        match variables::fill(text, place.into(), &self.0) {
            Ok(filled) => Ok(filled.text),
            Err(fault) => Err(say(&fault)),
        }
    }
}

/// Fills a text with sample values; the error, which includes the fix, applies to every pod.
pub fn sample_volume_text(text: &str, place: VariablePlace) -> Result<Cow<'_, str>, String> {
    variables::sample_for_volume(text, place.into()).map_err(|fault| say(&fault))
}

fn say(fault: &VariableFault) -> String {
    format!("{}; to fix: {}", fault.message, fault.fix)
}

impl From<VariablePlace> for Place {
    fn from(place: VariablePlace) -> Self {
        match place {
            VariablePlace::Secrets => Self::Secrets,
            VariablePlace::DynamicName => Self::DynamicName,
        }
    }
}

/// The result for a volume.
#[derive(Clone, Debug)]
pub struct VolumeReview<T, E> {
    /// The content of the volume, or why it is not mounted.
    pub answer: Result<T, VolumeRefusal<E>>,
    /// Values that policies under `warn` do not allow.
    pub warnings: Vec<String>,
    /// The effects of policies.
    pub report: PolicyReport,
}

/// Why a volume is not mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeRefusal<E> {
    /// Its parameters are invalid.
    Unreadable(E),
    /// Policies do not allow what it requests: all problems, each with its location.
    Policies(Vec<String>),
}

impl VolumeContext<'_> {
    /// Reads a volume and checks its requests against the policies that select the pod. `read` is
    /// called a second time if some of the policies only audit: then variables have the values that
    /// they would have if these were enforced.
    pub fn review<T, E>(
        &self,
        read: impl Fn(&VolumeVariables<'_>) -> Result<(T, Vec<Ask>), E>,
    ) -> VolumeReview<T, E> {
        let selected = SelectedPolicies::new(self.pod, self.namespace, self.policies, self.now);
        if selected.is_empty() {
            let labels = PodLabels::from_pod(self.pod);
            let answer = read(&self.variables(&AppliedPolicies::none(&labels)));
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

    fn variables<'v>(&'v self, applied: &'v AppliedPolicies<'v>) -> VolumeVariables<'v> {
        let Self { pod, namespace, names, .. } = *self;
        let AppliedPolicies { environment, labels, .. } = applied;
        let environment = *environment;
        VolumeVariables(Values { pod, labels: *labels, namespace, environment, names: Some(names) })
    }

    fn decide<T, E>(
        &self,
        applied: &AppliedPolicies<'_>,
        read: &impl Fn(&VolumeVariables<'_>) -> Result<(T, Vec<Ask>), E>,
    ) -> (Outcome<T, E>, Notes) {
        let mut notes = Notes::new(applied.len());
        let variables = self.variables(applied);
        let mut messages = Messages::default();
        match conflicts::environment_problem(applied, &mut notes) {
            Some((problem, true)) => messages.refusals.push(|| problem.to_string()),
            Some((problem, false)) => messages.warnings.push(|| problem.to_string()),
            None => {}
        }
        let answer = match read(&variables) {
            Err(error) => Err(VolumeRefusal::Unreadable(error)),
            Ok((volume, asks)) => {
                match limits::check_volume(asks.len(), applied) {
                    Some(problem) => messages.refusals.push(|| problem.to_string()),
                    None => check(&asks, applied, &variables.0, &mut messages, &mut notes),
                }
                Ok(volume)
            }
        };
        let Messages { refusals, warnings } = messages;
        let answer = match (answer, refusals.into_texts()) {
            // Errors that the volume's author can fix come first.
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

/// Problems as text, of which only the first ones are kept.
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

    /// `None` if there are no problems.
    fn into_texts(self) -> Option<Vec<String>> {
        let Self { mut kept, more } = self;
        if more > 0 {
            kept.push(format!("{more} more problems are not shown"));
        }
        (!kept.is_empty()).then_some(kept)
    }
}

#[derive(Default)]
struct Messages {
    refusals: Texts,
    warnings: Texts,
}

/// Checks the requests against the lists of all policies that select the pod.
fn check(
    asks: &[Ask],
    applied: &AppliedPolicies<'_>,
    values: &Values<'_>,
    messages: &mut Messages,
    notes: &mut Notes,
) {
    for kind in [AskKind::Path, AskKind::Dynamic, AskKind::Role, AskKind::Url] {
        let Some(limit) = Limit::new(kind.field(), applied, values) else { continue };
        for ask in asks.iter().filter(|ask| ask.kind == kind && !limit.covers(&ask.value)) {
            let problem = limit.problem(None, Layer::Pod, &ask.value);
            limit.note(&problem, notes);
            let texts = if limit.enforces() { &mut messages.refusals } else { &mut messages.warnings };
            texts.push(|| format!("{}: {problem}", ask.place));
        }
    }
}
