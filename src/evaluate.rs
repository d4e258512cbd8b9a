//! Evaluates each object of a document: the core's decision, with its patch applied.

use scaivault_contract::names::ANNOTATION_PREFIX;
use scaivault_inject::{
    Context, Decision, DefaultsReport, Denial, DerivedSetting, Explanation, MutationMode, Patch, PodView,
    Policy, PolicyReport, PolicySet, PolicyUse, Problems, Selector, SkipReason,
    annotations::MisplacedKey,
    derived, explain, manifest,
    workload::{self, WorkloadKind, WorkloadView},
};
use scaivault_policy::{PolicyProblems, TEST_KIND, compile};
use serde_json::Value;

use crate::{
    csi::{Code, Finding, Severity},
    object::{Object, objects},
    offline_cluster::{NAMESPACE_NAME_LABEL, OfflineCluster},
    policy::is_policy,
};

mod defaults;
mod misplaced;
pub(crate) mod own_text;
mod unread;

use unread::unread_keys;

/// The requested action on pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The same as admission.
    Inject,
    /// Remove what a receipt marks as injected.
    Detach,
    /// Remove everything with a reserved name.
    DetachByName,
}

/// The input of the core.
#[derive(Clone, Debug)]
pub(crate) enum Subject<'a> {
    /// A pod, or a template whose object has no annotations that matter.
    Pod(PodView<'a>),
    /// A workload, with its own annotations.
    Workload(WorkloadView<'a>),
}

impl<'a> Subject<'a> {
    /// The pod, or the workload's template.
    pub(crate) fn pod(&self) -> &PodView<'a> {
        match self {
            Self::Pod(pod) => pod,
            Self::Workload(workload) => workload.template(),
        }
    }
}

/// The result for an object, or for one of its pod templates.
#[derive(Clone, Debug)]
pub(crate) struct ObjectResult {
    /// RFC 6901 pointer to the object in its document.
    pub(crate) pointer: String,
    /// RFC 6901 pointer to the pod template in the object, if it was found by its shape.
    pub(crate) template: Option<String>,
    /// `apiVersion`, `kind`, `metadata.namespace`, `metadata.name`; empty where absent.
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    /// The command removes the injection.
    pub(crate) is_detach_requested: bool,
    /// Warnings in addition to the decision.
    pub(crate) warnings: Vec<String>,
    /// Where the settings come from; empty unless requested.
    pub(crate) settings: Vec<Setting>,
    /// The effects of the policies that select the pod.
    pub(crate) policies: Vec<PolicyUse>,
    /// Whether all of them should be shown.
    pub(crate) with_policies: bool,
    /// The findings about a SecretProviderClass or its volumes; only for `check`.
    pub(crate) csi: Vec<Finding>,
}

impl ObjectResult {
    /// RFC 6901 pointer to the pod (template) in the document.
    pub(crate) fn pod_pointer(&self) -> Option<String> {
        let in_object =
            self.template.as_deref().or_else(|| manifest::pod_pointer(&self.api_version, &self.kind))?;
        Some(format!("{}{in_object}", self.pointer))
    }

    /// Whether it is a pod, or has a pod template.
    pub(crate) fn has_pod(&self) -> bool {
        self.template.is_some() || manifest::pod_pointer(&self.api_version, &self.kind).is_some()
    }

    /// Whether it has problems.
    pub(crate) fn has_problems(&self) -> bool {
        self.outcome.has_problems() || self.csi_findings(Severity::Problem).next().is_some()
    }

    /// The findings about classes and their volumes with this severity.
    pub(crate) fn csi_findings(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.csi.iter().filter(move |finding| finding.severity == severity)
    }

    /// The reason why the API server, the driver or the restart controller rejects the object as it
    /// is written, if `check` found that.
    pub(crate) fn rejection(&self) -> Option<&'static str> {
        let mut problems = self.csi_findings(Severity::Problem).peekable();
        problems.peek()?;
        Some(match &self.outcome {
            Outcome::Class => "invalid-class",
            _ if problems.all(|problem| problem.code == Code::Restart) => "invalid-restart",
            _ => "invalid-volume",
        })
    }

    /// Whether it has problems or warnings.
    pub(crate) fn has_findings(&self) -> bool {
        self.has_problems() || !self.warnings.is_empty()
    }

    /// Whether its text changes.
    pub(crate) fn is_changed(&self) -> bool {
        match &self.outcome {
            Outcome::Decided(decision) => decision.patch().is_some_and(|patch| !patch.is_empty()),
            _ => false,
        }
    }
}

/// The outcome for an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It has no `apiVersion` or no `kind`.
    NoObject,
    /// Its kind has no pod, or this manifest has no pod template (such as a kustomize patch).
    NoPod,
    /// A SecretProviderClass of this product.
    Class,
    /// The API server would reject it, with the reason.
    Malformed(String),
    /// A policy that the API server or the injector would reject.
    InvalidPolicy(PolicyProblems),
    /// The decision of the core.
    Decided(Box<Decision>),
    /// Detaching was requested; the pod has parts that look injected, but no receipt that proves
    /// it.
    NoReceipt,
}

impl Outcome {
    /// Whether there are problems.
    pub(crate) fn has_problems(&self) -> bool {
        match self {
            Self::NoObject | Self::NoPod | Self::Class => false,
            Self::Malformed(_) | Self::InvalidPolicy(_) | Self::NoReceipt => true,
            Self::Decided(decision) => match &**decision {
                Decision::Deny(_) => true,
                Decision::Skip(skip) => !skip.problems.is_empty(),
                Decision::Inject(_) | Decision::Detach(_) => false,
            },
        }
    }

    /// Whether the document must not be applied as it is.
    pub(crate) fn is_refused(&self) -> bool {
        match self {
            Self::Decided(decision) => matches!(**decision, Decision::Deny(_)),
            other => other.has_problems(),
        }
    }
}

/// Evaluates all objects of a document.
pub(crate) fn evaluate(
    document: &Value,
    action: Action,
    cluster: &OfflineCluster,
    with_settings: bool,
    decide: impl Fn(&Subject<'_>, &Context<'_>) -> (Decision, PolicyReport),
) -> Vec<ObjectResult> {
    let decide: &Decide<'_> = &decide;
    let work = Work { action, cluster, with_settings, decide };
    objects(document).iter().flat_map(|object| work.object(object)).collect()
}

/// Combines the patches of all objects to one of their document.
pub(crate) fn patch(results: &[ObjectResult]) -> Patch {
    let patches = results.iter().filter_map(|result| {
        let Outcome::Decided(decision) = &result.outcome else { return None };
        Some(decision.patch()?.clone().below(&result.pod_pointer()?))
    });
    Patch::new(patches.flat_map(|patch| patch.operations().to_vec()).collect())
}

/// The input that is the same for all objects.
struct Work<'a> {
    action: Action,
    cluster: &'a OfflineCluster,
    with_settings: bool,
    decide: &'a Decide<'a>,
}

type Decide<'a> = dyn Fn(&Subject<'_>, &Context<'_>) -> (Decision, PolicyReport) + 'a;

impl Work<'_> {
    /// Evaluates the object, or each of its templates if its kind is unknown.
    fn object(&self, object: &Object<'_>) -> Vec<ObjectResult> {
        let alone = |outcome, warnings| vec![ObjectResult::new(object, outcome, warnings)];
        if object.kind.is_empty() {
            return alone(Outcome::NoObject, Vec::new());
        }
        // Its cases are pods for `policy test`, not for the cluster.
        if object.kind == TEST_KIND {
            return alone(Outcome::NoPod, Vec::new());
        }
        if self.action == Action::Inject && is_policy(object) {
            let compiled = compile(&object.standalone());
            return alone(compiled.err().map_or(Outcome::NoPod, Outcome::InvalidPolicy), Vec::new());
        }
        if let Some(pointer) = object.pod_pointer() {
            let Some(pod) = object.value.pointer(pointer).filter(|pod| !pod.is_null()) else {
                let (outcome, mut warnings) = self.no_pod(object);
                warnings.extend(self.without_template(object));
                return alone(outcome, warnings);
            };
            // To detach, only the template matters.
            let kind = WorkloadKind::parse(object.api_version, object.kind)
                .filter(|_| self.action == Action::Inject);
            let decided = self.pod(object, pointer, pod, kind);
            return vec![self.decided(object, decided, self.unknown_namespace(object))];
        }
        let text = object.value.to_string();
        let templates = manifest::find_templates(object.api_version, &text);
        let pointers: Vec<&str> = templates.iter().map(|template| template.pointer.as_str()).collect();
        let mut unread = self.unread(object, &pointers);
        if templates.is_empty() {
            let (outcome, mut warnings) = self.no_pod(object);
            warnings.append(&mut unread);
            return alone(outcome, warnings);
        }
        let templates = templates.into_iter().filter_map(|template| {
            let pod = object.value.pointer(&template.pointer)?;
            let decided = self.pod(object, &template.pointer, pod, None);
            let mut result = self.decided(object, decided, std::mem::take(&mut unread));
            if let Outcome::Malformed(error) = &result.outcome
                && !template.json.contains(ANNOTATION_PREFIX)
            {
                result.warnings.push(format!("not checked: {error}"));
                result.outcome = Outcome::NoPod;
            }
            Some(ObjectResult { template: Some(template.pointer), ..result })
        });
        templates.collect()
    }

    /// The outcome and warnings of an object without a pod, such as a namespace, whose annotations
    /// are defaults for its pods.
    fn no_pod(&self, object: &Object<'_>) -> (Outcome, Vec<String>) {
        match self.action {
            Action::Inject => without_pod(object, self.cluster),
            Action::Detach | Action::DetachByName => (Outcome::NoPod, Vec::new()),
        }
    }

    /// Warnings about an object of a known kind without a pod template.
    fn without_template(&self, object: &Object<'_>) -> Vec<String> {
        let other = object.value.pointer("/spec/workloadRef/name").and_then(Value::as_str);
        let Some(other) = other.filter(|_| self.action == Action::Inject) else {
            // For example, a kustomize patch.
            return Vec::new();
        };
        let mut warnings =
            vec![format!("its pod template is that of the workload {other} (spec.workloadRef)")];
        warnings.extend(self.unread(object, &[]));
        warnings
    }

    /// A warning if policies select namespaces by labels and the labels of this object's namespace
    /// are unknown.
    fn unknown_namespace(&self, object: &Object<'_>) -> Vec<String> {
        let OfflineCluster { policies, .. } = self.cluster;
        let namespace = object.namespace();
        if self.action != Action::Inject || self.cluster.knows_namespace(namespace) {
            return Vec::new();
        }
        let needs_label = |policy: &Policy| {
            let Selector { match_labels, match_expressions } = &policy.parts().namespaces;
            let mut keys =
                match_labels.keys().chain(match_expressions.iter().map(|expression| &expression.key));
            keys.any(|key| namespace.is_empty() || key != NAMESPACE_NAME_LABEL)
        };
        let Some(policy) = policies.iter().find(|policy| needs_label(policy)) else { return Vec::new() };
        let namespace =
            if namespace.is_empty() { "its namespace".to_owned() } else { format!("namespace {namespace}") };
        vec![format!(
            "the labels of {namespace} are not known, and policies such as {} select by them; give the namespace's \
             manifest with --namespace-file",
            policy.name()
        )]
    }

    fn decided(&self, object: &Object<'_>, decided: PodEvaluation, warnings: Vec<String>) -> ObjectResult {
        let PodEvaluation { outcome, settings, policies, with_policies } = decided;
        let is_detach_requested = self.action != Action::Inject;
        let result = ObjectResult::new(object, outcome, warnings);
        ObjectResult { is_detach_requested, settings, policies, with_policies, ..result }
    }

    fn unread(&self, object: &Object<'_>, templates: &[&str]) -> Vec<String> {
        if self.action == Action::Inject { unread_keys(object, templates) } else { Vec::new() }
    }
}

/// Evaluates a namespace that is not part of the manifests.
pub(crate) fn evaluate_namespace(object: &Object<'_>, cluster: &OfflineCluster) -> ObjectResult {
    let (outcome, warnings) = without_pod(object, cluster);
    ObjectResult::new(object, outcome, warnings)
}

fn without_pod(object: &Object<'_>, cluster: &OfflineCluster) -> (Outcome, Vec<String>) {
    let DefaultsReport { mut problems, warnings } = defaults::check(object, cluster);
    for problem in &object.not_text_problems() {
        problems.push(problem.clone());
    }
    if problems.is_empty() {
        return (Outcome::NoPod, warnings);
    }
    (Outcome::Decided(Box::new(Decision::Deny(Denial { problems, warnings }))), Vec::new())
}

impl ObjectResult {
    fn new(object: &Object<'_>, outcome: Outcome, warnings: Vec<String>) -> Self {
        Self {
            pointer: object.pointer.clone(),
            template: None,
            api_version: object.api_version.to_owned(),
            kind: object.kind.to_owned(),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            outcome,
            warnings,
            is_detach_requested: false,
            settings: Vec::new(),
            policies: Vec::new(),
            with_policies: false,
            csi: Vec::new(),
        }
    }
}

/// The outcome for a pod (template).
struct PodEvaluation {
    outcome: Outcome,
    settings: Vec<Setting>,
    policies: Vec<PolicyUse>,
    with_policies: bool,
}

impl PodEvaluation {
    fn malformed(message: String) -> Self {
        Self {
            outcome: Outcome::Malformed(message),
            settings: Vec::new(),
            policies: Vec::new(),
            with_policies: false,
        }
    }
}

impl Work<'_> {
    /// The decision on the pod (template) at `pointer`, or on the workload of that kind that
    /// contains it.
    fn pod(
        &self,
        object: &Object<'_>,
        pointer: &str,
        pod: &Value,
        kind: Option<WorkloadKind>,
    ) -> PodEvaluation {
        let Self { action, cluster, with_settings, decide } = *self;
        let json = kind.map_or(pod, |_| object.value).to_string();
        let subject = match kind {
            Some(kind) => {
                WorkloadView::parse(kind, &json).map(Subject::Workload).map_err(|error| error.to_string())
            }
            None => PodView::parse(&json).map(Subject::Pod).map_err(|error| error.to_string()),
        };
        let subject = match subject {
            Ok(subject) => subject,
            Err(message) => return PodEvaluation::malformed(message),
        };
        let namespace = match action {
            Action::Inject => cluster.namespace(object.namespace()),
            // Only the manifest counts: an exclusion or mode of the namespace must not prevent the
            // user from detaching.
            Action::Detach | Action::DetachByName => scaivault_inject::Namespace::default(),
        };
        let no_policies = PolicySet::empty();
        let policies = if action == Action::Inject { &cluster.policies } else { no_policies };
        let context = Context::new(&cluster.settings, &namespace, cluster.kube_version)
            .with_policies(policies, cluster.now)
            .with_service_account_role(cluster.role(object.namespace(), Object::service_account(pod)))
            // The mode of a workload is part of the workload. Detaching overrides every mode.
            .with_workload_mutation_mode((action != Action::Inject).then_some(MutationMode::IgnoreAndDetach));
        let (decision, report) = decide(&subject, &context);
        let settings =
            if with_settings { settings_of(subject.pod(), &context, &decision) } else { Vec::new() };
        let outcome = match decision {
            Decision::Skip(skip) if skip.reason == SkipReason::NoReceipt && action == Action::Detach => {
                Outcome::NoReceipt
            }
            mut decision => {
                if action == Action::Inject {
                    decision = with_misplaced(decision, object, pointer, subject.pod(), &context);
                }
                Outcome::Decided(Box::new(decision))
            }
        };
        PodEvaluation { outcome, settings, policies: report.uses, with_policies: with_settings }
    }
}

/// The decision with findings about misplaced keys: a problem if the pod would start without the
/// secrets that they request, or with secrets that they opt out of.
fn with_misplaced(
    mut decision: Decision,
    object: &Object<'_>,
    pointer: &str,
    pod: &PodView<'_>,
    context: &Context<'_>,
) -> Decision {
    let is_copied = misplaced::is_made_by_a_controller(object);
    let (asks_for_nothing, leaves_alone) = (decision.asks_for_nothing(), decision.leaves_alone());
    let matters = |key: &MisplacedKey| key.asks() && asks_for_nothing || key.opts_out() && !leaves_alone;
    let (relied_on, others): (Vec<_>, Vec<_>) =
        misplaced::keys(object, pointer).into_iter().partition(|key| matters(key) && !is_copied);
    decision.warnings_mut().extend(others.iter().map(MisplacedKey::warning));
    let mut problems = Problems::new();
    for key in relied_on {
        problems.push(key.problem());
    }
    workload::add_problems(decision, problems, Vec::new(), pod, context)
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The annotation without its prefix.
    pub(crate) key: String,
    /// Its value.
    pub(crate) value: String,
    /// The layer that sets it, or `derived`.
    pub(crate) layer: String,
    /// How it is derived; `None` if a layer sets it.
    pub(crate) rule: Option<String>,
}

/// The settings of a pod, sorted by key: those of its layers, and those that the injector derives
/// if it injects.
fn settings_of(pod: &PodView<'_>, context: &Context<'_>, decision: &Decision) -> Vec<Setting> {
    let given = explain(pod, context).into_iter().map(|Explanation { key, value, layer }| Setting {
        key,
        value,
        layer: layer.to_string(),
        rule: None,
    });
    let derived = if decision.leaves_alone() { Vec::new() } else { derived(pod, context) };
    let derived = derived.into_iter().map(|DerivedSetting { key, value, rule }| Setting {
        key,
        value,
        layer: "derived".to_owned(),
        rule: Some(rule.replace('`', "")),
    });
    let mut settings: Vec<Setting> = given.chain(derived).collect();
    settings.sort_by(|one, other| one.key.cmp(&other.key));
    settings
}

#[cfg(test)]
mod tests;
