use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize, SigningKey as _};
use serde_json::{Value, json};

use super::*;
use crate::Issuer;

#[test]
fn a_token_is_about_its_service_account() {
    let (issuer, now) = (Issuer::generate().unwrap(), Timestamp::now());
    let token = issuer.mint("billing", "web", "scaivault", now, 600).unwrap();
    let found = issuer.keys().verify(&token, "scaivault", now).unwrap();
    assert_eq!((found.namespace.as_str(), found.name.as_str()), ("billing", "web"));
}

#[test]
fn faults_of_tokens_are_detected() {
    let (issuer, other, now) = (Issuer::generate().unwrap(), Issuer::generate().unwrap(), Timestamp::now());
    let token = issuer.mint("billing", "web", "scaivault", now, 600).unwrap();
    let later = now + jiff::SignedDuration::from_secs(600);
    assert_eq!(issuer.keys().verify(&token, "scaivault", later), Err(Fault::Expired));
    for (keys, token, audience, expected) in [
        (other.keys(), token.clone(), "scaivault", "its signature is wrong"),
        (issuer.keys(), token.clone(), "other", "its audience is another one"),
        (issuer.keys().of_issuer("other"), token.clone(), "scaivault", "its issuer is another one"),
        (issuer.keys(), "eyJ".to_owned(), "scaivault", "it is not a JWT"),
    ] {
        assert_eq!(keys.verify(&token, audience, now), Err(Fault::Invalid(expected)));
    }
}

#[test]
fn an_unsigned_token_is_refused() {
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

/// Signed like an API server: RSA with SHA-256.
#[test]
fn a_token_of_an_api_server_is_verified() {
    let api_server = "https://kubernetes.default.svc";
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let keys = Keys::new(&json!({"keys": [rsa_key(&pair, "a")]}).to_string()).unwrap().of_issuer(api_server);
    let now = Timestamp::now();
    let claims = json!({
        "iss": api_server, "aud": ["scaivault"], "sub": "system:serviceaccount:billing:web",
        "exp": now.as_second() + 60, "nbf": now.as_second(), "iat": now.as_second(),
    });
    let of = |claims: &Value, kid: &str, signer: &KeyPair| {
        keys.verify(&signed(&json!({"alg": "RS256", "kid": kid}), claims, signer), "scaivault", now)
    };
    let found = of(&claims, "a", &pair).unwrap();
    assert_eq!((found.namespace.as_str(), found.name.as_str()), ("billing", "web"));
    assert_eq!(of(&claims, "b", &pair), Err(Fault::Invalid("its key is not known")));
    let other = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    assert_eq!(of(&claims, "a", &other), Err(Fault::Invalid("its signature is wrong")));
    for (claim, value, expected) in [
        ("iss", json!("https://elsewhere"), "its issuer is another one"),
        ("iss", Value::Null, "it lacks one of exp, aud, sub and iss"),
        ("aud", json!(["other"]), "its audience is another one"),
        ("nbf", json!(now.as_second() + 30), "it is not valid yet"),
        ("sub", json!("alice"), "it is not about a service account"),
    ] {
        let mut claims = claims.clone();
        claims[claim] = value;
        assert_eq!(of(&claims, "a", &pair), Err(Fault::Invalid(expected)), "{claim}");
    }
}

#[test]
fn a_key_that_is_lacking_is_noticed() {
    let issuer = Issuer::generate().unwrap();
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let token = |header: &Value| signed(header, &json!({}), &pair);
    assert!(issuer.keys().lack_key_of(&token(&json!({"alg": "RS256", "kid": "new"}))));
    assert!(!issuer.keys().lack_key_of(&token(&json!({"alg": "RS256", "kid": "dev-1"}))));
    // Fetching the key set again would not help.
    assert!(!issuer.keys().lack_key_of(&token(&json!({"alg": "RS256"}))));
    assert!(!issuer.keys().lack_key_of("eyJ"));
}

pub(crate) fn rsa_key(pair: &KeyPair, id: &str) -> Value {
    // SEQUENCE (4 bytes) of INTEGER (4 bytes, a zero, 256 of the modulus) and INTEGER (2 bytes, the
    // exponent).
    let public = pair.public_key_raw();
    let (modulus, exponent) = (&public[9..265], &public[267..]);
    json!({
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": id,
        "n": URL_SAFE_NO_PAD.encode(modulus), "e": URL_SAFE_NO_PAD.encode(exponent),
    })
}

pub(crate) fn signed(header: &Value, claims: &Value, pair: &KeyPair) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let content = format!("{}.{}", part(header), part(claims));
    let signature = pair.sign(content.as_bytes()).unwrap();
    format!("{content}.{}", URL_SAFE_NO_PAD.encode(signature))
}
