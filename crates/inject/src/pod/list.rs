//! Lists that distinguish absent, null and empty, with a maximum length.

use serde::{Deserialize, Deserializer};

use super::{
    container::{ContainerView, MountView, VariableView},
    read::{Text, each_item},
    volume::{ItemView, ProjectionView, VolumeView},
};
use crate::limits;

/// A list that may be absent, null or present (possibly empty).
#[derive(Clone, Debug, Default)]
pub(crate) enum List<T> {
    #[default]
    Absent,
    Null,
    Items(Vec<T>),
}

impl<T> List<T> {
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::Items(items) => items,
            Self::Absent | Self::Null => &[],
        }
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.as_slice().iter()
    }

    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        match self {
            Self::Items(items) => items.iter_mut(),
            Self::Absent | Self::Null => [].iter_mut(),
        }
    }
}

impl<'de, T: Listed + Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items: Option<Items<T>> = Option::deserialize(deserializer)?;
        Ok(items.map_or(Self::Null, |Items(items)| Self::Items(items)))
    }
}

/// The items of a list. `{}` takes two bytes in a review and a hundred in memory, so lists beyond
/// the maximum are not read to their end.
pub(crate) trait Listed {
    /// The plural noun for errors.
    const PLURAL: &'static str;
    /// Maximum length of a list.
    const MOST: usize;
}

impl Listed for ContainerView<'_> {
    const PLURAL: &'static str = "containers";
    const MOST: usize = limits::CONTAINERS_READ;
}

impl Listed for VolumeView<'_> {
    const PLURAL: &'static str = "volumes";
    const MOST: usize = limits::VOLUMES_READ;
}

impl Listed for ProjectionView<'_> {
    const PLURAL: &'static str = "sources of a volume";
    const MOST: usize = limits::VOLUMES_READ;
}

impl Listed for ItemView<'_> {
    const PLURAL: &'static str = "items of a volume";
    const MOST: usize = limits::VOLUMES_READ;
}

impl Listed for VariableView<'_> {
    const PLURAL: &'static str = "variables of a container";
    const MOST: usize = limits::ITEMS_READ;
}

impl Listed for MountView<'_> {
    const PLURAL: &'static str = "mounts of a container";
    const MOST: usize = limits::ITEMS_READ;
}

impl Listed for Text<'_> {
    const PLURAL: &'static str = "words of a command";
    const MOST: usize = limits::ITEMS_READ;
}

struct Items<T>(Vec<T>);

impl<'de, T: Listed + Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut items = Vec::new();
        each_item(deserializer, |item| {
            if items.len() == T::MOST {
                return Err(format!("more than {} {}", T::MOST, T::PLURAL));
            }
            items.push(item);
            Ok(())
        })?;
        Ok(Self(items))
    }
}
