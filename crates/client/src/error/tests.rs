use super::*;

fn refusal(status: u16, code: &str, retry_after: Option<u64>) -> Refusal {
    Refusal {
        status,
        code: ErrorCode::new(code),
        message: "first\nsecond".to_owned(),
        request_id: Some("req_1".to_owned()),
        retry_after: retry_after.map(Duration::from_secs),
    }
}

#[test]
fn a_requested_pause_only_applies_to_retries() {
    let after = |seconds| Retry::After(Duration::from_secs(seconds));
    for (status, code, retry_after, expected) in [
        (429, "rate_limited", Some(3), after(3)),
        (429, "rate_limited", None, Retry::Backoff),
        (503, "service_unavailable", Some(3), after(3)),
        (500, "internal_error", Some(3), Retry::Once),
        (403, "access_denied", Some(3), Retry::Never),
        (502, "", None, Retry::Backoff),
        (429, "", Some(3), after(3)),
        (400, "", Some(3), after(3)),
    ] {
        assert_eq!(refusal(status, code, retry_after).retry(), expected, "{status} {code}");
    }
}

#[test]
fn a_refusal_is_one_line_that_names_the_request() {
    let error = Error::new(Operation::Read, refusal(404, "secret_not_found", None));
    assert_eq!(
        error.to_string(),
        r#"cannot read the secret: "first\nsecond" (secret_not_found, status 404, request req_1)"#
    );
    assert_eq!(error.class(), Class::NotFound);
}

#[test]
fn a_missing_login_file_is_a_matter_of_authentication() {
    let fault = crate::login::read_file("/nowhere/token".as_ref()).unwrap_err();
    let error = Error::new(Operation::Exchange, fault);
    assert_eq!((error.class(), error.retry(), error.code()), (Class::Authentication, Retry::Never, None));
    assert!(error.to_string().contains("/nowhere/token"), "{error}");
}
