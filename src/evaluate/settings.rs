//! Lists each setting of a pod and its source.

use scaivault_inject::{Context, Decision, Derived, Explanation, PodView, derived, explain};

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
pub(super) fn all(pod: &PodView<'_>, context: &Context<'_>, decision: &Decision) -> Vec<Setting> {
    let given = explain(pod, context).into_iter().map(|Explanation { key, value, layer }| Setting {
        key,
        value,
        layer: layer.to_string(),
        rule: None,
    });
    let derived = if decision.leaves_alone() { Vec::new() } else { derived(pod, context) };
    let derived = derived.into_iter().map(|Derived { key, value, rule }| Setting {
        key,
        value,
        layer: "derived".to_owned(),
        rule: Some(rule.replace('`', "")),
    });
    let mut settings: Vec<Setting> = given.chain(derived).collect();
    settings.sort_by(|one, other| one.key.cmp(&other.key));
    settings
}
