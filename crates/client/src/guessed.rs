//! All of the API that is not documented, in one place: what other modules send and read is as published.
//!
//! The exchange's bodies, the routes and bodies of leases, two of three rate-limit headers and the form of `ScaiKey`'s
//! errors follow the conventions of what is documented. Requests keep to the smallest form; answers are read
//! tolerantly, by all names that are likely.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use scaivault_contract::{Duration as Ttl, DynamicRef};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::{
    AnswerFault, ErrorKind, Lease, LeaseId, LeaseTerm, SecretData, SubscriptionId, Token,
    documented::{SUBSCRIPTIONS_ROUTE, percent_encoded},
    envelope::{EnvelopeError, json, success, success_of_login},
    transport::{Answer, Content},
};

/// Subscriptions with their names.
type SubscriptionPage = Vec<(SubscriptionId, String)>;

/// The header with a bucket's size a minute.
pub(crate) const RATE_LIMIT_HEADER: &str = "x-ratelimit-limit";

/// The header with what is left in it.
pub(crate) const RATE_REMAINING_HEADER: &str = "x-ratelimit-remaining";

/// The body of `POST /v1/auth/exchange`, by the names of RFC 8693.
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
    secret_json(&Exchange {
        grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token: token.expose_secret(),
        subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
        audience,
        role,
    })
}

/// The token of an exchange's answer; that of client credentials is documented and has the same form.
pub(crate) fn token(answer: &Answer, now: SystemTime) -> Result<Token, ErrorKind> {
    #[derive(Deserialize)]
    struct Answered<'a> {
        #[serde(borrow, default)]
        access_token: Option<&'a RawValue>,
        #[serde(default)]
        expires_in: Option<u64>,
    }
    success_of_login(answer)?;
    let Answered { access_token, expires_in } = json(&answer.body)?;
    // The characters of a token need no escapes, so the text between the quotes is the token.
    let text = access_token.and_then(|raw| raw.get().strip_prefix('"')?.strip_suffix('"'));
    text.filter(|text| !text.contains('\\'))
        .and_then(|text| Token::new(text.into(), expires_in.map(Duration::from_secs), now))
        .ok_or_else(|| AnswerFault::Missing("access_token that can be sent").into())
}

/// An error of `ScaiKey`'s token endpoint, as RFC 6749 has it: the error is a word there and no object.
pub(crate) fn oauth_error(body: &[u8]) -> Option<EnvelopeError> {
    #[derive(Deserialize)]
    struct OauthError {
        error: String,
        #[serde(default)]
        error_description: String,
    }
    let OauthError { error, error_description } = json(body).ok()?;
    // "Not Found" and its like are of whatever stands in front.
    let is_code = !error.is_empty() && error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_code.then(|| EnvelopeError::new(error, error_description))
}

/// The route that generates credentials. Its last three segments are seen in a diagram.
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
    secret_json(&Generate { ttl: dynamic.ttl })
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
    secret_json(&Renew { increment })
}

/// The route that revokes a lease.
pub(crate) fn revoke_route(lease: &LeaseId) -> String {
    format!("/v1/dynamic/leases/{lease}/revoke")
}

/// A lease with its credentials: a member `data` or `credentials`, or `username` and `password` beside the others.
pub(crate) fn lease(answer: &Answer, now: SystemTime) -> Result<Lease, ErrorKind> {
    #[derive(Deserialize)]
    struct Named<'a> {
        // Not aliases of each other: an answer may have both.
        lease_id: Option<String>,
        id: Option<String>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
        #[serde(borrow)]
        credentials: Option<&'a RawValue>,
        #[serde(borrow)]
        username: Option<&'a RawValue>,
        #[serde(borrow)]
        password: Option<&'a RawValue>,
    }
    success(answer)?;
    let Named { lease_id, id, data, credentials, username, password } = json(&answer.body)?;
    let id = lease_id.or(id).ok_or(AnswerFault::Missing("lease_id"))?.parse().map_err(AnswerFault::from)?;
    let credentials = match (data.or(credentials), username, password) {
        (Some(data), _, _) => SecretData::new(data.get())?,
        (None, Some(username), Some(password)) => {
            let text = Zeroizing::new(format!(r#"{{"username":{username},"password":{password}}}"#));
            SecretData::new(&text)?
        }
        _ => return Err(AnswerFault::Missing("credentials").into()),
    };
    Ok(Lease { id, credentials, term: term(answer, now)? })
}

/// How long a lease lasts, of the answer to its generation or renewal. One without time left is refused: whoever took
/// it for a lease would ask for the next at once, and so on.
pub(crate) fn term(answer: &Answer, now: SystemTime) -> Result<LeaseTerm, ErrorKind> {
    #[derive(Deserialize)]
    struct Term {
        ttl_seconds: Option<Length>,
        lease_duration: Option<Length>,
        ttl: Option<Length>,
        expires_at: Option<String>,
        renewable: Option<bool>,
        max_ttl_seconds: Option<Length>,
        max_ttl: Option<Length>,
    }
    success(answer)?;
    let term: Term = json(&answer.body)?;
    let until = |end: Timestamp| SystemTime::from(end).duration_since(now).unwrap_or_default();
    let end = || term.expires_at.as_deref().and_then(|end| end.parse().ok());
    let ttl = term.ttl_seconds.or(term.lease_duration).or(term.ttl).map(Length::to_std);
    let ttl = ttl.or_else(|| end().map(until)).ok_or(AnswerFault::Missing("ttl_seconds"))?;
    if ttl.is_zero() {
        return Err(AnswerFault::Ended.into());
    }
    Ok(LeaseTerm {
        ttl,
        is_renewable: term.renewable.unwrap_or(true),
        max_ttl: term.max_ttl_seconds.or(term.max_ttl).map(Length::to_std),
    })
}

/// A number of seconds, or a duration.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Length {
    Seconds(u64),
    Text(Ttl),
}

impl Length {
    fn to_std(self) -> Duration {
        match self {
            // A server's word, added to clocks later: no longer than any duration may be.
            Self::Seconds(seconds) => Duration::from_secs(seconds.min(Ttl::MAX.as_secs())),
            Self::Text(ttl) => ttl.to_std(),
        }
    }
}

/// The most pages of subscriptions that are read: each costs one of the 20 operations a minute.
pub(crate) const SUBSCRIPTION_PAGES: usize = 10;

/// The route that lists subscriptions. Only its path is documented.
pub(crate) fn subscriptions_route(cursor: Option<&str>) -> String {
    let cursor = cursor.map(|cursor| format!("&cursor={}", percent_encoded(cursor))).unwrap_or_default();
    format!("{SUBSCRIPTIONS_ROUTE}?limit=100{cursor}")
}

/// Subscriptions with their names, and the cursor of the next page. What has no usable identifier is left out.
pub(crate) fn subscriptions(answer: &Answer) -> Result<(SubscriptionPage, Option<String>), ErrorKind> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Answered {
        Page {
            // Documented for subscriptions is none; these are the names of other lists.
            #[serde(alias = "data", alias = "items")]
            subscriptions: Vec<Entry>,
            #[serde(default)]
            cursor: Option<String>,
            #[serde(default)]
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
        Answered::Page { subscriptions, cursor, has_more } => {
            (subscriptions, cursor.filter(|_| has_more.unwrap_or(true)))
        }
        Answered::Bare(subscriptions) => (subscriptions, None),
    };
    let named = |Entry { id, name }| Some((id?.parse().ok()?, name.unwrap_or_default()));
    Ok((entries.into_iter().filter_map(named).collect(), next))
}

/// JSON that is wiped, written without a copy left behind.
fn secret_json(value: &impl Serialize) -> Content {
    let mut counted = Counted(0);
    serde_json::to_writer(&mut counted, value).expect("a body's members are text");
    let mut bytes = Zeroizing::new(Vec::with_capacity(counted.0));
    serde_json::to_writer(&mut *bytes, value).expect("a body's members are text");
    Content::json(bytes)
}

/// How many bytes would be written.
struct Counted(usize);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
