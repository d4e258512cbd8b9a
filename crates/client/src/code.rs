//! ScaiVault's error codes, each with its class and whether it is worth another try: one table.

use std::fmt;

/// What kind of failure it is: what a program's exit code or a metric's label is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Not logged in, or the login was refused.
    Authentication,
    /// Logged in, but not allowed.
    Denied,
    /// What was asked for is not there.
    NotFound,
    /// The request itself is wrong.
    Invalid,
    /// Something else stands against it at the moment.
    Conflict,
    /// Too many requests.
    Throttled,
    /// Out of order, or not to be reached.
    Unavailable,
    /// Something that no `ScaiVault` answers.
    Unexpected,
}

/// What a code says about another try, before `Retry-After` is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    Never,
    /// Back off, once.
    Once,
    /// Back off.
    Yes,
}

macro_rules! codes {
    ($($variant:ident = $text:literal: $class:ident, $again:ident;)*) => {
        /// The `code` of an error, the one member of its envelope that may be branched on.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(#[doc = concat!("`", $text, "`.")] $variant,)*
            /// A code that this client does not know, or none: the status decides.
            Other(Box<str>),
        }

        impl ErrorCode {
            /// All that are known.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as `ScaiVault` writes it; empty where its answer had none.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }

            /// The code written as `text`. At most 64 characters of an unknown one are kept, and only plain ones.
            pub(crate) fn new(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)*
                    other => Self::Other(plain(other)),
                }
            }

            /// None for a code that is not known.
            fn row(&self) -> Option<(Class, Again)> {
                match self {
                    $(Self::$variant => Some((Class::$class, Again::$again)),)*
                    Self::Other(_) => None,
                }
            }
        }
    };
}

codes! {
    AuthenticationRequired = "authentication_required": Authentication, Never;
    // The client has logged in anew already when a caller sees this one.
    TokenExpired = "token_expired": Authentication, Never;
    TokenInvalid = "token_invalid": Authentication, Never;
    TokenRevoked = "token_revoked": Authentication, Never;
    AccessDenied = "access_denied": Denied, Never;
    InsufficientScope = "insufficient_scope": Denied, Never;
    MfaRequired = "mfa_required": Denied, Never;
    IpNotAllowed = "ip_not_allowed": Denied, Never;
    TimeWindowViolation = "time_window_violation": Denied, Never;
    TenantAccessDenied = "tenant_access_denied": Denied, Never;
    Forbidden = "forbidden": Denied, Never;
    InvalidRequest = "invalid_request": Invalid, Never;
    InvalidPath = "invalid_path": Invalid, Never;
    InvalidSecretType = "invalid_secret_type": Invalid, Never;
    InvalidDuration = "invalid_duration": Invalid, Never;
    InvalidCursor = "invalid_cursor": Invalid, Never;
    InvalidPolicy = "invalid_policy": Invalid, Never;
    InvalidGlob = "invalid_glob": Invalid, Never;
    InvalidRole = "invalid_role": Invalid, Never;
    InvalidConfig = "invalid_config": Invalid, Never;
    ValidationError = "validation_error": Invalid, Never;
    SecretNotFound = "secret_not_found": NotFound, Never;
    VersionNotFound = "version_not_found": NotFound, Never;
    PolicyNotFound = "policy_not_found": NotFound, Never;
    BindingNotFound = "binding_not_found": NotFound, Never;
    WebhookNotFound = "webhook_not_found": NotFound, Never;
    SubscriptionNotFound = "subscription_not_found": NotFound, Never;
    RotationPolicyNotFound = "rotation_policy_not_found": NotFound, Never;
    SecretPolicyNotFound = "secret_policy_not_found": NotFound, Never;
    CaNotFound = "ca_not_found": NotFound, Never;
    CertificateNotFound = "certificate_not_found": NotFound, Never;
    CsrNotFound = "csr_not_found": NotFound, Never;
    TrustAnchorNotFound = "trust_anchor_not_found": NotFound, Never;
    AcmeAccountNotFound = "acme_account_not_found": NotFound, Never;
    AcmeOrderNotFound = "acme_order_not_found": NotFound, Never;
    DnsProviderNotFound = "dns_provider_not_found": NotFound, Never;
    EngineNotFound = "engine_not_found": NotFound, Never;
    RoleNotFound = "role_not_found": NotFound, Never;
    LeaseNotFound = "lease_not_found": NotFound, Never;
    TenantNotFound = "tenant_not_found": NotFound, Never;
    IdentityNotFound = "identity_not_found": NotFound, Never;
    PolicyInUse = "policy_in_use": Conflict, Never;
    SecretExists = "secret_exists": Conflict, Never;
    // Worth another try only after reading again, which is not the same request.
    VersionConflict = "version_conflict": Conflict, Never;
    RateLimited = "rate_limited": Throttled, Yes;
    ServiceUnavailable = "service_unavailable": Unavailable, Yes;
    InternalError = "internal_error": Unavailable, Once;
}

impl ErrorCode {
    /// What kind of failure the code is; `status` decides where the code is not known or there is none.
    pub(crate) fn class(&self, status: u16) -> Class {
        self.row_of(status).0
    }

    pub(crate) fn again(&self, status: u16) -> Again {
        self.row_of(status).1
    }

    fn row_of(&self, status: u16) -> (Class, Again) {
        match self {
            Self::Other(code) if code.is_empty() => without_a_code(status),
            Self::Other(_) => by_status(status),
            known => known.row().unwrap_or_else(|| by_status(status)),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            "" => f.write_str("no code"),
            code => f.write_str(code),
        }
    }
}

/// An error without a code is not `ScaiVault`'s: an ingress that is being reloaded answers 404 in its place, a firewall 403. It
/// says nothing about what was asked for, and may pass.
fn without_a_code(status: u16) -> (Class, Again) {
    match by_status(status) {
        row @ (Class::Authentication | Class::Throttled | Class::Unavailable, _) => row,
        _ => (Class::Unexpected, Again::Yes),
    }
}

/// Of a code that is not known.
fn by_status(status: u16) -> (Class, Again) {
    match status {
        401 => (Class::Authentication, Again::Never),
        403 => (Class::Denied, Again::Never),
        404 | 410 => (Class::NotFound, Again::Never),
        400 | 422 => (Class::Invalid, Again::Never),
        409 => (Class::Conflict, Again::Never),
        429 => (Class::Throttled, Again::Yes),
        500..=599 => (Class::Unavailable, Again::Yes),
        _ => (Class::Unexpected, Again::Never),
    }
}

fn plain(text: &str) -> Box<str> {
    const MAX_CHARS: usize = 64;
    text.chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        .take(MAX_CHARS)
        .collect::<String>()
        .into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_code_is_read_back() {
        for code in ErrorCode::KNOWN {
            assert_eq!(&ErrorCode::new(code.as_str()), code);
            assert_ne!(code.class(200), Class::Unexpected, "{code}");
        }
    }

    #[test]
    fn the_code_wins_over_the_status() {
        assert_eq!(ErrorCode::RateLimited.class(503), Class::Throttled);
        assert_eq!(ErrorCode::AccessDenied.again(503), Again::Never);
    }

    #[test]
    fn an_unknown_code_goes_by_its_status() {
        let code = ErrorCode::new("engine_on_fire");
        assert_eq!(code.as_str(), "engine_on_fire");
        for (status, class, again) in [
            (400, Class::Invalid, Again::Never),
            (401, Class::Authentication, Again::Never),
            (403, Class::Denied, Again::Never),
            (404, Class::NotFound, Again::Never),
            (409, Class::Conflict, Again::Never),
            (418, Class::Unexpected, Again::Never),
            (429, Class::Throttled, Again::Yes),
            (502, Class::Unavailable, Again::Yes),
        ] {
            assert_eq!((code.class(status), code.again(status)), (class, again), "{status}");
        }
    }

    #[test]
    fn without_a_code_only_the_login_is_final() {
        let code = ErrorCode::new("");
        for (status, class, again) in [
            (400, Class::Unexpected, Again::Yes),
            (401, Class::Authentication, Again::Never),
            (403, Class::Unexpected, Again::Yes),
            (404, Class::Unexpected, Again::Yes),
            (408, Class::Unexpected, Again::Yes),
            (409, Class::Unexpected, Again::Yes),
            (429, Class::Throttled, Again::Yes),
            (502, Class::Unavailable, Again::Yes),
        ] {
            assert_eq!((code.class(status), code.again(status)), (class, again), "{status}");
        }
    }

    #[test]
    fn an_unknown_code_cannot_break_a_log_line() {
        assert_eq!(ErrorCode::new("a\nb \u{1b}[1m").as_str(), "ab1m");
        assert_eq!(ErrorCode::new(&"x".repeat(1000)).as_str().len(), 64);
    }
}
