//! Checks SecretProviderClasses and the pods that mount volumes of the Secrets Store CSI driver:
//! what the API server, the driver or the provider would reject, and what may not work as its
//! author expects. Annotations about restarts are checked, too.

mod class;
mod finding;
mod mounts;
mod pod;
mod restarts;
mod secret_objects;

use std::collections::BTreeMap;

use serde_json::Value;

pub(crate) use self::finding::Code;
pub(crate) use self::finding::{Finding, Severity};
use self::{class::Class, pod::Pod};
use crate::{
    evaluate::{ObjectResult, Outcome},
    object::Object,
    yaml_stream::Document,
};

/// Namespace and name as written in a manifest.
type Name = (String, String);

/// The objects in the manifests on which a pod's volumes depend.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    classes: BTreeMap<Name, Class>,
    /// `automountServiceAccountToken` of service accounts that set it.
    automount: BTreeMap<Name, bool>,
}

/// The result of looking up a class that a pod refers to.
#[derive(Clone, Copy, Debug)]
enum Lookup<'a> {
    Found(&'a Class),
    /// The manifests only contain one in this other namespace.
    Elsewhere(&'a str),
    Unknown,
}

impl Inputs {
    /// Records an object that pods depend on.
    pub(crate) fn note(&mut self, object: &Object<'_>) {
        let name = (object.namespace().to_owned(), object.name().to_owned());
        if class::is_class(object.kind) {
            self.classes.insert(name, class::read(object.api_version, object.value).0);
        } else if (object.api_version, object.kind) == ("v1", "ServiceAccount")
            && let Some(automount) = object.value.get("automountServiceAccountToken").and_then(Value::as_bool)
        {
            self.automount.insert(name, automount);
        }
    }

    /// The class of that name for a pod of `namespace`. A manifest without a namespace matches any,
    /// because the namespace is chosen when it is applied.
    fn class(&self, namespace: &str, name: &str) -> Lookup<'_> {
        let named: Vec<_> = self.classes.iter().filter(|((_, found), _)| found == name).collect();
        let fits = |found: &str| found == namespace || found.is_empty() || namespace.is_empty();
        let exact = named.iter().find(|((found, _), _)| found == namespace);
        match exact.or_else(|| named.iter().find(|((found, _), _)| fits(found))) {
            Some((_, class)) => Lookup::Found(class),
            None => named.first().map_or(Lookup::Unknown, |((found, _), _)| Lookup::Elsewhere(found)),
        }
    }

    fn automount(&self, namespace: &str, account: &str) -> Option<bool> {
        self.automount.get(&(namespace.to_owned(), account.to_owned())).copied()
    }
}

/// Adds findings to the objects of a document. `injected` is the document after injection.
pub(crate) fn check(
    results: &mut [ObjectResult],
    (value, injected): (&Value, &Value),
    inputs: &Inputs,
    document: &Document<'_>,
) {
    for result in results {
        let mut findings = if class::is_class(&result.kind) {
            let Some(object) = value.pointer(&result.pointer) else { continue };
            let (class, findings) = class::read(&result.api_version, object);
            if (class.is_ours || !findings.is_empty()) && result.outcome == Outcome::NoPod {
                result.outcome = Outcome::Class;
            }
            findings
        } else {
            check_pod(result, (value, injected), inputs)
        };
        if let Some(object) = value.pointer(&result.pointer) {
            findings.extend(restarts::check(&result.api_version, &result.kind, object));
        }
        finding::add_lines(&mut findings, &result.pointer, document);
        result.csi = findings;
    }
}

fn check_pod(result: &ObjectResult, (value, injected): (&Value, &Value), inputs: &Inputs) -> Vec<Finding> {
    let Some(pointer) = result.pod_pointer() else { return Vec::new() };
    let (Some(pod), Some(injected)) = (value.pointer(&pointer), injected.pointer(&pointer)) else {
        return Vec::new();
    };
    let pod = Pod { namespace: &result.namespace, value: pod, injected };
    let in_object = pointer.strip_prefix(&result.pointer).unwrap_or_default();
    let findings = pod::check(&pod, inputs).into_iter();
    findings
        .map(|finding| Finding { pointer: format!("{in_object}{}", finding.pointer), ..finding })
        .collect()
}

#[cfg(test)]
mod tests;
