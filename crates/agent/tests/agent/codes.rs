//! Every error code of ScaiVault: the number of attempts, the exit code, and what the agent logs
//! and does not log.

use std::{collections::BTreeSet, fs};

use scaivault_devserver::{Fault, Route};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::Pod;

/// How often a request is sent that is always answered with an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tries {
    One,
    Two,
    /// Until the deadline.
    Many,
    /// Twice, the second time after a new login.
    WithNewLogin,
}

use Tries::{Many, One, Two, WithNewLogin};

/// The exit codes with their fixes; for code 1, the text for temporary failures.
const LOGIN: (i32, &str) = (2, "check ScaiKey's trust in this cluster");
const DENIED: (i32, &str) = (3, "give the pod's identity a policy");
const ABSENT: (i32, &str) = (4, "check its name and version in ScaiVault");
const INVALID: (i32, &str) = (5, "check how it is named in the pod's annotations");
const DOWN: (i32, &str) = (1, "check that ScaiVault is up");
const THROTTLED: (i32, &str) = (1, "raise ScaiVault's rate limit");

const CODES: &[(&str, (i32, &str), Tries)] = &[
    ("authentication_required", LOGIN, WithNewLogin),
    ("token_expired", LOGIN, WithNewLogin),
    ("token_invalid", LOGIN, WithNewLogin),
    ("token_revoked", LOGIN, WithNewLogin),
    ("access_denied", DENIED, One),
    ("insufficient_scope", DENIED, One),
    ("mfa_required", DENIED, One),
    ("ip_not_allowed", DENIED, One),
    ("time_window_violation", DENIED, One),
    ("tenant_access_denied", DENIED, One),
    ("forbidden", DENIED, One),
    ("invalid_request", INVALID, One),
    ("invalid_path", INVALID, One),
    ("invalid_secret_type", INVALID, One),
    ("invalid_duration", INVALID, One),
    ("invalid_cursor", INVALID, One),
    ("invalid_policy", INVALID, One),
    ("invalid_glob", INVALID, One),
    ("invalid_role", INVALID, One),
    ("invalid_config", INVALID, One),
    ("validation_error", INVALID, One),
    ("secret_not_found", ABSENT, One),
    ("version_not_found", ABSENT, One),
    ("policy_not_found", ABSENT, One),
    ("binding_not_found", ABSENT, One),
    ("webhook_not_found", ABSENT, One),
    ("subscription_not_found", ABSENT, One),
    ("rotation_policy_not_found", ABSENT, One),
    ("secret_policy_not_found", ABSENT, One),
    ("ca_not_found", ABSENT, One),
    ("certificate_not_found", ABSENT, One),
    ("csr_not_found", ABSENT, One),
    ("trust_anchor_not_found", ABSENT, One),
    ("acme_account_not_found", ABSENT, One),
    ("acme_order_not_found", ABSENT, One),
    ("dns_provider_not_found", ABSENT, One),
    ("engine_not_found", ABSENT, One),
    ("role_not_found", ABSENT, One),
    ("lease_not_found", ABSENT, One),
    ("tenant_not_found", ABSENT, One),
    ("identity_not_found", ABSENT, One),
    ("policy_in_use", DOWN, One),
    ("secret_exists", DOWN, One),
    ("version_conflict", DOWN, One),
    ("rate_limited", THROTTLED, Many),
    ("service_unavailable", DOWN, Many),
    ("internal_error", DOWN, Two),
];

/// Number of concurrent agents.
const AT_ONCE: usize = 4;

#[test]
fn the_codes_are_unique() {
    let here: BTreeSet<_> = CODES.iter().map(|(code, ..)| *code).collect();
    assert_eq!(here.len(), CODES.len());
}

#[tokio::test]
async fn a_read_that_is_refused() {
    check_all(Route::Read, "app/stripe").await;
}

#[tokio::test]
async fn a_login_that_is_refused() {
    check_all(Route::Exchange, "the login").await;
}

#[tokio::test]
async fn a_lease_that_is_refused() {
    check_all(Route::Generate, "engine=postgres role=readonly").await;
}

async fn check_all(route: Route, subject: &'static str) {
    let mut checks = JoinSet::new();
    for (code, (exit, fix), tries) in CODES.iter().copied() {
        if checks.len() == AT_ONCE {
            checks.join_next().await.unwrap().unwrap();
        }
        checks.spawn(async move { check(route, subject, code, (exit, fix), tries).await });
    }
    checks.join_all().await;
}

async fn check(route: Route, subject: &str, code: &str, (exit, fix): (i32, &str), tries: Tries) {
    let pod = Pod::new().await;
    pod.vault.add_fault(Fault::always(route, code));
    // Only one thing is requested, so that nothing else logs in.
    let (name, source) =
        if route == Route::Generate { ("DYNAMIC", subject) } else { ("SECRETS", "app/stripe") };
    let mapping = pod.mapping(&[(source, "a")]);
    let state = pod.path("state");
    let variables =
        [(name, mapping.as_str()), ("FETCH_TIMEOUT", "8s"), ("SCAIVAULT_STATE_DIR", state.to_str().unwrap())];
    let ended = pod.run("init", &variables).await;
    ended.check(exit, &[code]);

    // The termination message is the reason in the last line.
    let last: Value = serde_json::from_str(ended.log.lines().last().unwrap()).unwrap();
    let message = last["reason"].as_str().unwrap();
    for said in [subject, code, fix] {
        assert!(message.contains(said), "{code}: {said}: {message}");
    }
    let (sent, logins) = (pod.vault.requests(route), pod.vault.requests(Route::Exchange));
    let is_login = route == Route::Exchange;
    match tries {
        WithNewLogin if !is_login => assert_eq!((sent, logins), (2, 2), "{code}"),
        One | WithNewLogin => assert_eq!((sent, logins), (1, 1), "{code}"),
        // The request may have created a user, so the pause before the next one is longer than this
        // start.
        Two if route == Route::Generate => assert_eq!((sent, logins), (1, 1), "{code}"),
        Two => assert_eq!((sent, logins), (2, if is_login { 2 } else { 1 }), "{code}"),
        Many => assert!((2..=10).contains(&sent) && (is_login || logins == 1), "{code}: {sent}, {logins}"),
    }
    assert!(pod.secret("a").is_none(), "{code}: nothing is written");

    let token = fs::read_to_string(pod.path("token")).unwrap();
    assert!(!ended.log.contains(&token), "{code}: the service account's token in the log");
    let kept = fs::read(state.join("state.json")).unwrap_or_default();
    let kept: Value = serde_json::from_slice(&kept).unwrap_or_default();
    if let Some(token) = kept["token"]["secret"].as_str() {
        assert!(!ended.log.contains(token), "{code}: a token in the log");
    }
}
