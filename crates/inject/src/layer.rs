//! The layers of settings: one ordered list, which `decide` merges and `explain` shows.

use std::{fmt, sync::Arc};

use crate::{
    Context, PodView,
    annotations::{
        AnnotationSpec, Collected, DefaultValue, ExactKey, Fill, Key, ValueKind, collect, not_text, spec_of,
        specs,
    },
    policy::{Applied, variables::Values},
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
    /// None; the injector writes the key.
    Nobody,
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
            (Self::Nobody | Self::Sources, _) => false,
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
            Self::Nobody => "nothing: the injector writes it",
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
    applied: &'a Applied<'a>,
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
    applied: &Applied<'_>,
    values: &Values<'_>,
) -> Collected {
    let mut collected = Collected::over(context.settings.base.clone());
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use scaivault_contract::names::ANNOTATION_PREFIX;

    use super::*;
    use crate::{
        InjectorConfig, KubeVersion, Namespace, Settings, annotations::NamedKey, explain, policy::PodLabels,
    };

    /// Sets every third key in the configuration, the namespace and the pod each, so that the layer
    /// with the highest precedence varies between keys.
    #[test]
    fn what_is_explained_is_what_is_decided() {
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
        let applied = Applied::none(&labels);
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
        assert!(allowed(Setters::Nobody).eq([false; 7]));
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
}
