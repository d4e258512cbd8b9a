//! The common parts of all answers: error, rate limits, JSON.

use std::time::{Duration, SystemTime};

use hyper::{HeaderMap, header};
use jiff::fmt::rfc2822;
use serde::Deserialize;

use crate::{
    AnswerFault, ErrorCode, ErrorKind, Refusal, guessed, length::length_of, rate_limit::RateLimit,
    transport::Answer,
};

/// Checks for a successful status; the body is ignored.
pub(crate) fn success(answer: &Answer) -> Result<(), ErrorKind> {
    if (200..300).contains(&answer.status) { Ok(()) } else { Err(refusal(answer, error_of(answer)).into()) }
}

/// The same for the answer to a login, which may be `ScaiKey`'s with its OAuth error format. Other
/// requests do not use that format.
pub(crate) fn success_of_login(answer: &Answer) -> Result<(), ErrorKind> {
    success(answer).map_err(|kind| match error_of(answer).or_else(|| guessed::oauth_error(&answer.body)) {
        Some(error) => refusal(answer, Some(error)).into(),
        None => kind,
    })
}

/// Parses the JSON in `bytes`. Unknown members are skipped.
pub(crate) fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, AnswerFault> {
    // The parser's message would quote unexpected input.
    serde_json::from_slice(bytes).map_err(|_| AnswerFault::Json)
}

/// The caller's rate limit in an answer's headers; `None` without such headers.
pub(crate) fn rate_limit(headers: &HeaderMap) -> Option<RateLimit> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse().ok();
    let found = RateLimit {
        limit: number(guessed::RATE_LIMIT_HEADER),
        remaining: number(guessed::RATE_REMAINING_HEADER),
        reset: number("x-ratelimit-reset"),
    };
    (found != RateLimit::default()).then_some(found)
}

/// `ScaiVault`'s error envelope.
#[derive(Deserialize)]
struct Envelope {
    error: EnvelopeError,
}

#[derive(Deserialize)]
pub(crate) struct EnvelopeError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    request_id: Option<String>,
}

impl EnvelopeError {
    pub(crate) fn new(code: String, message: String) -> Self {
        Self { code, message, request_id: None }
    }

    pub(crate) fn into_refusal(self, status: u16, retry_after: Option<Duration>) -> Refusal {
        let Self { code, message, request_id } = self;
        Refusal {
            status,
            code: ErrorCode::new(&code),
            message: message.chars().take(Refusal::MESSAGE_CHARS).collect(),
            request_id: request_id.and_then(|id| plain_id(&id)),
            retry_after,
        }
    }
}

fn error_of(answer: &Answer) -> Option<EnvelopeError> {
    json(&answer.body).ok().map(|Envelope { error }| error)
}

/// A proxy in front of `ScaiVault` may answer HTML or nothing: then there is no code, and the body
/// is not quoted.
fn refusal(answer: &Answer, error: Option<EnvelopeError>) -> Refusal {
    let error = error.unwrap_or_else(|| {
        EnvelopeError::new(String::new(), "a response that is not an error of ScaiVault".to_owned())
    });
    let mut refusal = error.into_refusal(answer.status, retry_after(&answer.headers));
    if refusal.request_id.is_none() {
        let header = answer.headers.get("x-request-id").and_then(|value| value.to_str().ok());
        refusal.request_id = header.and_then(plain_id);
    }
    refusal
}

/// A number of seconds, as published, or a date, which HTTP allows, too.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.trim());
    let date = |text: &str| rfc2822::parse(text).ok().map(|date| SystemTime::from(date.timestamp()));
    let asked = text(header::RETRY_AFTER)?;
    let pause = length_of(asked).or_else(|| {
        // Relative to the server's own clock, if its time is in the answer.
        let now = text(header::DATE).and_then(date).unwrap_or_else(SystemTime::now);
        Some(date(asked)?.duration_since(now).unwrap_or_default())
    });
    Some(pause?.min(RETRY_AFTER_LIMIT))
}

/// The maximum pause accepted from a server.
const RETRY_AFTER_LIMIT: Duration = Duration::from_hours(1);

/// The identifier is logged, so its characters are restricted.
fn plain_id(id: &str) -> Option<String> {
    const MAX_CHARS: usize = 128;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    ((1..=MAX_CHARS).contains(&id.len()) && id.bytes().all(is_plain)).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requested_pause_is_in_seconds_or_a_date() {
        let asked = |retry_after: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, retry_after.parse().unwrap());
            date.map(|date| headers.insert(header::DATE, date.parse().unwrap()));
            retry_after_seconds(&headers)
        };
        let now = Some("Thu, 26 Nov 2026 14:00:00 GMT");
        assert_eq!(asked("7", None), Some(7.0));
        assert_eq!(asked("1.5", None), Some(1.5));
        assert_eq!(asked("Thu, 26 Nov 2026 14:01:30 GMT", now), Some(90.0));
        assert_eq!(asked("Thu, 26 Nov 2026 13:00:00 GMT", now), Some(0.0));
        assert_eq!(asked("Thu, 26 Nov 2099 14:00:00 GMT", None), Some(3600.0));
        assert_eq!(asked("99999999999999999999", None), Some(3600.0));
        for text in ["-1", "soon", "", "inf"] {
            assert_eq!(asked(text, now), None, "{text}");
        }
    }

    fn retry_after_seconds(headers: &HeaderMap) -> Option<f64> {
        retry_after(headers).map(|pause| pause.as_secs_f64())
    }
}
