//! All undocumented parts of the API. Other modules only use the published parts, so when ScaiVault
//! publishes more, only this module changes.
//!
//! The bodies of the exchange, the routes and bodies of leases, two of three rate-limit headers and
//! the format of `ScaiKey`'s errors follow the conventions of the documented parts. Requests use
//! the smallest form; answers are parsed tolerantly, with all likely names.

use std::{collections::BTreeMap, time::SystemTime};

use scaivault_contract::{Duration as Ttl, DynamicRef};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    AnswerFault, ErrorKind, IdError, Lease, LeaseId, LeaseTerm, SecretData, SubscriptionId, Token,
    documented::{SUBSCRIPTIONS_ROUTE, percent_encoded},
    envelope::{EnvelopeError, json, success_of_login},
    length::{length, until},
    transport::{Answer, Content},
};

pub(crate) mod versions;

/// Subscriptions with their names.
type SubscriptionPage = Vec<(SubscriptionId, String)>;

/// The header with the rate limit per minute.
pub(crate) const RATE_LIMIT_HEADER: &str = "x-ratelimit-limit";

/// The header with the remaining requests.
pub(crate) const RATE_REMAINING_HEADER: &str = "x-ratelimit-remaining";

/// The body of `POST /v1/auth/exchange`, with the names of RFC 8693.
pub(crate) fn exchange(token: &SecretString, audience: &str, role: Option<&str>) -> Content {
    #[derive(Serialize)]
    struct Exchange<'a> {
        grant_type: &'static str,
        subject_token: &'a str,
        subject_token_type: &'static str,
        audience: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<&'a str>,
    }
    Content::json(&Exchange {
        grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token: token.expose_secret(),
        subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
        audience,
        role,
    })
}

/// The members of an answer except those that are null.
fn members(answer: &Answer) -> Result<BTreeMap<String, &RawValue>, AnswerFault> {
    let mut members: BTreeMap<_, &RawValue> = json(&answer.body)?;
    members.retain(|_, value| value.get() != "null");
    Ok(members)
}

/// The token in the answer to an exchange. The answer to client credentials is documented and has
/// the same format.
pub(crate) fn token(answer: &Answer, now: SystemTime) -> Result<Token, ErrorKind> {
    success_of_login(answer)?;
    let members = members(answer)?;
    // An unknown lifetime is ignored: a token that expires early is replaced when it is rejected.
    let lifetime = members.get("expires_in").and_then(|raw| length(raw));
    // The characters of a token need no escapes, so the raw text between the quotes is the token.
    let text = members.get("access_token").and_then(|raw| raw.get().strip_prefix('"')?.strip_suffix('"'));
    text.filter(|text| !text.contains('\\'))
        .and_then(|text| Token::new(text.into(), lifetime, now))
        .ok_or_else(|| AnswerFault::Missing("access_token that can be sent").into())
}

/// An error of `ScaiKey`'s token endpoint according to RFC 6749: the error is a string instead of
/// an object.
pub(crate) fn oauth_error(body: &[u8]) -> Option<EnvelopeError> {
    #[derive(Deserialize)]
    struct OauthError {
        error: String,
        #[serde(default)]
        error_description: String,
    }
    let OauthError { error, error_description } = json(body).ok()?;
    // Texts such as "Not Found" come from a proxy.
    let is_code = !error.is_empty() && error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_code.then(|| EnvelopeError::new(error, error_description))
}

/// The route that generates credentials. Its last three segments appear in a published diagram.
pub(crate) fn generate_route(dynamic: &DynamicRef) -> String {
    format!("/v1/dynamic/engines/{}/creds/{}", dynamic.engine, dynamic.role)
}

/// The body that generates credentials.
pub(crate) fn generate(dynamic: &DynamicRef) -> Content {
    #[derive(Serialize)]
    struct Generate {
        #[serde(skip_serializing_if = "Option::is_none")]
        ttl: Option<Ttl>,
    }
    Content::json(&Generate { ttl: dynamic.ttl })
}

/// The route that renews a lease.
pub(crate) fn renew_route(lease: &LeaseId) -> String {
    format!("/v1/dynamic/leases/{lease}/renew")
}

/// The body that renews a lease.
pub(crate) fn renew(increment: Option<Ttl>) -> Content {
    #[derive(Serialize)]
    struct Renew {
        #[serde(skip_serializing_if = "Option::is_none")]
        increment: Option<Ttl>,
    }
    Content::json(&Renew { increment })
}

/// The route that revokes a lease.
pub(crate) fn revoke_route(lease: &LeaseId) -> String {
    format!("/v1/dynamic/leases/{lease}/revoke")
}

/// Parses a lease with its credentials. If the answer contains its identifier but is truncated or
/// invalid, the error contains the identifier, because the lease exists.
pub(crate) fn lease(answer: Answer, now: SystemTime) -> Result<Lease, ErrorKind> {
    let id = lease_id(&answer);
    let rest = answer.whole().and_then(|answer| Ok((credentials(&answer)?, term(&answer, now)?)));
    match (id, rest) {
        (Some(Ok(id)), Ok((credentials, term))) => Ok(Lease { id, credentials, term }),
        (Some(Ok(lease)), Err(source)) => Err(ErrorKind::OrphanedLease { lease, source: Box::new(source) }),
        (Some(Err(fault)), Ok(_)) => Err(AnswerFault::from(fault).into()),
        (_, Err(kind)) => Err(kind),
        (None, Ok(_)) => Err(AnswerFault::Missing("lease_id").into()),
    }
}

/// The identifier of a lease at any place in the answer, even if that is truncated or not JSON.
fn lease_id(answer: &Answer) -> Option<Result<LeaseId, IdError>> {
    let (members, body) = (members(answer).unwrap_or_default(), &answer.body);
    let named = members.get("lease_id").or(members.get("id")).map(|id| id.get().trim_matches('"'));
    let id = named.or_else(|| scan(body, "\"lease_id\"")).or_else(|| scan(body, "\"id\""))?;
    Some(id.parse())
}

/// The text or number after the first `key`.
fn scan<'a>(body: &'a [u8], key: &str) -> Option<&'a str> {
    let value = |at: usize| {
        let value = body[at + key.len()..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let (value, is_end): (_, fn(&u8) -> bool) = match value.strip_prefix(b"\"") {
            Some(text) => (text, |byte| *byte == b'"'),
            None => (value, |byte| !byte.is_ascii_digit()),
        };
        let end = value.iter().position(is_end).filter(|end| *end > 0)?;
        str::from_utf8(&value[..end]).ok()
    };
    let keys = body.windows(key.len()).enumerate().filter(|(_, window)| *window == key.as_bytes());
    keys.map(|(at, _)| at).find_map(value)
}

/// The credentials of a lease: a member `data` or `credentials`, or `username` and `password` next
/// to the other members.
fn credentials(answer: &Answer) -> Result<SecretData, ErrorKind> {
    let members = members(answer)?;
    for name in ["data", "credentials"] {
        if let Some(data) = members.get(name) {
            return Ok(SecretData::new(data.get()).map_err(|fault| AnswerFault::Credentials(name, fault))?);
        }
    }
    match (members.get("username"), members.get("password")) {
        (Some(username), Some(password)) => {
            Ok(SecretData::new(&format!(r#"{{"username":{username},"password":{password}}}"#))?)
        }
        _ => Err(AnswerFault::Missing("data, credentials, or username and password").into()),
    }
}

/// The term in the answer to a generation or renewal. A lease without remaining time is rejected:
/// otherwise the caller would immediately request the next one, without end.
pub(crate) fn term(answer: &Answer, now: SystemTime) -> Result<LeaseTerm, ErrorKind> {
    let members = members(answer)?;
    let length_of = |name| members.get(name).map(|raw| length(raw));
    let lengths = ["ttl_seconds", "lease_duration", "ttl", "expires_in"].map(|name| (name, length_of(name)));
    let end = ("expires_at", members.get("expires_at").map(|raw| until(raw, now)));
    let times = || lengths.iter().chain([&end]);
    let mut known = times().filter_map(|(_, time)| time.flatten());
    let Some(ttl) = known.clone().find(|ttl| !ttl.is_zero()) else {
        let unreadable = times().find(|(_, time)| *time == Some(None));
        return Err(match unreadable {
            _ if known.next().is_some() => AnswerFault::Ended,
            Some((name, _)) => AnswerFault::Time(name),
            None => AnswerFault::Missing("ttl_seconds, lease_duration, ttl, expires_in or expires_at"),
        }
        .into());
    };
    // Zero and negative values commonly mean no maximum. An unknown format is harmless, because
    // ScaiVault enforces its maximum.
    let max_ttl = ["max_ttl_seconds", "max_ttl"].into_iter().filter_map(length_of).flatten().next();
    let is_refused = |raw: &&RawValue| matches!(raw.get().trim_matches('"'), "false" | "0");
    Ok(LeaseTerm {
        ttl,
        is_renewable: !members.get("renewable").is_some_and(is_refused),
        max_ttl: max_ttl.filter(|max| !max.is_zero()),
    })
}

/// The maximum number of pages of subscriptions that are read: each uses one of the 20 operations a
/// minute.
pub(crate) const SUBSCRIPTION_PAGES: usize = 10;

/// The route that lists subscriptions. Only its path is documented.
pub(crate) fn subscriptions_route(cursor: Option<&str>) -> String {
    let cursor = cursor.map(|cursor| format!("&cursor={}", percent_encoded(cursor))).unwrap_or_default();
    format!("{SUBSCRIPTIONS_ROUTE}?limit=100{cursor}")
}

/// Subscriptions with their names, and the cursor of the next page. Entries without a valid
/// identifier are skipped.
pub(crate) fn subscriptions(answer: &Answer) -> Result<(SubscriptionPage, Option<String>), ErrorKind> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum SubscriptionsAnswer {
        Page {
            // The name is not documented for subscriptions; these are the names in other lists.
            #[serde(alias = "data", alias = "items")]
            subscriptions: Vec<Entry>,
            cursor: Option<String>,
            has_more: Option<bool>,
        },
        Bare(Vec<Entry>),
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(alias = "subscription_id")]
        id: Option<String>,
        name: Option<String>,
    }
    let (entries, next) = match json(&answer.body)? {
        SubscriptionsAnswer::Page { subscriptions, cursor, has_more } => {
            (subscriptions, cursor.filter(|_| has_more.unwrap_or(true)))
        }
        SubscriptionsAnswer::Bare(subscriptions) => (subscriptions, None),
    };
    let named = |Entry { id, name }| Some((id?.parse().ok()?, name.unwrap_or_default()));
    Ok((entries.into_iter().filter_map(named).collect(), next))
}

#[cfg(test)]
mod tests;
