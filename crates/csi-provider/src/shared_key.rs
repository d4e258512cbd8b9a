//! One key of object versions for all nodes, in a Secret that the first node fills. The chart creates the
//! Secret without data, so that it renders the same each time and an upgrade does not change the key.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::{
    Client,
    api::{GetParams, Patch, PatchParams},
    core::Request,
};
use scaivault_contract::is_subdomain;
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;
use tokio::time::timeout;

use crate::versions::{self, KEY_BYTES};

/// The entry of the key in the Secret.
const ENTRY: &str = "version-key";
/// The timeout for reading and filling the Secret.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum number of retries because another node has written the Secret.
const CONFLICTS_MAX: usize = 5;

/// The namespace and name of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretName {
    namespace: String,
    name: String,
}

impl FromStr for SecretName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if is_subdomain(namespace) && is_subdomain(name) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("expected NAMESPACE/NAME of a Secret, such as kube-system/scaivault-csi-version-key"),
        }
    }
}

/// Why the shared key is not available.
#[derive(Debug, Error)]
pub(crate) enum SharedKeyError {
    #[error(
        "the Secret {}/{} (--version-key-secret) cannot be read or filled: {source}; create it, empty, and allow the provider's service account to get and patch it",
        .secret.namespace,
        .secret.name
    )]
    Api { secret: SecretName, source: Box<kube::Error> },
    #[error(
        "the entry {ENTRY} of the Secret {}/{} (--version-key-secret) is not a key; expected at least {KEY_BYTES} bytes; remove the entry, and a new key is written",
        .0.namespace,
        .0.name
    )]
    Malformed(SecretName),
    #[error(
        "the Secret {}/{} (--version-key-secret) was not read within {} s; check that the provider reaches the API server",
        .0.namespace,
        .0.name,
        TIMEOUT.as_secs()
    )]
    Late(SecretName),
}

#[derive(Deserialize)]
struct SecretObject {
    metadata: Metadata,
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

/// Reads the key, or fills the Secret with a new one.
pub(crate) async fn read_or_create(client: &Client, secret: &SecretName) -> Result<Vec<u8>, SharedKeyError> {
    let having = timeout(TIMEOUT, read_or_fill(client, secret));
    having.await.unwrap_or_else(|_| Err(SharedKeyError::Late(secret.clone())))
}

async fn read_or_fill(client: &Client, secret: &SecretName) -> Result<Vec<u8>, SharedKeyError> {
    let api_error = |source| SharedKeyError::Api { secret: secret.clone(), source: Box::new(source) };
    let SecretName { namespace, name } = secret;
    let secrets = || Request::new(format!("/api/v1/namespaces/{namespace}/secrets"));
    let mut conflicts = 0;
    loop {
        let get = secrets().get(name, &GetParams::default()).map_err(kube::Error::BuildRequest);
        let object: SecretObject = client.request(get.map_err(api_error)?).await.map_err(api_error)?;
        if let Some(entry) = object.data.as_ref().and_then(|data| data.get(ENTRY)) {
            let key = STANDARD.decode(entry).ok().filter(|key| key.len() >= KEY_BYTES);
            return key.ok_or_else(|| SharedKeyError::Malformed(secret.clone()));
        }
        let key = versions::random_key().map_err(|error| api_error(kube::Error::Service(error.into())))?;
        // With the resource version that was read, so that of several nodes only one writes and the others
        // read again.
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": object.metadata.resource_version},
            "data": {ENTRY: STANDARD.encode(&key)},
        }));
        let patch = secrets().patch(name, &PatchParams::default(), &patch).map_err(kube::Error::BuildRequest);
        match client.request::<SecretObject>(patch.map_err(api_error)?).await {
            Ok(_) => return Ok(key),
            Err(kube::Error::Api(status)) if status.code == 409 && conflicts < CONFLICTS_MAX => {
                conflicts += 1;
            }
            Err(error) => return Err(api_error(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{extract::Request as HttpRequest, http::StatusCode};
    use scaivault_testkit::api_server;
    use serde_json::Value;

    use super::*;

    /// An API server with one Secret, which another node fills before the first patch if `is_raced`.
    async fn api(data: Option<Value>, is_raced: bool) -> (Client, Arc<Mutex<(u64, Option<Value>)>>) {
        let secret = Arc::new(Mutex::new((1, data)));
        let state = Arc::clone(&secret);
        let answer = async move |request: HttpRequest| {
            let is_patch = request.method() == "PATCH";
            let body = axum::body::to_bytes(request.into_body(), 65536).await.unwrap();
            let mut secret = state.lock().unwrap();
            if is_patch {
                let patch: Value = serde_json::from_slice(&body).unwrap();
                if is_raced && secret.0 == 1 {
                    *secret = (2, Some(json!({ENTRY: STANDARD.encode([7; 32])})));
                }
                if patch["metadata"]["resourceVersion"] != json!(secret.0.to_string()) {
                    let status =
                        json!({"kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409});
                    return (StatusCode::CONFLICT, status.to_string());
                }
                *secret = (secret.0 + 1, Some(patch["data"].clone()));
            }
            let object = json!({"metadata": {"resourceVersion": secret.0.to_string()}, "data": secret.1});
            (StatusCode::OK, object.to_string())
        };
        let url = api_server::serve(axum::Router::new().fallback(answer)).await;
        (api_server::client(&url), secret)
    }

    fn name() -> SecretName {
        "kube-system/version-key".parse().unwrap()
    }

    #[tokio::test]
    async fn the_first_node_fills_the_secret_and_others_read_it() {
        let (client, secret) = api(None, false).await;
        let first = read_or_create(&client, &name()).await.unwrap();
        assert_eq!(first.len(), KEY_BYTES);
        assert_eq!(read_or_create(&client, &name()).await.unwrap(), first);
        assert_eq!(secret.lock().unwrap().0, 2, "written once");
    }

    #[tokio::test]
    async fn nodes_that_start_at_once_agree() {
        let (client, _) = api(None, true).await;
        assert_eq!(read_or_create(&client, &name()).await.unwrap(), [7; 32]);
    }

    #[tokio::test]
    async fn a_key_that_is_too_short_is_refused() {
        let (client, _) = api(Some(json!({ENTRY: STANDARD.encode("short")})), false).await;
        let said = read_or_create(&client, &name()).await.unwrap_err().to_string();
        assert!(said.contains("at least 32 bytes; remove the entry"), "{said}");
    }

    #[test]
    fn a_name_has_a_namespace() {
        for text in ["", "name", "/name", "ns/", "a/b/c", "NS/name", "ns/../x"] {
            assert!(text.parse::<SecretName>().is_err(), "{text}");
        }
    }
}
