//! The metadata of a native Secret.

use serde::Serialize;
use serde_json::Value;

use crate::json::{metadata, text, text_at};

/// The type of a Secret that contains a service account token without expiry.
pub const SERVICE_ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";

/// The annotation of such a Secret that names the service account. The API server requires it, so
/// the Secret's type can be derived from its metadata.
const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

/// The label with the day on which the API server last accepted the token.
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";

/// The label with the day since which the API server no longer accepts the token.
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// The metadata of a native Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NativeSecret {
    /// Its namespace; empty if the manifest does not name one.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The service account whose token it contains; `None` for any other Secret.
    pub token_of: Option<String>,
    /// The day on which the token was last used, as the API server recorded it.
    pub last_used: Option<String>,
    /// The day on which the API server invalidated the token.
    pub invalid_since: Option<String>,
}

impl NativeSecret {
    /// Reads a Secret's metadata and, if present, its `type`; works on `PartialObjectMetadata` too.
    /// Values are not read.
    pub fn from_metadata(object: &Value) -> Self {
        let annotation = |key| metadata(object, "annotations").find(|(name, _)| *name == key);
        let label = |key| metadata(object, "labels").find(|(name, _)| *name == key);
        let owned = |found: Option<(&str, &str)>| found.map(|(_, value)| value.to_owned());
        let token_of = match text(object, "type") {
            None | Some(SERVICE_ACCOUNT_TOKEN) => owned(annotation(SERVICE_ACCOUNT_NAME)),
            Some(_) => None,
        };
        Self {
            namespace: text_at(object, "/metadata/namespace").unwrap_or_default().to_owned(),
            name: text_at(object, "/metadata/name").unwrap_or_default().to_owned(),
            token_of,
            last_used: owned(label(LAST_USED)),
            invalid_since: owned(label(INVALID_SINCE)),
        }
    }
}
