//! Argo Rollouts whose template is that of another workload: `spec.workloadRef`.

use std::{collections::BTreeMap, sync::Arc};

use scaivault_contract::names::ANNOTATION_PREFIX;
use serde_json::Value;

use super::{Catalog, Template, WorkloadKey};
use crate::{
    choice::{Annotations, Choice, Places, choose, keys},
    workload::{Kind, Mode},
};

/// What is kept of each template besides what it delivers, for Rollouts that use it.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The annotations that choose restarts.
    annotations: Annotations,
    policy: Option<Mode>,
}

impl Shared {
    pub(super) fn new(template: &Annotations, policy: Option<Mode>) -> Self {
        Self { annotations: choosing(template), policy }
    }
}

/// Where the template of a Rollout is, and what is chosen elsewhere.
#[derive(Debug)]
pub(super) struct Reference {
    workload: WorkloadKey,
    own: Annotations,
    namespace: Annotations,
}

impl Reference {
    pub(super) fn new(
        rollout: &WorkloadKey,
        object: &Value,
        own: &Annotations,
        namespace: &Annotations,
    ) -> Option<Box<Self>> {
        let reference = object.pointer("/spec/workloadRef").filter(|_| rollout.kind == Kind::Rollout)?;
        let kind = Kind::from_name(reference["kind"].as_str()?).filter(|kind| *kind != Kind::Rollout)?;
        let (namespace_of_both, name) = (Arc::clone(&rollout.namespace), reference["name"].as_str()?.into());
        let workload = WorkloadKey { namespace: namespace_of_both, kind, name };
        Some(Box::new(Self { workload, own: choosing(own), namespace: choosing(namespace) }))
    }
}

/// The annotations that choose restarts.
fn choosing(annotations: &Annotations) -> Annotations {
    let is_choosing = |key: &str| {
        let own = key.strip_prefix(ANNOTATION_PREFIX);
        own.is_some_and(|key| key.starts_with(keys::RESTART)) || key.contains("reloader.stakater.com/")
    };
    let chosen = annotations.iter().filter(|(key, _)| is_choosing(key));
    chosen.map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl Template {
    /// The template of the workload's pods.
    pub(super) fn delivering<'a>(&'a self, templates: &'a BTreeMap<WorkloadKey, Self>) -> &'a Self {
        let reference = self.reference.as_ref();
        reference.and_then(|reference| templates.get(&reference.workload)).unwrap_or(self)
    }
}

impl Catalog {
    /// A workload came, changed or went: Rollouts that use its template change with it.
    pub(super) fn change_references(&mut self, key: &WorkloadKey) {
        let first = WorkloadKey { kind: Kind::Rollout, name: "".into(), ..key.clone() };
        let rollouts =
            self.templates.range(first..).take_while(|(other, _)| other.namespace == key.namespace);
        let concerned = rollouts.filter_map(|(rollout, template)| {
            let reference = template.reference.as_ref()?;
            let is_concerned = rollout == key || reference.workload == *key;
            is_concerned.then(|| (rollout.clone(), self.choice_by(reference)))
        });
        for (rollout, choice) in concerned.collect::<Vec<_>>() {
            if let (Some(template), Some(choice)) = (self.templates.get_mut(&rollout), choice) {
                template.choice = choice;
            }
            self.changed.insert(rollout);
        }
    }

    /// What is chosen for a Rollout, as if the template were its own.
    fn choice_by(&self, reference: &Reference) -> Option<Choice> {
        let shared = &self.templates.get(&reference.workload)?.shared;
        Some(choose(&Places {
            workload: &reference.own,
            template: &shared.annotations,
            namespace: &reference.namespace,
            policy: shared.policy,
            default: self.defaults.mode,
            with_reloader: self.defaults.with_reloader,
        }))
    }
}
