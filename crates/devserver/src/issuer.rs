//! Tokens of service accounts: verified as `ScaiVault` verifies a cluster's, and an issuer to make some where there is
//! no cluster.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode, jwk::JwkSet,
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;

/// The key's name in the generated set.
const KEY_ID: &str = "dev-1";

/// The issuer that a generated issuer calls itself.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The public keys of an issuer of service accounts' tokens.
#[derive(Clone, Debug)]
pub struct Keys(JwkSet);

impl Keys {
    /// Reads a key set as an API server publishes it at `/openid/v1/jwks`.
    pub fn new(jwks: &str) -> Result<Self, KeysError> {
        let keys: JwkSet = serde_json::from_str(jwks).map_err(|error| KeysError(error.to_string()))?;
        if keys.keys.is_empty() {
            return Err(KeysError("it has no key".to_owned()));
        }
        Ok(Self(keys))
    }

    /// Who the token is about, if one of the keys signed it, it has the audience and is valid at `now`.
    pub(crate) fn verify(
        &self,
        token: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<ServiceAccount, Fault> {
        let header = decode_header(token).map_err(|_| Fault::Invalid("it is not a JWT"))?;
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
            return Err(Fault::Invalid("it is signed by neither RS256 nor ES256"));
        }
        let key = match &header.kid {
            Some(id) => self.0.find(id),
            None => self.0.keys.first(),
        };
        let key = key.ok_or(Fault::Invalid("its key is not known"))?;
        let key = DecodingKey::from_jwk(key).map_err(|_| Fault::Invalid("its key cannot be used"))?;
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "aud", "sub"]);
        // Against the server's own clock, below.
        validation.validate_exp = false;
        let claims = decode::<Claims>(token, &key, &validation)
            .map_err(|_| Fault::Invalid("its signature or audience is wrong"))?
            .claims;
        let now = now.as_second();
        if claims.exp <= now {
            return Err(Fault::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > now) {
            return Err(Fault::Invalid("it is not valid yet"));
        }
        ServiceAccount::of_subject(&claims.sub).ok_or(Fault::Invalid("it is not about a service account"))
    }
}

/// A key set that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the key set cannot be used: {0}")]
pub struct KeysError(String);

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Invalid(&'static str),
    Expired,
}

/// A service account of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceAccount {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ServiceAccount {
    fn of_subject(subject: &str) -> Option<Self> {
        let (namespace, name) = subject.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        Some(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
}

/// An issuer with a key of its own, which signs whatever it is asked to.
pub struct Issuer {
    key: EncodingKey,
    keys: Keys,
}

impl Issuer {
    /// An issuer with a new ES256 key.
    pub fn generate() -> Result<Self, IssuerError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| IssuerError)?;
        // An uncompressed point: 4, x, y.
        let point = pair.public_key_raw();
        let (x, y) = point.get(1..).and_then(|xy| xy.split_at_checked(32)).ok_or(IssuerError)?;
        let jwks = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": KEY_ID,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]});
        let keys = Keys::new(&jwks.to_string()).map_err(|_| IssuerError)?;
        Ok(Self { key: EncodingKey::from_ec_der(&pair.serialize_der()), keys })
    }

    /// What verifies its tokens.
    pub fn keys(&self) -> Keys {
        self.keys.clone()
    }

    /// A token as a kubelet projects one, valid at `now` and for `seconds` (less than nothing makes an expired one).
    pub fn mint(
        &self,
        namespace: &str,
        service_account: &str,
        audience: &str,
        now: Timestamp,
        seconds: i64,
    ) -> Result<String, IssuerError> {
        let now = now.as_second();
        let claims = json!({
            "iss": ISSUER, "aud": [audience], "sub": format!("system:serviceaccount:{namespace}:{service_account}"),
            "iat": now, "nbf": now.min(now + seconds), "exp": now + seconds,
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": service_account}},
        });
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(KEY_ID.to_owned());
        encode(&header, &claims, &self.key).map_err(|_| IssuerError)
    }
}

/// The crypto provider could not make a key or signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("cannot generate a key or sign with it")]
pub struct IssuerError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_about_its_service_account() {
        let (issuer, now) = (Issuer::generate().unwrap(), Timestamp::now());
        let token = issuer.mint("billing", "web", "scaivault", now, 600).unwrap();
        let found = issuer.keys().verify(&token, "scaivault", now).unwrap();
        assert_eq!((found.namespace.as_str(), found.name.as_str()), ("billing", "web"));
    }

    #[test]
    fn what_is_wrong_with_a_token_is_seen() {
        let (issuer, other, now) =
            (Issuer::generate().unwrap(), Issuer::generate().unwrap(), Timestamp::now());
        let token = issuer.mint("billing", "web", "scaivault", now, 600).unwrap();
        let later = now + jiff::SignedDuration::from_secs(600);
        assert_eq!(issuer.keys().verify(&token, "scaivault", later), Err(Fault::Expired));
        for (keys, token, audience) in [
            (other.keys(), token.clone(), "scaivault"),
            (issuer.keys(), token.clone(), "other"),
            (issuer.keys(), format!("{token}x"), "scaivault"),
            (issuer.keys(), "eyJ".to_owned(), "scaivault"),
        ] {
            let fault = keys.verify(&token, audience, now).unwrap_err();
            assert!(matches!(fault, Fault::Invalid(_)), "{fault:?}");
        }
    }

    #[test]
    fn a_token_that_nobody_signed_is_refused() {
        let (issuer, now) = (Issuer::generate().unwrap(), Timestamp::now());
        let token = issuer.mint("billing", "web", "scaivault", now, 600).unwrap();
        let claims = token.split('.').nth(1).unwrap();
        let unsigned = format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
        assert!(issuer.keys().verify(&unsigned, "scaivault", now).is_err());
    }

    #[test]
    fn a_key_set_has_keys() {
        assert!(Keys::new("{\"keys\":[]}").is_err());
        assert!(Keys::new("no").is_err());
    }
}
