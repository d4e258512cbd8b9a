//! Where each setting of a pod comes from.

use std::collections::BTreeMap;

use crate::{
    Context, PodView,
    annotations::ValueKind,
    layer::{self, Layer, Meaning},
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
    let mut settings = BTreeMap::new();
    layer::each(pod, context, |layer, entries| {
        for (key, value) in entries {
            if let Meaning::Setting(spec, _) = layer::meaning(key, &layer) {
                let value = if spec.value == ValueKind::Template { "(a template)" } else { value.trim() };
                settings.insert(key.to_owned(), (value.to_owned(), layer.clone()));
            }
        }
    });
    settings.into_iter().map(|(key, (value, layer))| Explanation { key, value, layer }).collect()
}
