//! Adds workloads to the catalog.

use std::{collections::BTreeSet, sync::Arc};

use scaivault_inject::{Context, PodView, PolicyRestart};
use scaivault_usage::{SECRETS_STORE, SecretUse, csi_volumes, secrets};
use serde_json::Value;

use super::{
    Catalog, annotations, is_older,
    reference::{Reference, SharedChoice},
    template::{NAMESPACE_TEXT_MAX, ReadFrom, ResolvedChoice, Template, too_long},
};
use crate::{
    choice::{Annotations, Choice, Places, choose},
    marker::{MARKER, MarkedVersions, SECRETS_MAX},
    observe::state,
    source::{SourceId, SourceKind, SourceRef},
    workload::{Kind, Mode, NotFollowed, WorkloadKey},
};

impl Catalog {
    /// Adds or replaces a workload. `context` is that of its namespace. If generation and annotations are
    /// unchanged, only the state is read.
    pub fn put_workload(&mut self, kind: Kind, object: &Value, context: &Context<'_>) {
        let Some(key) = WorkloadKey::from_object(kind, object) else { return };
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
        let annotations = annotations(object);
        let read = ReadFrom::new(object, &annotations);
        let known = self.templates.get_mut(&key).filter(|known| *known.uid == *text("uid"));
        if let Some(known) = known {
            if is_older(text("resourceVersion"), &known.resource_version) {
                return;
            }
            if read.is_some() && known.read == read {
                known.state = state(kind, object);
                known.resource_version = text("resourceVersion").into();
                self.changed.insert(key);
                return;
            }
        }
        let key = self.share(key);
        let former_vault = self.forget(&key);
        let template = self.read(&key, object, &annotations, context);
        self.path_changes += u64::from(template.vault != former_vault);
        let template = Template {
            uid: text("uid").into(),
            resource_version: text("resourceVersion").into(),
            read,
            state: state(kind, object),
            ..template
        };
        self.keep(key, template);
    }

    /// Lets the next event of each workload in these namespaces be read completely, because its annotations
    /// may mean something else now.
    pub fn read_again(&mut self, is_concerned: impl Fn(&str) -> bool) {
        let concerned = self.templates.iter_mut().filter(|(key, _)| is_concerned(&key.namespace));
        concerned.for_each(|(_, template)| template.read = None);
    }

    fn read(
        &mut self,
        key: &WorkloadKey,
        object: &Value,
        workload_annotations: &Annotations,
        context: &Context<'_>,
    ) -> Template {
        let template = object.pointer("/spec/template").unwrap_or(&Value::Null);
        let text_of_template = template.to_string();
        let view = PodView::parse(&text_of_template).ok();
        let template_annotations = annotations(template);
        let policy = view.as_ref().and_then(|pod| policy_mode(pod, context));
        let marker = match key.kind {
            Kind::Rollout => workload_annotations.get(MARKER),
            Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet => template_annotations.get(MARKER),
        };
        let (vault, mut not_followed) = match view.as_ref().filter(|_| !self.defaults.without_vault) {
            Some(pod) => self.vault_sources(&key.namespace, pod, context),
            None => Default::default(),
        };
        let used = secrets(template).into_iter().filter(SecretUse::is_read_by_containers);
        let used = names(SourceKind::Secret, used.map(|used| used.secret), &mut not_followed);
        let mounted = csi_volumes(template).into_iter().filter(|volume| volume.driver == SECRETS_STORE);
        let classes = mounted.filter_map(|volume| volume.class);
        let classes = names(SourceKind::Class, classes, &mut not_followed);
        let too_long = too_long(workload_annotations, &template_annotations);
        let is_too_long = too_long.is_some();
        let choice = match too_long {
            Some(problem) => Choice::unread(problem),
            None => choose(&Places {
                workload: workload_annotations,
                template: &template_annotations,
                namespace: &context.namespace.annotations,
                policy,
                default: self.defaults.mode,
                with_reloader: self.defaults.with_reloader,
            }),
        };
        let reference = Reference::new(key, object, workload_annotations, &context.namespace.annotations);
        Template {
            choice: ResolvedChoice::new(choice, &used, &classes),
            vault,
            secrets: used,
            classes,
            not_followed,
            marker: marker.map(|text| MarkedVersions::parse(text)),
            shared: if is_too_long {
                SharedChoice::too_long()
            } else {
                SharedChoice::new(&template_annotations, policy)
            },
            reference: reference.filter(|_| !is_too_long),
            ..Template::default()
        }
    }

    /// Keeps a template, within the budget of its namespace.
    fn keep(&mut self, key: WorkloadKey, mut template: Template) {
        let texts = self.texts.entry(Arc::clone(&key.namespace)).or_default();
        if *texts + template.count_bytes() > NAMESPACE_TEXT_MAX {
            template.drop_texts();
            // The next event reads it again, because the namespace may have room then.
            template.read = None;
        }
        template.text_bytes = template.count_bytes();
        *texts += template.text_bytes;
        self.add_reference(&key, &mut template);
        self.templates.insert(key.clone(), Box::new(template));
        self.change_references(&key);
        self.changed.insert(key);
        self.forget_unused_sources();
    }

    /// Removes a workload.
    pub fn remove_workload(&mut self, key: &WorkloadKey) {
        self.path_changes += u64::from(!self.forget(key).is_empty());
        self.change_references(key);
        self.refusals.remove(key);
        self.changed.insert(key.clone());
    }

    /// Removes a template and its counts. Returns its ScaiVault secrets.
    fn forget(&mut self, key: &WorkloadKey) -> Vec<(SourceId, bool)> {
        let Some(template) = self.templates.remove(key) else { return Vec::new() };
        self.forget_vault_sources(key, &template);
        self.forget_reference(key, &template);
        if let Some(texts) = self.texts.get_mut(&key.namespace) {
            *texts -= template.text_bytes;
            if *texts == 0 {
                self.texts.remove(&key.namespace);
            }
        }
        template.vault
    }
}

/// Sorted names. Names above the limit are not followed.
fn names(
    kind: SourceKind,
    names: impl Iterator<Item = String>,
    not_followed: &mut NotFollowed,
) -> Vec<Arc<str>> {
    let names: BTreeSet<String> = names.collect();
    let mut names = names.into_iter();
    let kept = names.by_ref().take(SECRETS_MAX).map(Arc::from).collect();
    names.for_each(|name| not_followed.add(|| SourceRef::new(kind, &name)));
    kept
}

/// The mode of the strongest policy with `restart` that selects the workload's pods.
fn policy_mode(pod: &PodView<'_>, context: &Context<'_>) -> Option<Mode> {
    context.policies.restart(context.namespace, pod).map(|restart| match restart {
        PolicyRestart::Auto => Mode::Auto,
        PolicyRestart::Manual => Mode::Manual,
        PolicyRestart::Off => Mode::Off,
    })
}
