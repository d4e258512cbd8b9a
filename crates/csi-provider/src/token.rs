//! Selects the service account's token of a mount by audience, and compares its claims with the pod.
//!
//! The signature is not verified here but by ScaiVault at the login. A token that ScaiVault has not accepted
//! gets nothing from the cache, see [`crate::logins`]. The claims are compared first, because without
//! `tokenRequests` the driver passes an attribute that the author of the pod can write.

use std::{collections::BTreeMap, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use scaivault_contract::Excerpt;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    attributes::Pod,
    failure::{Failure, FailureKind},
};

/// The maximum size of a token. A service account's has about a thousand bytes.
const TOKEN_MAX_BYTES: usize = 16 * 1024;

/// The compared fields of a service account token's payload.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    aud: Audiences,
    exp: u64,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Account,
    pod: Option<BoundPod>,
}

#[derive(Deserialize)]
struct Account {
    name: String,
}

#[derive(Deserialize)]
struct BoundPod {
    name: String,
    uid: String,
}

/// A token in the kubelet's format. Its expiry is not used, because the token contains it.
#[derive(Deserialize)]
struct ProjectedToken<'a> {
    token: &'a str,
}

/// The token of `audience` among `tokens`, which belongs to `pod`.
pub(crate) fn choose(
    tokens: Option<&str>,
    audience: &str,
    pod: &Pod,
    now: SystemTime,
) -> Result<SecretString, Failure> {
    let audience_shown = Excerpt::new(audience);
    let tokens = tokens.ok_or_else(|| {
        refused(format!(
            "the driver passes no token of the pod; set `tokenRequests: [{{audience: {audience}}}]` in the CSIDriver secrets-store.csi.k8s.io"
        ))
    })?;
    // Tokens of other audiences are not parsed.
    let tokens: BTreeMap<String, &RawValue> = serde_json::from_str(tokens).map_err(|_| {
        refused("the attribute csi.storage.k8s.io/serviceAccount.tokens is not a JSON object")
    })?;
    let projected = tokens.get(audience).ok_or_else(|| {
        refused(format!(
            "the driver passes no token with the audience {audience_shown}; add it to `tokenRequests` in the CSIDriver secrets-store.csi.k8s.io"
        ))
    })?;
    let token = serde_json::from_str::<ProjectedToken<'_>>(projected.get())
        .map_err(|_| {
            refused(format!("the token with the audience {audience_shown} is not in the kubelet's form"))
        })?
        .token;
    let claims = claims(token).ok_or_else(|| {
        refused(format!("the token with the audience {audience_shown} is not a token of a service account"))
    })?;
    claims.compare(audience, pod, now)?;
    Ok(SecretString::from(token))
}

fn claims(token: &str) -> Option<Claims> {
    if token.len() > TOKEN_MAX_BYTES || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

impl Claims {
    fn compare(&self, audience: &str, pod: &Pod, now: SystemTime) -> Result<(), Failure> {
        let Kubernetes { namespace, serviceaccount, pod: bound } = &self.kubernetes;
        let subject = format!("system:serviceaccount:{}:{}", pod.namespace, pod.service_account);
        let differs = |what: &str| {
            refused(format!(
                "the {what} of the pod's token does not match the pod; set `tokenRequests` in the CSIDriver secrets-store.csi.k8s.io, and do not write csi.storage.k8s.io/serviceAccount.tokens into volumeAttributes"
            ))
        };
        let has_audience = match &self.aud {
            Audiences::One(one) => one == audience,
            Audiences::Several(several) => several.iter().any(|one| one == audience),
        };
        if !has_audience {
            return Err(differs("audience"));
        }
        if namespace != pod.namespace.as_str() {
            return Err(differs("namespace"));
        }
        if self.sub != subject || serviceaccount.name != pod.service_account.as_str() {
            return Err(differs("service account"));
        }
        let Some(bound) = bound else {
            return Err(refused(
                "the token is not bound to a pod, and tokens of the secrets-store-sync-controller are not supported; for a native Secret, use `secretObjects` of a class that a pod mounts",
            ));
        };
        if bound.uid != pod.uid.as_str() || bound.name != pod.name.as_str() {
            return Err(differs("pod"));
        }
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.exp <= since_epoch {
            return Err(refused("the pod's token has expired; compare the clocks of node and API server"));
        }
        Ok(())
    }
}

fn refused(text: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Unauthenticated, text)
}

/// A hash of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenHash(pub(crate) [u8; 32]);

impl TokenHash {
    pub(crate) fn new(token: &SecretString) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.expose_secret().as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::attributes::tests::pod;

    fn payload() -> Value {
        json!({
            "sub": "system:serviceaccount:billing:web", "aud": ["scaivault"], "exp": 2000,
            "kubernetes.io": {
                "namespace": "billing", "serviceaccount": {"name": "web"}, "pod": {"name": "web-0", "uid": "u-1"},
            },
        })
    }

    fn chosen(payload: &Value, audience: &str) -> Result<SecretString, Failure> {
        let token = format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(payload.to_string()));
        let tokens =
            json!({"scaivault": {"token": token, "expirationTimestamp": ""}, "vault": 7}).to_string();
        choose(Some(&tokens), audience, &pod(), SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000))
    }

    #[test]
    fn the_token_of_the_pod_is_selected() {
        assert!(chosen(&payload(), "scaivault").is_ok());
        let mut one = payload();
        one["aud"] = json!("scaivault");
        assert!(chosen(&one, "scaivault").is_ok());
    }

    #[test]
    fn refuses_the_token_of_another() {
        for (pointer, value, what) in [
            ("/aud", json!(["vault"]), "audience"),
            ("/sub", json!("system:serviceaccount:billing:admin"), "service account"),
            ("/kubernetes.io/namespace", json!("other"), "namespace"),
            ("/kubernetes.io/serviceaccount/name", json!("admin"), "service account"),
            ("/kubernetes.io/pod/uid", json!("u-2"), "pod"),
            ("/kubernetes.io/pod/name", json!("web-1"), "pod"),
            ("/kubernetes.io/pod", json!(null), "secrets-store-sync-controller are not supported"),
            ("/exp", json!(1000), "expired"),
        ] {
            let mut payload = payload();
            *payload.pointer_mut(pointer).unwrap() = value;
            let failure = chosen(&payload, "scaivault").unwrap_err();
            assert_eq!(failure.kind, FailureKind::Unauthenticated);
            assert!(failure.to_string().contains(what), "{pointer}: {failure}");
        }
    }

    #[test]
    fn missing_tokens_are_reported_with_the_fix() {
        let said = choose(None, "scaivault", &pod(), SystemTime::now()).unwrap_err().to_string();
        assert!(said.contains("tokenRequests: [{audience: scaivault}]"), "{said}");
        assert!(chosen(&payload(), "other").unwrap_err().to_string().contains("the audience \"other\""));
        assert!(chosen(&payload(), "vault").unwrap_err().to_string().contains("not in the kubelet's form"));
        for tokens in ["", "[]", r#"{"scaivault": {"token": "a.b.c"}}"#, r#"{"scaivault": {"token": ""}}"#] {
            assert!(choose(Some(tokens), "scaivault", &pod(), SystemTime::now()).is_err(), "{tokens}");
        }
    }
}
