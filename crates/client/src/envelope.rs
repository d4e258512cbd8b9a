//! What all answers have in common: error, rate limits, JSON.

use std::time::Duration;

use hyper::{HeaderMap, header};
use serde::Deserialize;

use crate::{AnswerFault, ErrorCode, ErrorKind, RateLimit, Refusal, guessed, transport::Answer};

/// Nothing for a success, whatever its body.
pub(crate) fn success(answer: &Answer) -> Result<(), ErrorKind> {
    if (200..300).contains(&answer.status) { Ok(()) } else { Err(refusal(answer, error_of(answer)).into()) }
}

/// The same for the answer to a login, which may be `ScaiKey`'s. Elsewhere a word as error is not `ScaiVault`'s.
pub(crate) fn success_of_login(answer: &Answer) -> Result<(), ErrorKind> {
    success(answer).map_err(|kind| match error_of(answer).or_else(|| guessed::oauth_error(&answer.body)) {
        Some(error) => refusal(answer, Some(error)).into(),
        None => kind,
    })
}

/// The JSON in `bytes`. Members that are not known are skipped.
pub(crate) fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, AnswerFault> {
    // The parser's own words would quote what it did not expect.
    serde_json::from_slice(bytes).map_err(|_| AnswerFault::Json)
}

/// What an answer's headers say about the caller's bucket; none where they say nothing.
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

/// Also what a batch's paths get, without an identifier of the request.
#[derive(Deserialize)]
pub(crate) struct EnvelopeError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
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

/// Whatever else stands in front of `ScaiVault` may answer HTML or nothing: then there is no code, and nothing of the body
/// is repeated.
fn refusal(answer: &Answer, error: Option<EnvelopeError>) -> Refusal {
    let error = error.unwrap_or_else(|| {
        EnvelopeError::new(String::new(), "an answer without an error of ScaiVault's".to_owned())
    });
    let mut refusal = error.into_refusal(answer.status, retry_after(&answer.headers));
    if refusal.request_id.is_none() {
        let header = answer.headers.get("x-request-id").and_then(|value| value.to_str().ok());
        refusal.request_id = header.and_then(plain_id);
    }
    refusal
}

/// Whole seconds, as published; the date that HTTP allows besides is not read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_LIMIT))
}

/// The longest pause that a server is believed to ask for.
const RETRY_AFTER_LIMIT: Duration = Duration::from_hours(1);

/// Goes into log lines.
fn plain_id(id: &str) -> Option<String> {
    const MAX_CHARS: usize = 128;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    ((1..=MAX_CHARS).contains(&id.len()) && id.bytes().all(is_plain)).then(|| id.to_owned())
}
