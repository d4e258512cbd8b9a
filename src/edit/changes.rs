//! Applies the operations of a patch to the tree of a text.

use scaivault_inject::Operation;
use serde_json::Value;

use super::{
    Obstacle,
    tree::{Collection, Item, Node},
};
use crate::apply;

/// Applies one operation.
pub(super) fn apply(root: &mut Node, operation: &Operation) -> Result<(), Obstacle> {
    let value = match operation {
        Operation::Add { value, .. } => Some(serde_json::to_value(value).map_err(|_| Obstacle::Layout)?),
        Operation::Remove { .. } => None,
    };
    change(root, operation.path(), value)
}

/// Sets the value at a path below `node`, or removes it.
fn change(node: &mut Node, path: &str, value: Option<Value>) -> Result<(), Obstacle> {
    let collection = match node {
        Node::Collection(collection) => collection,
        Node::New(added) => {
            let applied = match value {
                Some(value) => apply::add(added, path, value),
                None => apply::remove(added, path),
            };
            return applied.ok_or(Obstacle::Layout);
        }
        Node::Alias => return Err(Obstacle::Alias),
        Node::Scalar => return Err(Obstacle::Layout),
    };
    if collection.is_repeated {
        return Err(Obstacle::Anchor);
    }
    let path = path.strip_prefix('/').ok_or(Obstacle::Layout)?;
    if let Some((segment, rest)) = path.split_once('/') {
        let at = position(collection, &apply::unescape(segment))?;
        return change(&mut collection.items[at].node, &format!("/{rest}"), value);
    }
    let key = apply::unescape(path);
    match value {
        Some(value) => add(collection, key, value),
        None => remove(collection, &key),
    }
}

fn add(collection: &mut Collection, key: String, value: Value) -> Result<(), Obstacle> {
    if collection.is_mapping {
        match position(collection, &key) {
            Ok(at) => collection.items[at].node = Node::New(value),
            Err(_) => collection.items.push(Item::added(Some(key), value)),
        }
        return Ok(());
    }
    let at = match key.as_str() {
        "-" => collection.items.len(),
        _ => match position(collection, &key) {
            Ok(at) => at,
            Err(_) if key.parse() == Ok(collection.remaining().count()) => collection.items.len(),
            Err(obstacle) => return Err(obstacle),
        },
    };
    collection.items.insert(at, Item::added(None, value));
    Ok(())
}

fn remove(collection: &mut Collection, key: &str) -> Result<(), Obstacle> {
    let at = position(collection, key)?;
    if collection.items[at].place.is_some() {
        collection.items[at].is_removed = true;
    } else {
        collection.items.remove(at);
    }
    Ok(())
}

/// The position of the item with that key or index among all items.
fn position(collection: &Collection, key: &str) -> Result<usize, Obstacle> {
    let mut remaining = collection.items.iter().enumerate().filter(|(_, item)| !item.is_removed);
    let found = if collection.is_mapping {
        remaining.find(|(_, item)| item.key.as_deref() == Some(key))
    } else {
        key.parse().ok().and_then(|index| remaining.nth(index))
    };
    match found {
        Some((at, _)) => Ok(at),
        None if collection.has_merge() => Err(Obstacle::Merge),
        None => Err(Obstacle::Layout),
    }
}
