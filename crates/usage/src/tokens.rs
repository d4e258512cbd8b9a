//! The service account tokens that a pod requests.

use serde::Serialize;
use serde_json::Value;

use crate::json::{list_at, text};

/// The settings of a pod that concern service account tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TokenSettings {
    /// `automountServiceAccountToken` of the pod; `None` means that the service account decides,
    /// whose default is true.
    pub automount: Option<bool>,
    /// The tokens in `projected` volumes, without the one that is mounted automatically.
    pub projected: Vec<ProjectedToken>,
}

/// A short-lived token of a `projected` volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProjectedToken {
    /// The volume's name.
    pub volume: String,
    /// The audience; `None` for the API server.
    pub audience: Option<String>,
    /// Its lifetime in seconds; `None` for the default of one hour.
    pub expiration_seconds: Option<i64>,
}

/// The name prefix of the volume that the API server adds to a pod.
const AUTOMATIC_VOLUME: &str = "kube-api-access-";

/// Reads the token settings of a pod or pod template.
pub fn token_settings(pod: &Value) -> TokenSettings {
    let volumes = list_at(pod, "/spec/volumes").iter();
    let projected =
        volumes.filter(|volume| !text(volume, "name").is_some_and(|name| name.starts_with(AUTOMATIC_VOLUME)));
    let projected = projected.flat_map(|volume| {
        list_at(volume, "/projected/sources").iter().filter_map(|source| {
            let token = source.get("serviceAccountToken").filter(|token| token.is_object())?;
            Some(ProjectedToken {
                volume: text(volume, "name").unwrap_or_default().to_owned(),
                audience: text(token, "audience").map(str::to_owned),
                expiration_seconds: token.get("expirationSeconds").and_then(Value::as_i64),
            })
        })
    });
    TokenSettings {
        automount: pod.pointer("/spec/automountServiceAccountToken").and_then(Value::as_bool),
        projected: projected.collect(),
    }
}
