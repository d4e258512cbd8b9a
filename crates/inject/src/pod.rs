//! The read model of a pod, borrowed from the text of the review.
//!
//! Parsing is lenient: other fields are skipped, and never stored or written back. Lists
//! distinguish absent, null and empty, because detach has to restore that.

mod container;
mod list;
mod read;
mod volume;

use std::{borrow::Cow, fmt};

use scaivault_contract::names::ANNOTATION_PREFIX;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use thiserror::Error;

pub(crate) use container::{
    ContainerView, MountView, ResourcesView, SecurityView, VariableValue, VariableView,
};
pub(crate) use list::List;
pub use read::each_item;
pub(crate) use read::{
    Annotations, AnyValue, NotText, Presence, QuantityText, Text, last_of_each, object, shown_error,
};
pub(crate) use volume::{ItemView, MountKind, VolumeView};

use crate::limits;
use read::Selector;

/// The parts of a pod or pod template that the core reads.
#[derive(Clone, Debug, Default)]
pub struct PodView<'a> {
    pub(crate) metadata: MetadataView<'a>,
    pub(crate) spec: SpecView<'a>,
}

/// Deserialises a pod as part of a larger document, such as a review. Members are not counted, so
/// the document must be shorter than [`PodView::UNCOUNTED_BYTES`]; use [`PodView::parse`] for
/// longer ones.
impl<'de: 'a, 'a> Deserialize<'de> for PodView<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        struct Parts<'b> {
            #[serde(borrow, default)]
            metadata: MetadataView<'b>,
            #[serde(borrow, default, deserialize_with = "read::object")]
            spec: SpecView<'b>,
        }
        let Parts { metadata, spec } = object(deserializer)?;
        let mut pod = Self { metadata, spec };
        pod.renumber();
        Ok(pod)
    }
}

/// The text does not have the structure of a pod.
#[derive(Debug, Error)]
#[error("not a pod: {}", read::shown_error(.0))]
pub struct MalformedPod(#[from] serde_json::Error);

impl MalformedPod {
    /// The reason code in reports, logs and metrics.
    pub const REASON: &'static str = "malformed-pod";
}

impl<'a> PodView<'a> {
    /// A text with fewer bytes cannot exceed the limit of members and items.
    pub const UNCOUNTED_BYTES: usize = limits::UNCOUNTED_BYTES;

    /// Parses a pod or a pod template (`metadata` and `spec`) from JSON.
    pub fn parse(json: &'a str) -> Result<Self, MalformedPod> {
        if let Some(most) = limits::too_many_members(json) {
            return Err(serde_json::Error::custom(format_args!("more than {most} members and items")).into());
        }
        Ok(serde_json::from_str(json)?)
    }

    /// The name prefix of a controller's pod; empty if the pod has a name.
    pub fn generate_name(&self) -> &str {
        &self.metadata.generate_name
    }

    /// `metadata.ownerReferences` as JSON. The core does not read them.
    pub fn owner_references(&self) -> Option<&'a str> {
        self.metadata.owner_references.map(RawValue::get)
    }

    /// The service account of the pod; `default` if it does not name one.
    pub fn service_account(&self) -> &str {
        let SpecView { service_account_name, service_account, .. } = &self.spec;
        let said = [service_account_name, service_account].into_iter().flatten();
        said.map(|name| &**name).find(|name| !name.is_empty()).unwrap_or("default")
    }

    /// Whether it has an annotation of the injector. Without one and without policies, nothing is
    /// injected.
    pub fn is_annotated(&self) -> bool {
        !self.metadata.annotations.injector.is_empty() || !self.metadata.annotations.not_text.is_empty()
    }

    /// The value of one of the injector's annotations, by key without the prefix.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.get(key)
    }

    /// The value of any annotation that is a string, by its full key.
    pub(crate) fn any_annotation(&self, key: &str) -> Option<Cow<'_, str>> {
        self.metadata.annotations.get_any(key)
    }

    /// The injector's annotations by key without the prefix, sorted.
    pub(crate) fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata.annotations.injector.iter().map(|(key, value)| (name_of(key), &**value))
    }

    /// The injector's annotations whose value is not a string, as keys without the prefix.
    pub(crate) fn keys_without_text(&self) -> impl Iterator<Item = &str> {
        self.metadata.annotations.not_text.iter().map(|(key, _)| name_of(key))
    }

    /// Init containers and app containers.
    pub(crate) fn all_containers(&self) -> impl Iterator<Item = &ContainerView<'a>> {
        self.spec.init_containers.iter().chain(self.spec.containers.iter())
    }

    /// The uid of a container's process, if the manifest sets it.
    pub(crate) fn uid_of(&self, container: &ContainerView<'_>) -> Option<i64> {
        container.security_context.user.or(self.spec.security_context.user)
    }

    /// The gid of a container's process, if the manifest sets it.
    pub(crate) fn gid_of(&self, container: &ContainerView<'_>) -> Option<i64> {
        container.security_context.group.or(self.spec.security_context.group)
    }

    /// Whether the pod is for Windows nodes.
    pub(crate) fn is_windows(&self) -> bool {
        let os = self.spec.os.as_ref().and_then(|os| os.name.as_deref());
        os.or(self.spec.node_selector.os.as_deref()) == Some("windows")
    }

    /// Assigns each container its index in its list.
    pub(crate) fn renumber(&mut self) {
        for list in [&mut self.spec.init_containers, &mut self.spec.containers] {
            for (index, container) in list.iter_mut().enumerate() {
                container.index = index;
            }
        }
    }
}

fn name_of(key: &str) -> &str {
    key.strip_prefix(ANNOTATION_PREFIX).unwrap_or(key)
}

#[derive(Clone, Debug, Default)]
pub(crate) struct MetadataView<'a> {
    pub(crate) annotations: Annotations<'a>,
    /// As JSON, because only policies read labels.
    pub(crate) labels: Option<&'a RawValue>,
    generate_name: Text<'a>,
    owner_references: Option<&'a RawValue>,
    /// Whether the field itself is present.
    pub(crate) presence: Presence<()>,
    /// The number of members other than the annotations.
    pub(crate) others: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for MetadataView<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MetadataVisitor;
        impl<'de> Visitor<'de> for MetadataVisitor {
            type Value = MetadataView<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(MetadataView { presence: Presence::Null, ..MetadataView::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut read = MetadataView { presence: Presence::Value(()), ..MetadataView::default() };
                let mut seen = [false; 4];
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    let known = ["annotations", "labels", "generateName", "ownerReferences"];
                    let known = known.into_iter().zip(&mut seen).find(|(known, _)| *known == &*key);
                    read.others += usize::from(known.as_ref().is_none_or(|(key, _)| *key != "annotations"));
                    if let Some((known, seen)) = &known
                        && **seen
                    {
                        return Err(A::Error::duplicate_field(known));
                    }
                    match known.map(|(known, seen)| {
                        *seen = true;
                        known
                    }) {
                        Some("annotations") => read.annotations = map.next_value()?,
                        Some("labels") => read.labels = map.next_value()?,
                        Some("generateName") => {
                            read.generate_name = map.next_value::<Option<_>>()?.unwrap_or_default();
                        }
                        Some(_) => read.owner_references = map.next_value()?,
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(read)
            }
        }
        deserializer.deserialize_any(MetadataVisitor)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SpecView<'a> {
    #[serde(borrow)]
    pub(crate) volumes: List<VolumeView<'a>>,
    #[serde(borrow)]
    pub(crate) init_containers: List<ContainerView<'a>>,
    #[serde(borrow)]
    pub(crate) containers: List<ContainerView<'a>>,
    #[serde(borrow)]
    service_account_name: Option<Text<'a>>,
    /// The deprecated name of that field, which the API server still writes.
    #[serde(borrow)]
    service_account: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) restart_policy: Option<Text<'a>>,
    pub(crate) share_process_namespace: Presence<bool>,
    #[serde(rename = "hostPID")]
    pub(crate) host_pid: Option<bool>,
    pub(crate) host_network: Option<bool>,
    pub(crate) active_deadline_seconds: Option<i64>,
    pub(crate) termination_grace_period_seconds: Option<i64>,
    #[serde(deserialize_with = "read::nullable")]
    pub(crate) security_context: SecurityView,
    #[serde(borrow)]
    os: Option<Os<'a>>,
    #[serde(borrow)]
    node_selector: Selector<'a>,
    /// Pod-level resources (beta in Kubernetes 1.34), which limit the sum of the containers.
    #[serde(borrow)]
    pub(crate) resources: Option<ResourcesView<'a>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Os<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

impl SpecView<'_> {
    /// `restartPolicy`; `Always` if it is absent, as the API server defaults it.
    pub(crate) fn restart_policy(&self) -> Cow<'_, str> {
        match self.restart_policy.as_deref() {
            None | Some("") => Cow::Borrowed("Always"),
            Some(policy) => Cow::Borrowed(policy),
        }
    }
}

#[cfg(test)]
mod tests;
