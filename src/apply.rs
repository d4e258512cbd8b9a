//! Applies the core's patch to a manifest.
//!
//! It does not use the `json-patch` crate, although the result is equal: that crate removes a key
//! by moving the last key into its place, and in a manifest the order of the keys must not change.

use scaivault_inject::{Operation, Patch};
use serde_json::Value;
use thiserror::Error;

/// A patch that does not match its document, which is a bug in the injector.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ApplyError {
    /// The path does not exist.
    #[error("the patch cannot be applied: {0} is not in the document")]
    Missing(String),
    /// The value to add is not JSON.
    #[error("the patch cannot be applied: the value for {0} cannot be written as JSON")]
    Value(String),
}

/// Applies all operations. After an error the document is partly changed and must be discarded.
pub(crate) fn apply(document: &mut Value, patch: &Patch) -> Result<(), ApplyError> {
    for operation in patch.operations() {
        let place = operation.path();
        match operation {
            Operation::Add { value, .. } => {
                let value = serde_json::to_value(value).map_err(|_| ApplyError::Value(place.to_owned()))?;
                add(document, place, value)
            }
            Operation::Remove { .. } => remove(document, place),
        }
        .ok_or_else(|| ApplyError::Missing(place.to_owned()))?;
    }
    Ok(())
}

/// Adds a value at a path; `None` if the parent does not exist.
pub(crate) fn add(document: &mut Value, path: &str, value: Value) -> Option<()> {
    let (parent, key) = parent(document, path)?;
    match parent {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(items) => {
            let index = if key == "-" { items.len() } else { array_index(&key)? };
            (index <= items.len()).then(|| items.insert(index, value))?;
        }
        _ => return None,
    }
    Some(())
}

/// Removes the value at a path; `None` if it does not exist.
pub(crate) fn remove(document: &mut Value, path: &str) -> Option<()> {
    let (parent, key) = parent(document, path)?;
    match parent {
        Value::Object(map) => {
            map.shift_remove(&key)?;
        }
        Value::Array(items) => {
            let index = array_index(&key)?;
            (index < items.len()).then(|| items.remove(index))?;
        }
        _ => return None,
    }
    Some(())
}

/// The value that contains the target of an RFC 6901 pointer, and the target's key in it.
fn parent<'a>(document: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (parent, key) = path.rsplit_once('/')?;
    Some((document.pointer_mut(parent)?, unescape(key)))
}

/// The unescaped segments of an RFC 6901 pointer.
pub(crate) fn steps(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(unescape)
}

/// Unescapes a segment of an RFC 6901 pointer.
pub(crate) fn unescape(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}

/// Escapes a key for an RFC 6901 pointer.
pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// RFC 6901 allows digits without a leading zero.
fn array_index(key: &str) -> Option<usize> {
    let canonical = key.bytes().all(|byte| byte.is_ascii_digit()) && (key == "0" || !key.starts_with('0'));
    canonical.then(|| key.parse().ok())?
}

#[cfg(test)]
mod tests {
    use scaivault_inject::Value as Added;
    use serde_json::json;

    use super::*;

    fn add_text(path: &str) -> Operation {
        Operation::Add { path: path.into(), value: Added::Text("new".into()) }
    }

    fn remove_at(path: &str) -> Operation {
        Operation::Remove { path: path.into() }
    }

    fn document() -> Value {
        json!({"first": 1, "list": ["a", "b"], "a/b": {"~": 1, "other": 2}, "last": {}})
    }

    #[test]
    fn equals_the_reference() {
        let operations = [
            add_text("/first"),
            add_text("/list/0"),
            add_text("/list/3"),
            add_text("/list/-"),
            add_text("/a~1b/~0"),
            add_text("/last/x~1y"),
            remove_at("/list/1"),
            remove_at("/a~1b/~0"),
            remove_at("/first"),
            remove_at("/list"),
        ];
        for length in 1..=operations.len() {
            let patch = Patch::new(operations[..length].to_vec());
            let mut patched = document();
            apply(&mut patched, &patch).unwrap();
            let mut reference = document();
            let reference_patch: json_patch::Patch =
                serde_json::from_value(serde_json::to_value(&patch).unwrap()).unwrap();
            json_patch::patch(&mut reference, &reference_patch).unwrap();
            assert_eq!(patched, reference, "after {:?}", operations[length - 1]);
        }
    }

    #[test]
    fn the_order_of_the_keys_stays() {
        let mut document = document();
        apply(&mut document, &Patch::new(vec![remove_at("/first"), add_text("/new")])).unwrap();
        let keys: Vec<_> = document.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["list", "a/b", "last", "new"]);
    }

    #[test]
    fn an_operation_that_does_not_apply_is_named() {
        for operation in [
            add_text("/absent/x"),
            add_text("/list/3"),
            add_text("/list/01"),
            add_text("/list/x"),
            add_text("/list/+1"),
            add_text("/first/x"),
            add_text(""),
            remove_at("/absent"),
            remove_at("/list/2"),
            remove_at("/list/-"),
        ] {
            let path = operation.path().to_owned();
            let applied = apply(&mut document(), &Patch::new(vec![operation]));
            assert_eq!(applied, Err(ApplyError::Missing(path)));
        }
    }
}
