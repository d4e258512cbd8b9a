//! Settings that no layer sets and whose default the injector derives from the pod.

use scaivault_contract::{FileMode, FileOptions, Format, SecretRef, SecretSource, TrustPolicy};

use crate::{
    Context, PodView, Problems,
    annotations::{DefaultValue, Draft, ExactKey, FileDraft, Key, NamedKey, specs},
    decide::ExistingInjection,
    intent::{self, Diagnostics, Inputs, Intent},
    layer,
    plan::Plan,
    policy::{self, AppliedPolicies, ReplacedLists},
    quantity::Quantity,
};

/// A derived setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedSetting {
    /// The annotation that would set it, without its prefix.
    pub key: String,
    /// The derived value.
    pub value: String,
    /// The rule by which it is derived, in Markdown.
    pub rule: &'static str,
}

/// The derived settings of an injected pod, in the order of the documentation; empty if it has
/// problems.
pub fn derived(pod: &PodView<'_>, context: &Context<'_>) -> Vec<DerivedSetting> {
    with_intent(pod, context, |ResolvedPod { pod, draft, intent, problems, applied }| {
        if !problems.is_empty() {
            return Vec::new();
        }
        let plan = Plan::new(&intent, pod, context.settings, applied);
        let image = plan.agents.last().map(|agent| agent.image.to_owned());
        let mut found = settings_of_files(draft, &intent);
        found.extend(pod_settings(draft, &intent, image));
        found
    })
}

/// The intent of a pod, and what it was resolved from.
pub(crate) struct ResolvedPod<'a, 'p> {
    /// The pod without the injection.
    pub(crate) pod: &'a PodView<'p>,
    pub(crate) draft: &'a Draft,
    pub(crate) intent: Intent<'a>,
    /// Problems of all keys together, not those of single keys.
    pub(crate) problems: Problems,
    pub(crate) applied: &'a AppliedPolicies<'a>,
}

/// Resolves the intent of a pod as if it were not injected yet.
pub(crate) fn with_intent<T>(
    pod: &PodView<'_>,
    context: &Context<'_>,
    take: impl FnOnce(ResolvedPod<'_, '_>) -> T,
) -> T {
    policy::with_applied(pod, context, |applied| {
        let existing = ExistingInjection::find(pod);
        let pod = existing.as_ref().map_or(pod, |existing| &existing.before);
        let values = applied.values(pod, context);
        let draft = &layer::merge(pod, context, applied, &values).draft;
        let mut diagnostics = Diagnostics::new(draft, Problems::new(), Vec::new());
        let lists = ReplacedLists::default();
        let intent = intent::resolve(&Inputs::new(draft, pod, context, &lists), &mut diagnostics);
        take(ResolvedPod { pod, draft, intent, problems: diagnostics.problems, applied })
    })
}

/// The settings of keys without a name.
fn pod_settings(draft: &Draft, intent: &Intent<'_>, image: Option<String>) -> Vec<DerivedSetting> {
    let Intent { identity, resources, pattern, .. } = intent;
    let amount = |is_unset: bool, amount: &Option<Quantity>| {
        amount.as_ref().filter(|_| is_unset).map(ToString::to_string)
    };
    let user = identity.uid.map_or_else(|| "unset".to_owned(), |uid| uid.to_string());
    let trust = TrustPolicy::default_for(draft.ca_configmap.is_some()).name();
    let values = [
        (ExactKey::Pattern, draft.pattern.is_none().then(|| pattern.name().to_owned())),
        (ExactKey::CaTrust, draft.ca_trust.is_none().then(|| trust.to_owned())),
        (ExactKey::Image, image.filter(|_| draft.image.is_none())),
        (ExactKey::RunAsUser, draft.run_as_user.is_none().then_some(user)),
        (
            ExactKey::RunAsGroup,
            identity.gid.filter(|_| draft.run_as_group.is_none()).map(|gid| gid.to_string()),
        ),
        (ExactKey::RequestsCpu, amount(draft.requests_cpu.is_none(), &resources.requests_cpu)),
        (ExactKey::RequestsMemory, amount(draft.requests_memory.is_none(), &resources.requests_memory)),
        (ExactKey::LimitsCpu, amount(draft.limits_cpu.is_none(), &resources.limits_cpu)),
        (ExactKey::LimitsMemory, amount(draft.limits_memory.is_none(), &resources.limits_memory)),
    ];
    let values = values.into_iter().filter_map(|(key, value)| Some((key, value?)));
    values
        .map(|(key, value)| DerivedSetting { key: key.to_string(), value, rule: rule(Key::Exact(key)) })
        .collect()
}

/// The format and the mode of each file.
fn settings_of_files(draft: &Draft, intent: &Intent<'_>) -> Vec<DerivedSetting> {
    let secrets = draft.secrets.iter().zip(&intent.secrets).map(|((name, _), mapping)| {
        let has_field = matches!(&mapping.source, SecretSource::Single(SecretRef { field: Some(_), .. }));
        (name, &mapping.options, if has_field { Format::Raw } else { Format::Json })
    });
    let dynamic = draft.dynamic.keys().zip(&intent.dynamic);
    let dynamic = dynamic.map(|(name, mapping)| (name, &mapping.options, Format::Json));
    secrets
        .chain(dynamic)
        .flat_map(|(name, options, format)| settings_of_file(draft, name, options, format))
        .collect()
}

fn settings_of_file(draft: &Draft, name: &str, options: &FileOptions, format: Format) -> Vec<DerivedSetting> {
    let unset = FileDraft::default();
    let file = draft.files.get(name).unwrap_or(&unset);
    let has_form = file.format.is_some() || file.template.is_some();
    let mode = options.mode.unwrap_or(FileMode::DEFAULT).to_string();
    let values = [
        (NamedKey::SecretFormat, (!has_form).then(|| format.name().to_owned())),
        (NamedKey::SecretMode, file.mode.is_none().then_some(mode)),
    ];
    let values = values.into_iter().filter_map(|(key, value)| Some((key, value?)));
    values
        .map(|(key, value)| DerivedSetting {
            key: format!("{key}{name}"),
            value,
            rule: rule(Key::Named(key)),
        })
        .collect()
}

/// The documented default of a key.
fn rule(key: Key) -> &'static str {
    let spec = specs().find(|spec| spec.key == key);
    match spec.map(|spec| spec.default) {
        Some(DefaultValue::Words(words)) => words,
        _ => "",
    }
}
