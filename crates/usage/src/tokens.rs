//! The service account tokens that a pod asks for.

use serde::Serialize;
use serde_json::Value;

use crate::json::{list_at, text};

/// What a pod says about service account tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TokenSettings {
    /// `automountServiceAccountToken` of the pod; none leaves it to the service account, whose default is true.
    pub automount: Option<bool>,
    /// The tokens of `projected` volumes, besides the one that is mounted automatically.
    pub projected: Vec<ProjectedToken>,
}

/// A short-lived token of a `projected` volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProjectedToken {
    /// The volume's name.
    pub volume: String,
    /// Whom the token is for; none for the API server.
    pub audience: Option<String>,
    /// Its lifetime in seconds; none for the default of an hour.
    pub expiration_seconds: Option<i64>,
}

/// The volume that the API server adds to a pod has a name of this beginning.
const AUTOMATIC_VOLUME: &str = "kube-api-access-";

/// What a pod (template) says about service account tokens.
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
