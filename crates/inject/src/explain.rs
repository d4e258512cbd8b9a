//! Explains which layer each setting of a pod comes from.

use std::{borrow::Cow, collections::BTreeMap};

use crate::{
    Context, PodView,
    annotations::ValueKind,
    layer::{self, Fill, Layer, Meaning},
    policy::{self, AppliedPolicies},
};

/// A setting, its value and its layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The annotation, without its prefix.
    pub key: String,
    /// The value as written in that layer, with its variables filled. Templates are not shown.
    pub value: String,
    /// The layer with the highest precedence that sets it.
    pub layer: Layer,
}

/// All settings of a pod, sorted by key, each with the layer that it comes from.
pub fn explain(pod: &PodView<'_>, context: &Context<'_>) -> Vec<Explanation> {
    policy::with_applied(pod, context, |applied| explain_under(pod, context, applied))
}

fn explain_under(
    pod: &PodView<'_>,
    context: &Context<'_>,
    applied: &AppliedPolicies<'_>,
) -> Vec<Explanation> {
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
