//! Argo Rollouts whose template is that of another workload: `spec.workloadRef`.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{
    Catalog, WorkloadKey,
    template::{ResolvedChoice, Template},
};
use crate::{
    choice::{Annotations, Choice, Places, choose, is_chosen_by},
    workload::{Kind, Mode},
};

/// The maximum number of Rollouts that use the template of one workload, because each change of it is read
/// for all of them.
const ROLLOUTS_MAX: usize = 8;

/// The choices of a template, for Rollouts that use it.
#[derive(Debug, Default)]
pub(super) struct SharedChoice {
    /// The annotations about restarts.
    annotations: Annotations,
    policy: Option<Mode>,
    /// Whether the annotations are too long to be kept.
    is_too_long: bool,
}

impl SharedChoice {
    pub(super) fn new(template: &Annotations, policy: Option<Mode>) -> Self {
        Self { annotations: choosing(template), policy, is_too_long: false }
    }

    pub(super) fn too_long() -> Self {
        Self { is_too_long: true, ..Self::default() }
    }

    pub(super) fn bytes(&self) -> usize {
        bytes(&self.annotations)
    }
}

/// The workload whose template a Rollout uses, and the annotations of the Rollout and of the namespace.
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

    pub(super) fn bytes(&self) -> usize {
        self.workload.name.len() + bytes(&self.own) + bytes(&self.namespace)
    }
}

/// Filters the annotations about restarts.
fn choosing(annotations: &Annotations) -> Annotations {
    let chosen = annotations.iter().filter(|(key, _)| is_chosen_by(key));
    chosen.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn bytes(annotations: &Annotations) -> usize {
    annotations.iter().map(|(key, value)| key.len() + value.len()).sum()
}

impl Template {
    /// The template of the workload's pods: its own or the referenced one.
    pub(super) fn delivering<'a>(&'a self, templates: &'a BTreeMap<WorkloadKey, Box<Self>>) -> &'a Self {
        let referenced = self.reference.as_ref().and_then(|reference| templates.get(&reference.workload));
        referenced.map_or(self, |template| &**template)
    }
}

impl Catalog {
    /// Records whose template a Rollout uses. Above the limit, the reference is removed.
    pub(super) fn add_reference(&mut self, key: &WorkloadKey, template: &mut Template) {
        let Some(reference) = &template.reference else { return };
        let rollouts = self.references.entry(reference.workload.clone()).or_default();
        if rollouts.len() < ROLLOUTS_MAX {
            rollouts.insert(Arc::clone(&key.name));
        } else {
            template.reference = None;
        }
    }

    /// Removes the reference of a Rollout whose template was removed or replaced.
    pub(super) fn forget_reference(&mut self, key: &WorkloadKey, template: &Template) {
        let Some(reference) = &template.reference else { return };
        if let Some(rollouts) = self.references.get_mut(&reference.workload) {
            rollouts.remove(&key.name);
            if rollouts.is_empty() {
                self.references.remove(&reference.workload);
            }
        }
    }

    /// Updates the Rollouts that use the template of a workload that was added, changed or removed.
    pub(super) fn change_references(&mut self, key: &WorkloadKey) {
        let users = self.references.get(key).into_iter().flatten();
        let users =
            users.map(|name| WorkloadKey { kind: Kind::Rollout, name: Arc::clone(name), ..key.clone() });
        let itself = self.templates.get(key).filter(|template| template.reference.is_some());
        let concerned: Vec<WorkloadKey> = users.chain(itself.map(|_| key.clone())).collect();
        for rollout in concerned {
            let choice = self.choice_by(&rollout);
            if let (Some(template), Some(choice)) = (self.templates.get_mut(&rollout), choice) {
                template.choice = choice;
            }
            self.changed.insert(rollout);
        }
    }

    /// The choice for a Rollout, as if the referenced template were its own.
    fn choice_by(&self, rollout: &WorkloadKey) -> Option<ResolvedChoice> {
        let reference = self.templates.get(rollout)?.reference.as_ref()?;
        let unknown = Template::default();
        let referenced = self.templates.get(&reference.workload).map_or(&unknown, |template| &**template);
        let Template { shared, secrets, classes, .. } = referenced;
        let choice = if shared.is_too_long {
            let workload = &reference.workload;
            Choice::unread(format!("the annotations about restarts of {workload} are too long"))
        } else {
            choose(&Places {
                workload: &reference.own,
                template: &shared.annotations,
                namespace: &reference.namespace,
                policy: shared.policy,
                default: self.defaults.mode,
                with_reloader: self.defaults.with_reloader,
            })
        };
        Some(ResolvedChoice::new(choice, secrets, classes))
    }
}
