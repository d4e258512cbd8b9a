//! A validated policy.

use std::sync::Arc;

use super::{
    compile,
    glob::{self, GlobText},
    labels::{self, PodLabels},
    limits::Field,
    parts::{Allow, Enforcement, Exception, PolicyParts},
    variables::Texts,
};
use crate::{Namespace, annotations::NamedKey, problem::Problems};

/// A validated policy. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Policy(Arc<CompiledPolicy>);

#[derive(Debug)]
struct CompiledPolicy {
    name: Arc<str>,
    /// The indices of `parts.inject`, sorted by key.
    by_key: Box<[u16]>,
    /// With sorted values in expressions.
    parts: PolicyParts,
}

/// The source of a file or variable in a policy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'p> {
    pub(super) key: NamedKey,
    /// The name of the file or variable.
    pub(super) name: &'p str,
    pub(super) value: &'p str,
}

impl Policy {
    /// Validates a policy; returns all of its problems.
    pub fn compile(parts: PolicyParts) -> Result<Self, Problems> {
        let parts = compile::checked(parts)?;
        let mut by_key: Vec<u16> = (0..).take(parts.inject.len()).collect();
        by_key.sort_unstable_by_key(|at| parts.inject.get(usize::from(*at)).map(|(key, _)| key));
        let by_key = by_key.into();
        Ok(Self(Arc::new(CompiledPolicy { name: parts.name.as_str().into(), by_key, parts })))
    }

    /// The object's name.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// The object's generation.
    pub fn generation(&self) -> i64 {
        self.0.parts.generation
    }

    /// The priority; a higher one takes precedence.
    pub fn priority(&self) -> i32 {
        self.0.parts.priority
    }

    /// What happens if it is violated.
    pub fn enforcement(&self) -> Enforcement {
        self.0.parts.enforcement
    }

    /// The environment of the namespaces that it selects.
    pub fn environment(&self) -> Option<&str> {
        self.0.parts.environment.as_deref()
    }

    /// Whether it adds secrets to pods.
    pub fn injects(&self) -> bool {
        self.sources().next().is_some()
    }

    /// The parts that it was compiled from, with sorted values in expressions.
    pub fn parts(&self) -> &PolicyParts {
        &self.0.parts
    }

    /// Name and generation in the form of a receipt.
    pub(crate) fn reference(&self) -> String {
        format!("{}@{}", self.name(), self.generation())
    }

    /// Whether its namespace selector matches.
    pub fn selects_namespace(&self, namespace: &Namespace) -> bool {
        labels::matches(&self.0.parts.namespaces, &namespace.labels)
    }

    pub(crate) fn selects_pod(
        &self,
        namespace: &Namespace,
        labels: &PodLabels<'_>,
        service_account: &str,
    ) -> bool {
        let PolicyParts { pods, service_accounts, .. } = &self.0.parts;
        self.selects_namespace(namespace)
            && labels::matches(pods, labels)
            && is_named(service_accounts, service_account)
    }

    /// The keys and values that it adds to a pod, `defaults` first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        let PolicyParts { inject, defaults, .. } = &self.0.parts;
        defaults.iter().chain(inject).map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The sources of its files and variables.
    pub(super) fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        self.0.parts.inject.iter().filter_map(|(key, value)| source(key, value))
    }

    /// The value of one of the keys that it adds to pods, except `defaults`.
    pub(super) fn injected(&self, key: &str) -> Option<&str> {
        let CompiledPolicy { parts, by_key, .. } = &*self.0;
        let entry = |at: &u16| parts.inject.get(usize::from(*at));
        let place = by_key.binary_search_by(|at| entry(at).map(|(found, _)| found.as_str()).cmp(&Some(key)));
        by_key.get(place.ok()?).and_then(entry).map(|(_, value)| value.trim())
    }

    /// The value of an option of a file or variable.
    pub(super) fn option(&self, key: NamedKey, name: &str) -> Option<&str> {
        self.injected(&format!("{}{name}", key.text()))
    }

    /// The total number of entries in its allow-lists, including those of exceptions.
    pub(super) fn allowed(&self) -> usize {
        let PolicyParts { allow, exceptions, .. } = &self.0.parts;
        let entries = |allow: &Allow| -> usize {
            Field::ALL.iter().filter_map(|field| field.list(allow)).map(<[String]>::len).sum()
        };
        entries(allow) + exceptions.iter().map(|exception| entries(&exception.allow)).sum::<usize>()
    }

    /// The allow-lists of its exceptions that have not expired and apply to the pod.
    pub(super) fn exceptions(
        &self,
        namespace: &str,
        labels: &dyn Texts,
        service_account: &str,
        now: i64,
    ) -> Vec<&Allow> {
        let is_for_pod = |exception: &&Exception| {
            now < exception.expires
                && is_named(&exception.namespaces, namespace)
                && is_named(&exception.service_accounts, service_account)
                && labels::matches(&exception.pods, labels)
        };
        let exceptions = self.0.parts.exceptions.iter().filter(is_for_pod);
        exceptions.map(|exception| &exception.allow).collect()
    }
}

fn source<'p>(key: &'p str, value: &'p str) -> Option<Source<'p>> {
    [NamedKey::InjectSecret, NamedKey::InjectDynamic, NamedKey::InjectEnv].into_iter().find_map(|named| {
        let name = key.strip_prefix(named.text()).filter(|name| !name.is_empty())?;
        Some(Source { key: named, name, value: value.trim() })
    })
}

/// Whether one of these globs matches a name. True if there are no globs.
fn is_named(globs: &[String], name: &str) -> bool {
    if globs.is_empty() {
        return true;
    }
    let subject = GlobText::new(name);
    globs.iter().any(|glob| glob::covers(glob, &subject))
}
