//! Applies a webhook's patch with the rules of the API server.

use serde_json::Value;
use thiserror::Error;

/// Why the API server would answer with an internal error.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// The text is JSON, but not an RFC 6902 patch.
    #[error("not a JSON patch: {0}")]
    NotAPatch(#[source] serde_json::Error),
    /// The parent or the target of an operation does not exist.
    #[error("does not apply: {0}")]
    DoesNotApply(#[source] json_patch::PatchError),
    /// An operation replaces the whole document by a value that is not an object.
    #[error("the patched document is not an object")]
    NotAnObject,
}

/// The pod after `patch`. All operations apply or none: an `add` below a parent that is absent or
/// null is an error, and so is an index beyond the end.
pub fn apply(pod: &Value, patch: &Value) -> Result<Value, ApplyError> {
    let patch: json_patch::Patch = serde_json::from_value(patch.clone()).map_err(ApplyError::NotAPatch)?;
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &patch).map_err(ApplyError::DoesNotApply)?;
    if patched.is_object() { Ok(patched) } else { Err(ApplyError::NotAnObject) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn adds_before_an_index_and_at_the_end() {
        let pod = json!({"spec": {"volumes": ["b"]}});
        let patch = json!([
            {"op": "add", "path": "/spec/volumes/0", "value": "a"},
            {"op": "add", "path": "/spec/volumes/-", "value": "c"},
        ]);
        assert_eq!(apply(&pod, &patch).unwrap(), json!({"spec": {"volumes": ["a", "b", "c"]}}));
    }

    #[test]
    fn patches_that_the_api_server_cannot_apply() {
        let pod = json!({"spec": {"volumes": null, "containers": [{}]}});
        for path in ["/metadata/annotations", "/spec/volumes/-", "/spec/volumes/0", "/spec/containers/2"] {
            let patch = json!([{"op": "add", "path": path, "value": 1}]);
            assert!(matches!(apply(&pod, &patch), Err(ApplyError::DoesNotApply(_))), "{path}");
        }
        for path in ["/metadata", "/spec/containers/1", "/spec/containers/0/env"] {
            let patch = json!([{"op": "remove", "path": path}]);
            assert!(matches!(apply(&pod, &patch), Err(ApplyError::DoesNotApply(_))), "{path}");
        }
        assert!(matches!(apply(&pod, &json!([{"op": "sum"}])), Err(ApplyError::NotAPatch(_))));
        let whole = json!([{"op": "add", "path": "", "value": []}]);
        assert!(matches!(apply(&pod, &whole), Err(ApplyError::NotAnObject)));
    }
}
