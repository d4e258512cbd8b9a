//! The receipt: what detach needs and cannot see in the pod.
//!
//! The injector writes it, but users may write one too, so it is only trusted for three facts: the
//! former state of each list and of metadata, whether the injector set `shareProcessNamespace`, and
//! which plan the injection came from. The injected parts themselves are identified by reserved
//! names. With a missing or wrong digest the injector replaces the injection by its own plan; a
//! correct one only means that the parts that cannot be compared with the pod are unchanged.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::RECEIPT_LISTS;
use crate::pod::{ContainerView, List, MetadataView, PodView, Presence, each_item};

/// The lists that an injection may add to, by their names in a receipt.
pub(crate) const METADATA: &str = "metadata";
pub(crate) const ANNOTATIONS: &str = "annotations";
pub(crate) const VOLUMES: &str = "volumes";
pub(crate) const INIT_CONTAINERS: &str = "initContainers";
pub(crate) const SHARE_PROCESS_NAMESPACE: &str = "shareProcessNamespace";

/// The version of the receipt's format.
const VERSION: u8 = 1;
/// Maximum number of policies in a receipt.
const POLICIES: usize = 64;

/// Facts that cannot be seen in an injected pod. A list that is empty without the injected entries
/// was absent, unless it is named here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    #[serde(rename = "v")]
    version: u8,
    /// Lists that were null.
    #[serde(default, deserialize_with = "few", skip_serializing_if = "BTreeSet::is_empty")]
    null: BTreeSet<String>,
    /// Lists that were present and empty.
    #[serde(default, deserialize_with = "few", skip_serializing_if = "BTreeSet::is_empty")]
    empty: BTreeSet<String>,
    /// Boolean fields that the injector set to true.
    #[serde(default, deserialize_with = "few", skip_serializing_if = "BTreeSet::is_empty")]
    added: BTreeSet<String>,
    /// The digest of the plan (see `plan::digest`); `None` in receipts of older injectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    /// The policies that added something to the pod, as `name@generation`, for users and programs
    /// that look for pods of an older policy. Not part of the plan.
    #[serde(default, deserialize_with = "few", skip_serializing_if = "BTreeSet::is_empty")]
    policies: BTreeSet<String>,
}

/// Reads as many names as an injection can leave: users can write a receipt of any length.
fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    let (mut names, mut read) = (BTreeSet::new(), 0);
    each_item(deserializer, |name| {
        read += 1;
        names.insert(name);
        if read > RECEIPT_LISTS { Err(format!("more than {RECEIPT_LISTS} names")) } else { Ok(()) }
    })?;
    Ok(names)
}

/// The former state of a list that is empty without the injected entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftover {
    Absent,
    Null,
    Empty,
}

impl Receipt {
    /// The receipt of an injection into this pod (without the injection) that changes these
    /// containers.
    pub(crate) fn from_pod<'a, 'b: 'a>(
        pod: &PodView<'b>,
        touched: impl Iterator<Item = (&'a ContainerView<'b>, bool)>,
        shares_processes: bool,
    ) -> Self {
        let mut receipt = Self::new();
        receipt.note_metadata(&pod.metadata);
        receipt.note(VOLUMES.to_owned(), &pod.spec.volumes);
        receipt.note(INIT_CONTAINERS.to_owned(), &pod.spec.init_containers);
        for (container, gets_variables) in touched {
            receipt.note(mounts_of(container), &container.volume_mounts);
            if gets_variables {
                receipt.note(variables_of(container), &container.env);
            }
        }
        if shares_processes {
            match pod.spec.share_process_namespace {
                Presence::Absent => {
                    receipt.added.insert(SHARE_PROCESS_NAMESPACE.to_owned());
                }
                Presence::Null => {
                    receipt.added.insert(SHARE_PROCESS_NAMESPACE.to_owned());
                    receipt.null.insert(SHARE_PROCESS_NAMESPACE.to_owned());
                }
                Presence::Value(_) => {}
            }
        }
        receipt
    }

    /// Parses a pod's receipt. An invalid one is treated as empty.
    pub(crate) fn parse(text: &str) -> Self {
        serde_json::from_str(text)
            .ok()
            .filter(|receipt: &Self| receipt.version == VERSION)
            .unwrap_or_else(Self::new)
    }

    /// Sets the digest of the plan.
    pub(crate) fn with_plan(self, digest: String) -> Self {
        Self { plan: Some(digest), ..self }
    }

    /// Sets the policies that added something to the pod.
    pub(crate) fn with_policies(self, policies: impl Iterator<Item = String>) -> Self {
        Self { policies: policies.take(POLICIES).collect(), ..self }
    }

    /// Whether both are of the same plan. False for a receipt without a digest.
    pub(crate) fn has_plan_of(&self, other: &Self) -> bool {
        self.plan.is_some() && self.plan == other.plan
    }

    const fn new() -> Self {
        Self {
            version: VERSION,
            null: BTreeSet::new(),
            empty: BTreeSet::new(),
            added: BTreeSet::new(),
            plan: None,
            policies: BTreeSet::new(),
        }
    }

    /// The annotation's value.
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("a receipt is strings and a number")
    }

    /// The former state of a list that is empty without the injected entries.
    pub(crate) fn leftover(&self, list: &str) -> Leftover {
        if self.null.contains(list) {
            Leftover::Null
        } else if self.empty.contains(list) {
            Leftover::Empty
        } else {
            Leftover::Absent
        }
    }

    /// Whether the injector set this boolean field to true.
    pub(crate) fn added(&self, switch: &str) -> bool {
        self.added.contains(switch)
    }

    /// Records the state of the annotations if the pod had none. Metadata that was absent or null
    /// is recorded like a boolean field.
    fn note_metadata(&mut self, metadata: &MetadataView<'_>) {
        let has_none = metadata.annotations.is_empty();
        match metadata.annotations.presence {
            Presence::Null => drop(self.null.insert(ANNOTATIONS.to_owned())),
            Presence::Value(()) if has_none => drop(self.empty.insert(ANNOTATIONS.to_owned())),
            Presence::Value(()) | Presence::Absent => {}
        }
        if metadata.presence != Presence::Value(()) {
            self.added.insert(METADATA.to_owned());
        }
        if metadata.presence == Presence::Null {
            self.null.insert(METADATA.to_owned());
        }
    }

    fn note<T>(&mut self, name: String, list: &List<T>) {
        match list {
            List::Null => {
                self.null.insert(name);
            }
            List::Items(items) if items.is_empty() => {
                self.empty.insert(name);
            }
            List::Items(_) | List::Absent => {}
        }
    }
}

/// The name of a container's mounts in a receipt. Container names are unique in a pod.
pub(crate) fn mounts_of(container: &ContainerView<'_>) -> String {
    format!("{}/volumeMounts", &*container.name)
}

/// The name of a container's variables in a receipt.
pub(crate) fn variables_of(container: &ContainerView<'_>) -> String {
    format!("{}/env", &*container.name)
}
