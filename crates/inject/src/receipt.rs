//! The receipt: what detach must know and cannot see.
//!
//! It is written by the injector but may be written by anybody, so it is believed for these bits alone: in what state
//! a parent was left behind, whose `shareProcessNamespace` is, and which plan the injection came from. What is ours is
//! told by reserved names. A digest that is absent or wrong makes the injector replace the injection by its own plan; a right one
//! says no more than that nothing has to be replaced because of what cannot be compared with the pod.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, SeqAccess, Visitor},
};

use crate::limits::RECEIPT_LISTS;
use crate::pod::{ContainerView, List, MetadataView, PodView, Presence};

/// The lists an injection may add to, by the names they have in a receipt.
pub(crate) const METADATA: &str = "metadata";
pub(crate) const ANNOTATIONS: &str = "annotations";
pub(crate) const VOLUMES: &str = "volumes";
pub(crate) const INIT_CONTAINERS: &str = "initContainers";
pub(crate) const SHARE_PROCESS_NAMESPACE: &str = "shareProcessNamespace";

/// The version of the receipt's form.
const VERSION: u8 = 1;
/// The most policies that a receipt names.
const POLICIES: usize = 64;

/// What cannot be seen in an injected pod. A list that is empty without our entries was absent, unless it stands here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    #[serde(rename = "v")]
    version: u8,
    /// Lists that were null.
    #[serde(default, deserialize_with = "few", skip_serializing_if = "BTreeSet::is_empty")]
    null: BTreeSet<String>,
    /// Lists that were there and empty.
    #[serde(default, deserialize_with = "few", skip_serializing_if = "BTreeSet::is_empty")]
    empty: BTreeSet<String>,
    /// Switches that the injector turned on.
    #[serde(default, deserialize_with = "few", skip_serializing_if = "BTreeSet::is_empty")]
    added: BTreeSet<String>,
    /// The digest of the plan (see `plan::digest`); absent in receipts of older injectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    /// The policies that gave the pod something, as `name@generation`: for people and programs that look for pods of an
    /// older policy. It is no part of the plan.
    #[serde(default, deserialize_with = "few", skip_serializing_if = "BTreeSet::is_empty")]
    policies: BTreeSet<String>,
}

/// As many names as an injection can leave: anybody may write a receipt, of any length.
fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    struct NamesVisitor;
    impl<'de> Visitor<'de> for NamesVisitor {
        type Value = BTreeSet<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of names")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let (mut names, mut read) = (BTreeSet::new(), 0);
            while let Some(name) = list.next_element()? {
                read += 1;
                if read > RECEIPT_LISTS {
                    return Err(A::Error::custom(format_args!("more than {RECEIPT_LISTS} names")));
                }
                names.insert(name);
            }
            Ok(names)
        }
    }
    deserializer.deserialize_seq(NamesVisitor)
}

/// How a list without our entries is left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftover {
    Absent,
    Null,
    Empty,
}

impl Receipt {
    /// The receipt of an injection into this pod (seen without anything of ours) that touches these containers.
    pub(crate) fn of<'a, 'b: 'a>(
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

    /// Reads what a pod carries. What cannot be read says nothing.
    pub(crate) fn parse(text: &str) -> Self {
        serde_json::from_str(text)
            .ok()
            .filter(|receipt: &Self| receipt.version == VERSION)
            .unwrap_or_else(Self::new)
    }

    /// The same with the digest of the plan.
    pub(crate) fn with_plan(self, digest: String) -> Self {
        Self { plan: Some(digest), ..self }
    }

    /// The same with the policies that gave the pod something.
    pub(crate) fn with_policies(self, policies: impl Iterator<Item = String>) -> Self {
        Self { policies: policies.take(POLICIES).collect(), ..self }
    }

    /// Whether both are of the same plan. A receipt without a digest is of none.
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

    /// How a list is left behind once our entries are gone and nothing else is in it.
    pub(crate) fn leftover(&self, list: &str) -> Leftover {
        if self.null.contains(list) {
            Leftover::Null
        } else if self.empty.contains(list) {
            Leftover::Empty
        } else {
            Leftover::Absent
        }
    }

    /// Whether the injector turned a switch on.
    pub(crate) fn added(&self, switch: &str) -> bool {
        self.added.contains(switch)
    }

    /// In what state the annotations were, where the pod had none. Metadata that was absent or null is a switch.
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

/// A container's mounts, as a receipt names them. Names are unique among all containers of a pod.
pub(crate) fn mounts_of(container: &ContainerView<'_>) -> String {
    format!("{}/volumeMounts", &*container.name)
}

/// A container's variables, as a receipt names them.
pub(crate) fn variables_of(container: &ContainerView<'_>) -> String {
    format!("{}/env", &*container.name)
}
