//! Decides what to write to the Secret, given the existing one. Pure.
//!
//! A Secret belongs to `sync-secret` if it has the label [`MANAGED_BY_LABEL`]. The version of its
//! content is in an annotation: a random text that changes with the content. It is not a hash, so
//! nothing about the content can be derived from it.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use scaivault_contract::names::{CONTENT_VERSION_ANNOTATION, MANAGED_BY_LABEL, SYNC_SECRET_COMMAND};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use crate::config::SecretSpec;

/// The field manager of the agent's fields in the Secret's `managedFields`.
pub(crate) const FIELD_MANAGER: &str = "scaivault-sync-secret";

/// The maximum total size of all values in bytes, set by Kubernetes.
pub(crate) const CONTENT_MAX_BYTES: usize = 1024 * 1024;

/// The values by their keys.
pub(crate) type Content = BTreeMap<String, Vec<u8>>;

/// The existing Secret. It does not implement `Debug`, because it contains the values.
#[derive(Deserialize)]
pub(crate) struct ExistingSecret {
    metadata: Metadata,
    #[serde(default, rename = "type")]
    secret_type: String,
    /// In base64.
    #[serde(default)]
    data: BTreeMap<String, String>,
    #[serde(default)]
    immutable: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    deletion_timestamp: Option<String>,
    #[serde(default)]
    managed_fields: Vec<ManagedFields>,
}

#[derive(Deserialize)]
struct ManagedFields {
    #[serde(default)]
    manager: String,
    #[serde(default)]
    operation: String,
    #[serde(default, rename = "fieldsV1")]
    fields: Value,
}

/// Why the Secret cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error(
        "it exists and was not made by sync-secret (its field managers: {managers}); set SYNC_SECRET_NAME to another name, or let sync-secret take it over with: kubectl -n {namespace} label secret {name} {MANAGED_BY_LABEL}={SYNC_SECRET_COMMAND}"
    )]
    Foreign { namespace: String, name: String, managers: String },
    #[error(
        "it has the type {existing}, and SYNC_SECRET_TYPE is {wanted}; Kubernetes cannot change a type, so set another name, or delete the Secret: kubectl -n {namespace} delete secret {name}"
    )]
    Type { namespace: String, name: String, existing: String, wanted: String },
    #[error(
        "it is immutable, and its content would change; set SYNC_SECRET_NAME to a new name, such as {name}-2, and let the application use that"
    )]
    Immutable { name: String },
    #[error("it is being deleted; wait until it is gone, or remove the finalizers that keep it")]
    Deleting,
}

/// The required action.
pub(crate) enum Plan {
    /// The Secret is up to date.
    Unchanged,
    /// Apply this body.
    Apply {
        /// The Secret for server-side apply.
        body: Vec<u8>,
        /// Whether fields of other managers are taken over. False for a new Secret, which another
        /// client may be creating.
        is_forced: bool,
        change: Change,
    },
}

/// The keys that change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Whether the Secret is new.
    pub(crate) is_new: bool,
    /// Keys with a new value.
    pub(crate) written: Vec<String>,
    /// Keys that are no longer configured.
    pub(crate) removed: Vec<String>,
}

/// Checks whether the Secret may be written at all.
pub(crate) fn check(existing: &ExistingSecret, spec: &SecretSpec, namespace: &str) -> Result<(), Refusal> {
    let ExistingSecret { metadata, secret_type, .. } = existing;
    let (namespace, name) = (namespace.to_owned(), spec.name.clone());
    if metadata.labels.get(MANAGED_BY_LABEL).is_none_or(|value| value != SYNC_SECRET_COMMAND) {
        let managers: BTreeSet<_> = metadata.managed_fields.iter().map(|entry| &*entry.manager).collect();
        let managers = managers.into_iter().collect::<Vec<_>>().join(", ");
        return Err(Refusal::Foreign { namespace, name, managers });
    }
    if metadata.deletion_timestamp.is_some() {
        return Err(Refusal::Deleting);
    }
    let wanted = spec.secret_type.as_str();
    if secret_type != wanted {
        let (existing, wanted) = (secret_type.clone(), wanted.to_owned());
        return Err(Refusal::Type { namespace, name, existing, wanted });
    }
    Ok(())
}

/// Compares the existing Secret with the configuration. `new_version` is used if the content
/// changes.
pub(crate) fn plan(
    existing: Option<&ExistingSecret>,
    spec: &SecretSpec,
    content: &Content,
    namespace: &str,
    new_version: &str,
) -> Result<Plan, Refusal> {
    let data: BTreeMap<_, _> =
        content.iter().map(|(key, value)| (key.clone(), BASE64_STANDARD.encode(value))).collect();
    let mut labels = spec.labels.clone();
    labels.insert(MANAGED_BY_LABEL.to_owned(), SYNC_SECRET_COMMAND.to_owned());
    let mut annotations = spec.annotations.clone();
    let mut version = new_version;
    let mut change = Change { is_new: true, written: data.keys().cloned().collect(), removed: Vec::new() };
    let mut immutable = spec.immutable;
    if let Some(existing) = existing {
        check(existing, spec, namespace)?;
        change = existing.change_to(&data);
        let has_changed = !(change.written.is_empty() && change.removed.is_empty());
        if existing.immutable && has_changed {
            return Err(Refusal::Immutable { name: spec.name.clone() });
        }
        // A Secret cannot be made mutable again.
        immutable |= existing.immutable;
        if let Some(known) = existing.metadata.annotations.get(CONTENT_VERSION_ANNOTATION)
            && !has_changed
        {
            version = known;
        }
    }
    annotations.insert(CONTENT_VERSION_ANNOTATION.to_owned(), version.to_owned());
    if existing.is_some_and(|existing| existing.has(&data, &labels, &annotations, immutable)) {
        return Ok(Plan::Unchanged);
    }
    let mut body = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": spec.name, "labels": labels, "annotations": annotations},
        "type": spec.secret_type.as_str(),
        "data": data,
    });
    if immutable {
        body["immutable"] = true.into();
    }
    if let Some(existing) = existing {
        // The API server rejects it if another client has written the Secret meanwhile.
        body["metadata"]["resourceVersion"] = existing.metadata.resource_version.clone().into();
    }
    let body = body.to_string().into_bytes();
    Ok(Plan::Apply { body, is_forced: existing.is_some(), change })
}

impl ExistingSecret {
    fn change_to(&self, data: &BTreeMap<String, String>) -> Change {
        let is_new_value = |(key, value): &(&String, &String)| self.data.get(*key) != Some(*value);
        let written = data.iter().filter(is_new_value).map(|(key, _)| key.clone()).collect();
        let owned = self.owned("/f:data").into_iter();
        let removed = owned.filter(|key| !data.contains_key(*key)).map(str::to_owned).collect();
        Change { is_new: false, written, removed }
    }

    /// Whether nothing would change, including the ownership of fields.
    fn has(
        &self,
        data: &BTreeMap<String, String>,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
        immutable: bool,
    ) -> bool {
        let is_same = |fields, wanted: &BTreeMap<String, String>, existing: &BTreeMap<String, String>| {
            self.owned(fields).into_iter().eq(wanted.keys().map(String::as_str))
                && wanted.iter().all(|(key, value)| existing.get(key) == Some(value))
        };
        self.immutable == immutable
            && is_same("/f:data", data, &self.data)
            && is_same("/f:metadata/f:labels", labels, &self.metadata.labels)
            && is_same("/f:metadata/f:annotations", annotations, &self.metadata.annotations)
    }

    /// The fields below this one that `sync-secret` applied last.
    fn owned(&self, pointer: &str) -> BTreeSet<&str> {
        let is_own = |entry: &&ManagedFields| entry.manager == FIELD_MANAGER && entry.operation == "Apply";
        let entries = self.metadata.managed_fields.iter().filter(is_own);
        let fields = entries.filter_map(|entry| entry.fields.pointer(pointer)?.as_object());
        fields.flat_map(|fields| fields.keys()).filter_map(|key| key.strip_prefix("f:")).collect()
    }
}

#[cfg(test)]
mod tests;
