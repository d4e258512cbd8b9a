//! The names and owners of a pod, read from the object's metadata for the log line.

use std::fmt;

use scaivault_inject::each_item;
use serde::{Deserialize, de};
use serde_json::value::RawValue;

use crate::review::{Object, Text};

/// The names in a pod's metadata. A pod created by a controller has no name yet during admission.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ObjectMeta<'a> {
    #[serde(borrow)]
    pub(crate) generate_name: Text<'a>,
    #[serde(borrow)]
    owner_references: Option<Owners<'a>>,
}

/// The maximum number of owners that are read: objects of Kubernetes have one, but a review may
/// name a million.
const OWNERS_READ: usize = 16;

/// The first owners.
#[derive(Debug, Default)]
struct Owners<'a>(Vec<Owner<'a>>);

/// One owner.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Owner<'a> {
    #[serde(borrow, rename = "apiVersion")]
    pub(crate) api_version: Text<'a>,
    #[serde(borrow)]
    pub(crate) kind: Text<'a>,
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    #[serde(borrow)]
    pub(crate) uid: Text<'a>,
    controller: Option<bool>,
}

impl<'a> ObjectMeta<'a> {
    /// From an object that was read with its review, or from its text.
    pub(crate) fn new(object: &'a Object<'a>) -> Self {
        match object {
            Object::Text(text) => Self::parse(text.get()),
            Object::Pod(pod) => Self {
                generate_name: pod.generate_name().into(),
                owner_references: pod.owner_references().and_then(|owners| serde_json::from_str(owners).ok()),
            },
        }
    }

    /// Parses the metadata of a JSON object and stops after it: the API server writes it before the
    /// long `spec`. Fields that cannot be parsed stay empty.
    fn parse(object: &'a str) -> Self {
        let mut found = Self::default();
        let mut deserializer = serde_json::Deserializer::from_str(object);
        // Stopping early is an error to serde, and the log line tolerates an unreadable object.
        let _ = de::Deserializer::deserialize_map(&mut deserializer, Metadata(&mut found));
        found
    }

    /// The controller, else the first owner.
    pub(crate) fn owner(&self) -> Option<&Owner<'a>> {
        self.controller().or(self.owners().first())
    }

    /// The owner that created the pod.
    pub(crate) fn controller(&self) -> Option<&Owner<'a>> {
        self.owners().iter().find(|owner| owner.controller == Some(true))
    }

    fn owners(&self) -> &[Owner<'a>] {
        self.owner_references.as_ref().map_or(&[], |Owners(owners)| owners)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Owners<'a> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut owners = Vec::new();
        each_item(deserializer, |owner: &'de RawValue| {
            if owners.len() < OWNERS_READ {
                owners.push(serde_json::from_str(owner.get()).map_err(|error| error.to_string())?);
            }
            Ok(())
        })?;
        Ok(Self(owners))
    }
}

struct Metadata<'s, 'a>(&'s mut ObjectMeta<'a>);

impl<'de: 'a, 'a> de::Visitor<'de> for Metadata<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: de::MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key::<Text<'de>>()? {
            if &*key == "metadata" {
                *self.0 = map.next_value()?;
                return Ok(());
            }
            map.next_value::<de::IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controller_is_the_owner() {
        let object_meta = ObjectMeta::parse(
            r#"{"kind":"Pod","metadata":{"generateName":"web-5d-","labels":{},"ownerReferences":[
                 {"kind":"Node","name":"n"},{"kind":"ReplicaSet","name":"web-5d","controller":true}]},"spec": not read"#,
        );
        assert_eq!(&*object_meta.generate_name, "web-5d-");
        let owner = object_meta.owner().unwrap();
        assert_eq!((&*owner.kind, &*owner.name), ("ReplicaSet", "web-5d"));
    }

    #[test]
    fn the_first_owners_are_read() {
        let object = format!(
            r#"{{"metadata":{{"ownerReferences":[{}{{"controller":true}},7],"generateName":"web-"}}}}"#,
            "{},".repeat(OWNERS_READ)
        );
        let object_meta = ObjectMeta::parse(&object);
        assert_eq!((object_meta.owners().len(), &*object_meta.generate_name), (OWNERS_READ, "web-"));
        assert!(object_meta.controller().is_none());
    }

    #[test]
    fn unreadable_metadata_is_empty() {
        for object in ["", "[]", "{}", r#"{"metadata":7}"#, r#"{"metadata":{"ownerReferences":null}}"#] {
            let object_meta = ObjectMeta::parse(object);
            assert!(object_meta.generate_name.is_empty() && object_meta.owner().is_none(), "{object}");
        }
    }
}
