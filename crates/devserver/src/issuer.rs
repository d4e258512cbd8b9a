//! An issuer of service account tokens for use without a cluster.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use thiserror::Error;

use crate::keys::Keys;

/// The key's name in the generated key set.
const KEY_ID: &str = "dev-1";

/// The `iss` of a generated issuer.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// An issuer with its own key, which signs any requested token.
pub struct Issuer {
    key: EncodingKey,
    keys: Keys,
}

impl Issuer {
    /// Creates an issuer with a new ES256 key.
    pub fn generate() -> Result<Self, IssuerError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| IssuerError)?;
        // An uncompressed point: 4, x, y.
        let point = pair.public_key_raw();
        let (x, y) = point.get(1..).and_then(|xy| xy.split_at_checked(32)).ok_or(IssuerError)?;
        let jwks = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": KEY_ID,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]});
        let keys = Keys::new(&jwks.to_string()).map_err(|_| IssuerError)?.of_issuer(ISSUER);
        Ok(Self { key: EncodingKey::from_ec_der(&pair.serialize_der()), keys })
    }

    /// The keys that verify its tokens.
    pub fn keys(&self) -> Keys {
        self.keys.clone()
    }

    /// A token like one projected by a kubelet, valid at `now` for `seconds` (a negative value
    /// gives an expired one).
    pub fn mint(
        &self,
        namespace: &str,
        service_account: &str,
        audience: &str,
        now: Timestamp,
        seconds: i64,
    ) -> Result<String, IssuerError> {
        self.sign(&claims(namespace, service_account, audience, now, seconds))
    }

    /// The same, bound to a pod, as the kubelet passes it to a CSI driver.
    pub fn mint_for_pod(
        &self,
        namespace: &str,
        service_account: &str,
        audience: &str,
        now: Timestamp,
        (name, uid): (&str, &str),
    ) -> Result<String, IssuerError> {
        let mut claims = claims(namespace, service_account, audience, now, 3600);
        claims["kubernetes.io"]["pod"] = json!({"name": name, "uid": uid});
        self.sign(&claims)
    }

    fn sign(&self, claims: &Value) -> Result<String, IssuerError> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(KEY_ID.to_owned());
        encode(&header, claims, &self.key).map_err(|_| IssuerError)
    }
}

fn claims(namespace: &str, service_account: &str, audience: &str, now: Timestamp, seconds: i64) -> Value {
    let now = now.as_second();
    json!({
        "iss": ISSUER, "aud": [audience], "sub": format!("system:serviceaccount:{namespace}:{service_account}"),
        "iat": now, "nbf": now.min(now + seconds), "exp": now + seconds,
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": service_account}},
    })
}

/// The crypto provider could not create a key or signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("cannot generate a key or sign with it")]
pub struct IssuerError;
