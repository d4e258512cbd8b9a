//! The keys of a token issuer, and token verification.

use std::sync::Arc;

use jiff::Timestamp;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    errors::{Error, ErrorKind},
    jwk::JwkSet,
};
use serde::Deserialize;
use thiserror::Error;

use crate::jwks_url::{FetchError, JwksUrl};

/// The public keys of an issuer of service account tokens.
#[derive(Clone)]
pub struct Keys {
    set: JwkSet,
    /// The URL for fetching them again; `None` for constant keys.
    url: Option<Arc<JwksUrl>>,
    /// The required `iss` of a token; `None` accepts any.
    issuer: Option<String>,
}

impl Keys {
    /// Parses a key set as an API server publishes it at `/openid/v1/jwks`.
    pub fn new(jwks: &str) -> Result<Self, KeysError> {
        Ok(Self { set: parse(jwks)?, url: None, issuer: None })
    }

    /// Fetches a key set. It is fetched again if a token has an unknown key.
    pub async fn fetch(url: JwksUrl) -> Result<Self, KeysError> {
        let set = parse(&url.fetch().await?)?;
        Ok(Self { set, url: Some(Arc::new(url)), issuer: None })
    }

    /// The same keys, only for tokens with this `iss`.
    #[must_use]
    pub fn of_issuer(self, issuer: &str) -> Self {
        Self { issuer: Some(issuer.to_owned()), ..self }
    }

    /// Replaces the keys, keeping the required issuer.
    pub(crate) fn replace(&mut self, jwks: &str) -> Result<(), KeysError> {
        self.set = parse(jwks)?;
        Ok(())
    }

    pub(crate) fn url(&self) -> Option<Arc<JwksUrl>> {
        self.url.clone()
    }

    /// Whether the token names an unknown key.
    pub(crate) fn lack_key_of(&self, token: &str) -> bool {
        let named = decode_header(token).ok().and_then(|header| header.kid);
        named.is_some_and(|id| self.set.find(&id).is_none())
    }

    /// The service account of the token, if one of the keys signed it, issuer and audience match,
    /// and it is valid at `now`.
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
            Some(id) => self.set.find(id),
            None => self.set.keys.first(),
        };
        let key = key.ok_or(Fault::Invalid("its key is not known"))?;
        let key = DecodingKey::from_jwk(key).map_err(|_| Fault::Invalid("its key cannot be used"))?;
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "aud", "sub"]);
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            validation.set_required_spec_claims(&["exp", "aud", "sub", "iss"]);
        }
        // Checked against the server's own clock below.
        validation.validate_exp = false;
        let decoded = decode::<Claims>(token, &key, &validation);
        let claims = decoded.map_err(|error| Fault::Invalid(what_is_wrong(&error)))?.claims;
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

/// Why a key set is not available.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeysError {
    /// It is not a valid key set.
    #[error("the key set cannot be used: {0}; it is what `kubectl get --raw /openid/v1/jwks` prints")]
    Malformed(String),
    /// It could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// Why a token is rejected.
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

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
}

fn parse(jwks: &str) -> Result<JwkSet, KeysError> {
    let set: JwkSet = serde_json::from_str(jwks).map_err(|error| KeysError::Malformed(error.to_string()))?;
    if set.keys.is_empty() {
        return Err(KeysError::Malformed("it has no key".to_owned()));
    }
    Ok(set)
}

fn what_is_wrong(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::InvalidAudience => "its audience is another one",
        ErrorKind::InvalidIssuer => "its issuer is another one",
        ErrorKind::MissingRequiredClaim(_) => "it lacks one of exp, aud, sub and iss",
        ErrorKind::InvalidSignature => "its signature is wrong",
        _ => "its signature or a claim is wrong",
    }
}

#[cfg(test)]
pub(crate) mod tests;
