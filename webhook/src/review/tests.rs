use super::*;

const REVIEW: &str = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u-1",
  "kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},
  "name":"web","namespace":"shop","operation":"CREATE","userInfo":{"username":"x"},
  "object":{"kind":"Pod","spec":{}},"oldObject":null,"dryRun":true,"options":null}}"#;

#[test]
fn a_review_is_read() {
    let request = Request::decode(Endpoint::Validate, REVIEW.as_bytes()).unwrap();
    assert_eq!(request.version, ReviewVersion::V1);
    assert_eq!(&*request.uid, "u-1");
    assert_eq!((&*request.kind.group, &*request.kind.version, &*request.kind.kind), ("", "v1", "Pod"));
    assert_eq!((&*request.name, &*request.namespace), ("web", "shop"));
    assert_eq!(request.operation, Operation::Create);
    assert!(request.dry_run && request.subresource.is_empty());
    let Some(Object::Text(object)) = request.object else { panic!("an entry for workloads keeps the text") };
    assert_eq!(object.get(), r#"{"kind":"Pod","spec":{}}"#);
    assert!(request.old_object.is_none());
}

#[test]
fn the_former_object_is_read() {
    let text = REVIEW.replace(r#""oldObject":null"#, r#""oldObject":{"kind":"Pod"}"#);
    let request = Request::decode(Endpoint::Validate, text.as_bytes()).unwrap();
    assert_eq!(request.old_object.unwrap().get(), r#"{"kind":"Pod"}"#);
}

#[test]
fn escapes_and_nulls_are_read() {
    let text =
        REVIEW.replace("\"web\"", r#""w\u0065b\n""#).replace("\"shop\"", "null").replace("true", "null");
    let request = Request::decode(Endpoint::Validate, text.as_bytes()).unwrap();
    assert_eq!((&*request.name, &*request.namespace), ("web\n", ""));
    assert!(!request.dry_run);
}

#[test]
fn v1beta1_is_understood() {
    let text = REVIEW.replace("k8s.io/v1", "k8s.io/v1beta1");
    assert_eq!(Request::decode(Endpoint::Validate, text.as_bytes()).unwrap().version, ReviewVersion::V1Beta1);
}

fn error(text: impl AsRef<[u8]>) -> DecodeError {
    Request::decode(Endpoint::Validate, text.as_ref()).expect_err("it must be refused")
}

#[test]
fn invalid_json_is_reported() {
    for text in [&b""[..], b"hello", b"{", &REVIEW.as_bytes()[..REVIEW.len() - 1]] {
        assert!(matches!(error(text), DecodeError::NotJson(_)), "{text:?}");
    }
    assert!(matches!(error(b"\xff"), DecodeError::NotUtf8));
}

#[test]
fn an_invalid_review_is_reported_without_a_quote() {
    for text in [
        "7",
        "\"hunter2\"",
        r#"{"kind":7}"#,
        r#"{"request":"hunter2"}"#,
        r#"{"request":{"dryRun":"hunter2"}}"#,
    ] {
        let error = error(text);
        assert!(matches!(error, DecodeError::NotAReview { .. }), "{text}: {error:?}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn other_kinds_and_versions_keep_the_uid() {
    let version = error(REVIEW.replace("k8s.io/v1", "k8s.io/v2"));
    assert!(matches!(version, DecodeError::Version { .. }));
    assert_eq!(version.uid(), Some("u-1"));
    let kind = error(REVIEW.replace("AdmissionReview", "ConversionReview"));
    assert!(matches!(kind, DecodeError::Kind { .. }));
    assert_eq!(kind.uid(), Some("u-1"));
}

#[test]
fn a_request_with_a_uid_is_needed() {
    let start = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1""#;
    assert!(matches!(error(format!("{start}}}")), DecodeError::NoRequest));
    assert!(matches!(error(format!(r#"{start},"request":null}}"#)), DecodeError::NoRequest));
    assert!(matches!(error(REVIEW.replace("u-1", "")), DecodeError::NoUid));
}

#[test]
fn a_pod_is_read_with_its_review_unless_it_is_large() {
    let read_once = |text: &str| {
        let request = Request::decode(Endpoint::Mutate, text.as_bytes()).unwrap();
        matches!(request.object, Some(Object::Pod(_)))
    };
    assert!(read_once(REVIEW));
    let large = REVIEW.replace("\"x\"", &format!("\"{}\"", "x".repeat(READ_ONCE_BYTES)));
    assert!(!read_once(&large));
    let malformed = REVIEW.replace(r#""spec":{}"#, r#""spec":[]"#);
    assert!(!read_once(&malformed), "a malformed pod is kept as text, so that the request can be answered");
}

/// Members are counted in larger reviews only.
#[test]
fn a_review_that_is_read_once_has_few_members() {
    let items = vec!["0"; 25_000].join(",");
    let many = REVIEW.replace(r#""spec":{}"#, &format!(r#""spec":{{"x":[{items}]}}"#));
    let request = Request::decode(Endpoint::Mutate, many.as_bytes()).unwrap();
    let Some(Object::Text(pod)) = request.object else { panic!("the pod is read without a count") };
    assert!(PodView::parse(pod.get()).is_err());
}

#[test]
fn a_uid_that_no_api_server_sends_is_refused() {
    let text = REVIEW.replace("u-1", &"u".repeat(UID_BYTES + 1));
    let error = Request::decode(Endpoint::Mutate, text.as_bytes()).unwrap_err();
    assert!(matches!(error, DecodeError::LongUid(length) if length == UID_BYTES + 1));
}
