//! Where each setting of a pod comes from.

use std::{borrow::Cow, collections::BTreeMap};

use crate::{
    Context, PodView,
    annotations::{Fill, ValueKind},
    layer::{self, Layer, Meaning},
    policy::{self, Applied},
};

/// One setting, its value and who set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The annotation without its prefix.
    pub key: String,
    /// The value as it is written there, with its variables filled; a template is not shown.
    pub value: String,
    /// The layer that won.
    pub layer: Layer,
}

/// Every setting that holds for a pod, sorted by key, with the layer it comes from.
pub fn explain(pod: &PodView<'_>, context: &Context<'_>) -> Vec<Explanation> {
    policy::with_applied(pod, context, |applied| explain_under(pod, context, applied))
}

fn explain_under(pod: &PodView<'_>, context: &Context<'_>, applied: &Applied<'_>) -> Vec<Explanation> {
    let values = applied.values(pod, context);
    let fill = Fill::From(&values);
    let mut settings = BTreeMap::new();
    layer::each(pod, context, applied, |layer, entries| {
        for (key, value) in entries {
            if let Meaning::Setting(spec, _) = layer::meaning(key, &layer) {
                let value = if spec.value == ValueKind::Template { "(a template)" } else { value.trim() };
                let filled = fill.fill(spec, value).map(|filled| filled.text);
                let value = filled.unwrap_or(Cow::Borrowed(value)).into_owned();
                settings.insert(key.to_owned(), (value, layer.clone()));
            }
        }
    });
    settings.into_iter().map(|(key, (value, layer))| Explanation { key, value, layer }).collect()
}
