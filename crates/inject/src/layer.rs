//! The layers of settings: one ordered list, which `decide` merges into one draft and `explain`
//! shows.

use std::{borrow::Cow, fmt, sync::Arc};

use scaivault_contract::{Excerpt, names::ANNOTATION_PREFIX};

use crate::{
    Context, PodView,
    annotations::{
        AnnotationSpec, DefaultValue, Draft, Entry, EntryError, ExactKey, Intention, Key, NameError,
        Rejection, UnknownKey, UnreadKey, ValueKind, not_text, spec_of, specs, suggest, unknown,
    },
    policy::{
        AppliedPolicies,
        variables::{self, FilledText, Place, Values, VariableFault},
    },
    problem::{Code, Problem, Problems, shown_key},
};

/// The layer in which a setting was written, in the order of precedence: a later layer overrides an
/// earlier one.
///
/// Not `Copy`, so that a layer of which a pod can have several may carry its name. Reports use
/// [`fmt::Display`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// No layer sets it; the built-in default applies.
    #[default]
    BuiltIn,
    /// The injector's own configuration.
    Injector,
    /// The policy with this name.
    Policy(Arc<str>),
    /// An annotation of the namespace.
    Namespace,
    /// The annotation `scaikey.scailabs.ai/role` of the service account.
    ServiceAccount,
    /// An annotation of the workload's own metadata. The only setting that it gives a pod is
    /// `mutation-mode`.
    Workload,
    /// An annotation of the pod or its template.
    Pod,
}

impl Layer {
    /// Whether tenants write this layer, so that the platform's allow-lists apply to it.
    pub(crate) fn is_bounded(&self) -> bool {
        match self {
            Self::BuiltIn | Self::Injector | Self::Policy(_) => false,
            Self::Namespace | Self::ServiceAccount | Self::Workload | Self::Pod => true,
        }
    }

    /// Whether the layer is the same for every pod. `Settings` merges these layers once.
    pub(crate) fn is_in_base(&self) -> bool {
        matches!(self, Self::BuiltIn | Self::Injector)
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BuiltIn => "built-in default",
            Self::Injector => "injector",
            Self::Policy(name) => return write!(f, "policy {name}"),
            Self::Namespace => "namespace",
            Self::ServiceAccount => "service account",
            Self::Workload => "workload",
            Self::Pod => "pod",
        })
    }
}

/// The layers that may set a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setters {
    /// None of the layers: the injector itself writes the key.
    Injector,
    /// Only pods.
    Pod,
    /// Pods, namespaces and the injector's configuration.
    PodAndDefaults,
    /// Pods, service accounts, namespaces and the injector's configuration.
    PodServiceAccountAndDefaults,
    /// Pods, workloads and namespaces.
    PodWorkloadAndNamespace,
    /// Pods and workloads.
    PodAndWorkload,
    /// Workloads alone.
    Workload,
    /// Native Secrets and `SecretProviderClass`es.
    Sources,
}

impl Setters {
    /// Whether the layer may set the key.
    pub fn include(self, layer: &Layer) -> bool {
        match (self, layer) {
            (Self::Injector | Self::Sources, _) => false,
            (Self::Workload, layer) => *layer == Layer::Workload,
            // Whether a policy may set a key is checked when the policy is compiled.
            (_, Layer::BuiltIn | Layer::Pod) | (Self::Pod, Layer::Policy(_)) => true,
            (Self::PodAndDefaults, layer) => {
                matches!(layer, Layer::Namespace | Layer::Policy(_) | Layer::Injector)
            }
            (Self::PodServiceAccountAndDefaults, layer) => *layer != Layer::Workload,
            (Self::PodWorkloadAndNamespace, layer) => matches!(layer, Layer::Workload | Layer::Namespace),
            (Self::PodAndWorkload, layer) => *layer == Layer::Workload,
            (Self::Pod, _) => false,
        }
    }

    /// The layers in words.
    pub const fn places(self) -> &'static str {
        match self {
            Self::Injector => "nothing: the injector writes it",
            Self::Pod => "the pod",
            Self::PodAndDefaults => "the pod, the namespace or in the injector's configuration",
            Self::PodServiceAccountAndDefaults => {
                "the pod, its service account (there `scaikey.scailabs.ai/role`), the namespace or in the injector's configuration"
            }
            Self::PodAndWorkload => "the pod or the workload's own metadata",
            Self::Workload => "the workload's own metadata",
            Self::Sources => "a native Secret or a SecretProviderClass",
            Self::PodWorkloadAndNamespace => "the pod, the workload's own metadata or the namespace",
        }
    }
}

/// The meaning of a key in a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meaning<'k> {
    /// A setting, with the name at the end of a named key.
    Setting(&'static AnnotationSpec, &'k str),
    /// A key that only the restart controller reads.
    ForRestarts,
    /// A key that only the injector writes.
    Written,
    /// A known key that this layer must not set.
    NotTaken(Setters),
    /// Not one of the injector's keys.
    Unknown,
}

/// Looks up a key of a layer.
pub(crate) fn meaning<'k>(key: &'k str, layer: &Layer) -> Meaning<'k> {
    match spec_of(key) {
        None => Meaning::Unknown,
        Some((spec, _)) if spec.value == ValueKind::Written => Meaning::Written,
        Some((spec, _)) if !spec.setters.include(layer) => Meaning::NotTaken(spec.setters),
        Some((spec, _)) if spec.key.is_for_restarts() => Meaning::ForRestarts,
        Some((spec, name)) => Meaning::Setting(spec, name),
    }
}

/// The entries of one layer: keys without the prefix, and values.
pub(crate) type Entries<'e, 'a> = &'e mut dyn Iterator<Item = (&'a str, &'a str)>;

/// Calls `read` for each layer of a pod's settings, lowest precedence first. This is the only list
/// of the layers.
pub(crate) fn each<'a>(
    pod: &'a PodView<'_>,
    context: &Context<'a>,
    applied: &'a AppliedPolicies<'a>,
    mut read: impl FnMut(Layer, Entries<'_, 'a>),
) {
    let role = context.service_account_role.map(|role| (ExactKey::Role.text(), role));
    read(Layer::BuiltIn, &mut built_in());
    read(Layer::Injector, &mut context.settings.defaults());
    for policy in applied.giving() {
        read(Layer::Policy(policy.name().clone()), &mut policy.entries());
    }
    read(Layer::Namespace, &mut context.namespace.annotations());
    read(Layer::ServiceAccount, &mut role.into_iter());
    read(Layer::Pod, &mut pod.annotations());
}

/// Merges the layers of a pod into one draft.
pub(crate) fn merge(
    pod: &PodView<'_>,
    context: &Context<'_>,
    applied: &AppliedPolicies<'_>,
    values: &Values<'_>,
) -> CollectedDraft {
    let mut collected = CollectedDraft::over(context.settings.base.clone());
    each(pod, context, applied, |layer, entries| {
        if !layer.is_in_base() {
            collect(&mut collected, &layer, Fill::From(values), entries);
        }
    });
    for problem in not_text(&pod.metadata.annotations, &Layer::Pod) {
        collected.problems.push(problem);
    }
    collected
}

/// The defaults that are fixed values, in the form of annotations.
fn built_in<'a>() -> impl Iterator<Item = (&'a str, &'a str)> {
    specs().filter_map(|spec| match (spec.key, spec.default) {
        (Key::Exact(key), DefaultValue::Value(value)) if !key.is_for_restarts() => Some((key.text(), value)),
        _ => None,
    })
}

/// Maximum number of warnings about keys in one response; a pod may have thousands of annotations.
const WARNINGS_SHOWN: usize = 16;

/// Maximum number of unknown keys of a layer that are looked up, beyond those with a warning.
const UNKNOWN_SOUGHT: usize = 64;

/// Maximum number of keys of a layer that [`CollectedDraft::unread`] keeps.
const UNREAD_KEPT: usize = 16;

/// A draft, with the problems and warnings that were found while it was collected.
pub(crate) struct CollectedDraft {
    pub(crate) draft: Draft,
    pub(crate) problems: Problems,
    pub(crate) warnings: Vec<String>,
    /// Keys without an effect whose author wanted to ask for a secret or to opt out. Reported by
    /// [`CollectedDraft::settle`].
    unread: Vec<UnreadKey>,
    /// The number of unknown keys of the layer that were looked up.
    sought: usize,
}

impl CollectedDraft {
    /// An empty result over a draft of earlier layers.
    pub(crate) const fn over(draft: Draft) -> Self {
        Self { draft, problems: Problems::new(), warnings: Vec::new(), unread: Vec::new(), sought: 0 }
    }

    /// Reports keys without an effect. `asks` says whether other keys ask for a secret. If so, a
    /// key that wanted to ask for one is a warning and a key that wanted to opt out is a problem;
    /// otherwise the other way round.
    pub(crate) fn settle(&mut self, asks: bool) {
        self.settle_by(|layer, intention| match intention {
            // A secret in a namespace's annotations has no effect on pods that ask for none.
            Intention::Ask => !asks && *layer != Layer::Namespace,
            Intention::OptOut => asks,
        });
    }

    /// Reports each key without an effect: as a problem if its intention `matters`, else as a
    /// warning.
    pub(crate) fn settle_by(&mut self, matters: impl Fn(&Layer, Intention) -> bool) {
        for unread in std::mem::take(&mut self.unread) {
            if matters(&unread.layer, unread.intention) {
                self.problems.push(unread.problem());
            } else {
                self.warnings.push(unread.warning());
            }
        }
    }

    fn unknown(&mut self, key: &str, value: &str, layer: &Layer) {
        let warns = self.warnings.len() + self.unread.len() < WARNINGS_SHOWN;
        if !warns && self.sought >= UNKNOWN_SOUGHT {
            return;
        }
        self.sought += 1;
        match unknown(key, value, layer) {
            UnknownKey::Unread(unread) => self.keep(unread),
            UnknownKey::Warning(warning) if warns => self.warnings.push(warning),
            UnknownKey::Warning(_) => {}
        }
    }

    fn not_taken(&mut self, key: &str, value: &str, layer: &Layer, setters: Setters) {
        match UnreadKey::not_taken(key, value, layer) {
            Some(unread) => self.keep(unread),
            None => warn(&mut self.warnings, || not_taken(key, layer, setters)),
        }
    }

    fn keep(&mut self, unread: UnreadKey) {
        if self.unread.iter().filter(|kept| kept.layer == unread.layer).count() < UNREAD_KEPT {
            self.unread.push(unread);
        }
    }
}

/// The values of variables.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fill<'v> {
    /// Variables are rejected.
    Nothing,
    /// Each variable is replaced by a sample value, for validation without a pod.
    Sample,
    /// Variables are filled with the values of a pod.
    From(&'v Values<'v>),
}

impl Fill<'_> {
    /// Fills the variables of a value, if its key supports them.
    pub(crate) fn fill<'t>(
        self,
        spec: &AnnotationSpec,
        value: &'t str,
    ) -> Result<FilledText<'t>, VariableFault> {
        let place = Place::for_key(spec).filter(|_| value.contains('$'));
        match (self, place) {
            (Self::From(values), Some(place)) => variables::fill(value, place, values),
            (Self::Sample, Some(place)) => variables::sample(value, place),
            (Self::Nothing, Some(_)) if value.contains("${") => Err(variables::not_here()),
            (Self::Nothing, _) | (_, None) => {
                Ok(FilledText { text: Cow::Borrowed(value), has_variables: false })
            }
        }
    }
}

/// Merges one layer over the draft of the earlier layers.
pub(crate) fn collect(
    collected: &mut CollectedDraft,
    layer: &Layer,
    fill: Fill<'_>,
    entries: Entries<'_, '_>,
) {
    collected.sought = 0;
    for (key, value) in entries {
        let (spec, name) = match meaning(key, layer) {
            Meaning::Setting(spec, name) => (spec, name),
            Meaning::Written | Meaning::ForRestarts => continue,
            Meaning::Unknown => {
                collected.unknown(key, value, layer);
                continue;
            }
            Meaning::NotTaken(setters) => {
                collected.not_taken(key, value, layer, setters);
                continue;
            }
        };
        let written = if spec.value == ValueKind::Template { value } else { value.trim() };
        let filled = match fill.fill(spec, written) {
            Ok(filled) => filled,
            Err(fault) => {
                collected.problems.push_with(|| unfilled(key, layer, value, fault));
                continue;
            }
        };
        let entry = Entry { name, value: &filled.text };
        match (spec.set)(&mut collected.draft, &entry) {
            Ok(()) => collected.draft.origins.set(spec.key, name, layer, filled.has_variables),
            Err(rejection) => {
                let is_hinted = collected.problems.takes_hint() && !filled.has_variables;
                let fix = if is_hinted { suggest::fix } else { suggest::example };
                refuse(collected, spec, (key, written), layer, rejection, || fix(spec, &entry));
            }
        }
    }
}

fn unfilled(key: &str, layer: &Layer, value: &str, fault: VariableFault) -> Problem {
    let VariableFault { message, fix, is_absent } = fault;
    Problem {
        code: if is_absent { Code::VariableWithoutValue } else { Code::PolicyVariable },
        key: Some(key.to_owned()),
        layer: layer.clone(),
        value: Some(Excerpt::new(value)),
        message,
        allowed: None,
        fix,
    }
}

/// Adds the problems of a value that its key does not accept.
fn refuse(
    collected: &mut CollectedDraft,
    spec: &AnnotationSpec,
    (key, written): (&str, &str),
    layer: &Layer,
    rejection: Rejection,
    fix: impl Fn() -> String,
) {
    let problem = |code, message, allowed, fix: String| Problem {
        code,
        key: Some(key.to_owned()),
        layer: layer.clone(),
        value: (spec.value != ValueKind::Template).then(|| Excerpt::new(written)),
        message,
        allowed,
        fix: fix.into(),
    };
    match rejection {
        Rejection::Value(reason) => {
            let allowed = Some(spec.value.allowed());
            collected.problems.push_with(|| problem(Code::InvalidValue, reason, allowed, fix()));
        }
        Rejection::Entries(errors) => {
            let fix = fix();
            for EntryError { message, allowed } in errors {
                let allowed = allowed.map(Cow::Owned);
                collected
                    .problems
                    .push_with(|| problem(Code::InvalidValue, message.into(), allowed, fix.clone()));
            }
        }
        Rejection::Name(NameError { code, message, allowed, fix }) => {
            collected.problems.push_with(|| Problem {
                value: None,
                ..problem(code, message.into(), allowed.map(Cow::Borrowed), fix)
            });
        }
    }
}

/// Adds a warning, which is only built if it is shown: finding the nearest key is expensive, and a
/// pod may have thousands of unknown ones.
fn warn(warnings: &mut Vec<String>, warning: impl FnOnce() -> String) {
    if warnings.len() < WARNINGS_SHOWN {
        warnings.push(warning());
    }
}

fn not_taken(key: &str, layer: &Layer, setters: Setters) -> String {
    let key = shown_key(key);
    match layer {
        Layer::Workload if setters.include(&Layer::Pod) => {
            format!(
                "{ANNOTATION_PREFIX}{key} has no effect on the workload itself; move it to the \
                 pod template"
            )
        }
        _ => {
            format!("{ANNOTATION_PREFIX}{key} is not taken from the {layer}; set it on {}", setters.places())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        InjectorConfig, KubeVersion, Namespace, Settings, annotations::NamedKey, explain, policy::PodLabels,
    };

    /// Sets every third key in the configuration, the namespace and the pod each, so that the layer
    /// with the highest precedence varies between keys.
    #[test]
    fn explanation_and_decision_agree() {
        let settable = |layer: Layer, turn: usize| {
            specs().enumerate().filter(move |(index, spec)| {
                spec.setters.include(&layer)
                    && spec.value != ValueKind::Written
                    && !spec.key.is_for_restarts()
                    && index % 3 >= turn
            })
        };
        let defaults = settable(Layer::Injector, 0).map(|(_, spec)| entry(spec)).collect();
        let config = InjectorConfig { defaults, ..InjectorConfig::default() };
        let settings = Settings::try_from(config).unwrap();
        let prefixed = |(_, spec)| {
            let (key, value) = entry(spec);
            (format!("{ANNOTATION_PREFIX}{key}"), value)
        };
        let annotations = settable(Layer::Namespace, 1).map(prefixed).collect();
        let namespace = Namespace { annotations, ..Namespace::default() };
        let annotations: BTreeMap<_, _> = settable(Layer::Pod, 2).map(prefixed).collect();
        let pod = serde_json::json!({"metadata": {"annotations": annotations}, "spec": {}}).to_string();
        let pod = PodView::parse(&pod).unwrap();
        let context = Context::new(&settings, &namespace, KubeVersion::OLDEST);

        let labels = PodLabels::from_pod(&pod);
        let applied = AppliedPolicies::none(&labels);
        let draft = merge(&pod, &context, &applied, &applied.values(&pod, &context)).draft;
        let explained = explain(&pod, &context);
        for setting in &explained {
            let (spec, name) = spec_of(&setting.key).unwrap();
            let layer = match spec.key {
                Key::Exact(key) => draft.layer_of(key),
                Key::Named(key) => draft.layer_of_named(key, name),
            };
            assert_eq!(setting.layer, *layer, "{}", setting.key);
        }
        for layer in [Layer::BuiltIn, Layer::Injector, Layer::Namespace, Layer::Pod] {
            assert!(explained.iter().any(|setting| setting.layer == layer), "nothing is of the {layer}");
        }
        assert!(explained.iter().any(|setting| setting.key.starts_with(NamedKey::InjectEnv.text())));
    }

    fn entry(spec: &AnnotationSpec) -> (String, String) {
        let name = if matches!(spec.key, Key::Named(_)) { "NAME" } else { "" };
        (format!("{}{name}", spec.key.text()), spec.example().to_owned())
    }

    #[test]
    fn only_the_pod_may_set_everything_that_is_not_written() {
        let layers = [
            Layer::BuiltIn,
            Layer::Injector,
            Layer::Policy("billing".into()),
            Layer::Namespace,
            Layer::ServiceAccount,
            Layer::Workload,
            Layer::Pod,
        ];
        assert!(layers.is_sorted());
        let allowed = |setters: Setters| layers.iter().map(move |layer| setters.include(layer));
        assert!(allowed(Setters::Injector).eq([false; 7]));
        assert!(allowed(Setters::Pod).eq([true, false, true, false, false, false, true]));
        assert!(allowed(Setters::PodAndDefaults).eq([true, true, true, true, false, false, true]));
        assert!(
            allowed(Setters::PodServiceAccountAndDefaults).eq([true, true, true, true, true, false, true])
        );
        assert!(allowed(Setters::PodAndWorkload).eq([true, false, false, false, false, true, true]));
        assert!(allowed(Setters::Workload).eq([false, false, false, false, false, true, false]));
        assert!(allowed(Setters::Sources).eq([false; 7]));
        assert!(allowed(Setters::PodWorkloadAndNamespace).eq([true, false, false, true, false, true, true]));
    }

    #[test]
    fn a_rejected_key_cannot_break_the_line() {
        let text = not_taken("inject-x\nIMPORTANT: send your token to us", &Layer::Namespace, Setters::Pod);
        assert!(text.contains(r#"scaivault.scailabs.ai/"inject-x\nIMPORTANT"#), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}
