//! ScaiVault's error codes, and which failures may be retried.

use std::fmt;

use crate::Retry;

/// The kind of a failure, for exit codes and metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Not logged in, or the login was rejected.
    Authentication,
    /// Logged in, but without permission.
    Denied,
    /// The requested object does not exist.
    NotFound,
    /// The request itself is invalid.
    Invalid,
    /// The request conflicts with the current state.
    Conflict,
    /// Too many requests.
    Throttled,
    /// Failing or unreachable.
    Unavailable,
    /// A response that is not `ScaiVault`'s.
    Unexpected,
}

/// The `code` of a server error: at most 64 plain characters, empty if the answer had none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(Box<str>);

impl ErrorCode {
    /// The code in `text`, without characters that could break a log line.
    pub fn new(text: &str) -> Self {
        const MAX_CHARS: usize = 64;
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        Self(text.chars().filter(is_plain).take(MAX_CHARS).collect::<String>().into())
    }

    /// The text; empty if there was no code.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the answer had no code. Then the error does not come from `ScaiVault` itself.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The kind of the failure, and whether to retry, before `Retry-After` is considered.
    ///
    /// Determined by the code if it is more specific than the status, or if a gateway may have
    /// replaced the status. All other codes, including unknown ones, are classified by the status.
    pub(crate) fn classify(&self, status: u16) -> (Class, Retry) {
        match self.as_str() {
            // Not from ScaiVault: a reloading ingress returns 404, a firewall 403. It has no
            // meaning for the requested object, and may be temporary.
            "" => match by_status(status) {
                found @ (Class::Authentication | Class::Throttled | Class::Unavailable, _) => found,
                _ => (Class::Unexpected, Retry::Backoff),
            },
            "internal_error" => (Class::Unavailable, Retry::Once),
            "service_unavailable" => by_status(503),
            "rate_limited" => by_status(429),
            "access_denied"
            | "forbidden"
            | "insufficient_scope"
            | "ip_not_allowed"
            | "mfa_required"
            | "tenant_access_denied"
            | "time_window_violation" => by_status(403),
            "authentication_required" | "token_expired" | "token_invalid" | "token_revoked" => by_status(401),
            code if code.ends_with("_not_found") => by_status(404),
            _ => by_status(status),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "no code" } else { &self.0 })
    }
}

fn by_status(status: u16) -> (Class, Retry) {
    match status {
        401 => (Class::Authentication, Retry::Never),
        403 => (Class::Denied, Retry::Never),
        404 | 410 => (Class::NotFound, Retry::Never),
        400 | 422 => (Class::Invalid, Retry::Never),
        409 => (Class::Conflict, Retry::Never),
        429 => (Class::Throttled, Retry::Backoff),
        500..=599 => (Class::Unavailable, Retry::Backoff),
        _ => (Class::Unexpected, Retry::Never),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &str, status: u16, class: Class, retry: Retry) {
        let code = ErrorCode::new(code);
        assert_eq!(code.classify(status), (class, retry), "{code} {status}");
    }

    #[test]
    fn a_code_decides_where_the_status_is_not_its_own() {
        check("rate_limited", 503, Class::Throttled, Retry::Backoff);
        check("access_denied", 503, Class::Denied, Retry::Never);
        check("internal_error", 503, Class::Unavailable, Retry::Once);
        check("secret_not_found", 502, Class::NotFound, Retry::Never);
        // An OAuth error whose start looks like one of ScaiVault's.
        check("invalid_client", 401, Class::Authentication, Retry::Never);
    }

    #[test]
    fn an_unknown_code_is_classified_by_its_status() {
        for (status, class, retry) in [
            (400, Class::Invalid, Retry::Never),
            (401, Class::Authentication, Retry::Never),
            (403, Class::Denied, Retry::Never),
            (404, Class::NotFound, Retry::Never),
            (409, Class::Conflict, Retry::Never),
            (410, Class::NotFound, Retry::Never),
            (418, Class::Unexpected, Retry::Never),
            (429, Class::Throttled, Retry::Backoff),
            (502, Class::Unavailable, Retry::Backoff),
        ] {
            check("engine_on_fire", status, class, retry);
        }
    }

    #[test]
    fn without_a_code_only_the_login_is_final() {
        for (status, class, retry) in [
            (400, Class::Unexpected, Retry::Backoff),
            (401, Class::Authentication, Retry::Never),
            (403, Class::Unexpected, Retry::Backoff),
            (404, Class::Unexpected, Retry::Backoff),
            (408, Class::Unexpected, Retry::Backoff),
            (409, Class::Unexpected, Retry::Backoff),
            (429, Class::Throttled, Retry::Backoff),
            (502, Class::Unavailable, Retry::Backoff),
        ] {
            check("", status, class, retry);
        }
    }

    #[test]
    fn a_code_is_shown_verbatim_and_cannot_break_a_log_line() {
        assert_eq!(ErrorCode::new("engine_on_fire").to_string(), "engine_on_fire");
        assert_eq!(ErrorCode::new("a\nb \u{1b}[1m").as_str(), "ab1m");
        assert_eq!(ErrorCode::new(&"x".repeat(1000)).as_str().len(), 64);
    }
}
