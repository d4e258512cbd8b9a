//! Where each setting of a pod comes from.

use std::collections::BTreeMap;

use crate::{
    Context, PodView,
    annotations::{DefaultValue, Key, ValueKind, spec_of, specs},
    problem::Layer,
};

/// One setting, its value and who set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The annotation without its prefix.
    pub key: String,
    /// The value as it is written there; a template is not shown.
    pub value: String,
    /// The layer that won.
    pub layer: Layer,
}

/// Every setting that holds for a pod, sorted by key, with the layer it comes from.
pub fn explain(pod: &PodView<'_>, context: &Context<'_>) -> Vec<Explanation> {
    let built_in = specs().filter_map(|spec| match (spec.key, spec.default) {
        (Key::Exact(key), DefaultValue::Value(value)) => Some((key, value)),
        _ => None,
    });
    let injector = context.settings.config.defaults.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let role = context.service_account_role.map(|role| ("role", role));
    let layered = built_in
        .map(|entry| (entry, Layer::BuiltIn))
        .chain(injector.map(|entry| (entry, Layer::Injector)))
        .chain(context.namespace.annotations().map(|entry| (entry, Layer::Namespace)))
        .chain(role.map(|entry| (entry, Layer::ServiceAccount)))
        .chain(pod.annotations().map(|entry| (entry, Layer::Pod)));
    let mut settings = BTreeMap::new();
    for ((key, value), layer) in layered {
        let Some((spec, _)) = spec_of(key) else { continue };
        if spec.value == ValueKind::Written || !spec.layers.holds(layer) {
            continue;
        }
        let value = if spec.value == ValueKind::Template { "(a template)" } else { value.trim() };
        settings.insert(key.to_owned(), (value.to_owned(), layer));
    }
    settings.into_iter().map(|(key, (value, layer))| Explanation { key, value, layer }).collect()
}
