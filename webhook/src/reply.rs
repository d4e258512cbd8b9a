//! A complete admission from bytes to bytes, without HTTP.

use std::borrow::Cow;

use axum::http::StatusCode;
use scaivault_inject::Patch;

use crate::{
    admit::{MissingLookup, Verdict, admit},
    context::AdmissionContext,
    entry::Entry,
    policy_use,
    reason::{Deferral, Reason},
    record::shown,
    review::{DecodeError, Request, Response, Status},
};

/// An HTTP answer: an `AdmissionReview` with status 200, else a line of text (which the API server
/// passes on to the client).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, body: text.into().into_bytes() }
    }

    /// The value of `Content-Type`.
    pub fn content_type(&self) -> &'static str {
        match self.status {
            StatusCode::OK => "application/json",
            _ => "text/plain; charset=utf-8",
        }
    }

    /// The value of `Retry-After` in seconds, if the API server should retry. It does so inside the
    /// webhook's timeout, but only with this header.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        (self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(1)
    }
}

/// Answers the bytes of an `AdmissionReview` that was posted to an endpoint. Pure except for
/// lookups in the cache of `context`.
pub fn review_to_response(entry: Entry, bytes: &[u8], context: &AdmissionContext) -> Reply {
    Answer::new(entry, bytes, context).reply
}

/// A reply and its origin, for the log line and the metrics.
pub(crate) struct Answer<'a> {
    pub(crate) reply: Reply,
    pub(crate) from: Result<Decided<'a>, DecodeError>,
}

/// A request and its verdict.
pub(crate) struct Decided<'a> {
    pub(crate) entry: Entry,
    pub(crate) request: Request<'a>,
    pub(crate) verdict: Verdict,
    /// Size of the patch before base64.
    pub(crate) patch_bytes: usize,
    /// The problems' codes, separated by commas.
    pub(crate) codes: Cow<'static, str>,
    /// The policies that select the pod, and the effect of each.
    pub(crate) policies: String,
}

impl<'a> Answer<'a> {
    pub(crate) fn new(entry: Entry, bytes: &'a [u8], context: &AdmissionContext) -> Self {
        let request = match Request::decode(entry, bytes) {
            Ok(request) => request,
            Err(error) => {
                let uid = error.uid().map_or_else(String::new, |uid| format!(" (request {})", shown(uid)));
                return Self {
                    reply: Reply::text(StatusCode::BAD_REQUEST, format!("{error}{uid}\n")),
                    from: Err(error),
                };
            }
        };
        let verdict = admit(entry, &request, context);
        let patch = patch_json(verdict.patch.as_ref());
        let codes = codes(verdict.problems.iter().map(|problem| problem.code.name()));
        let policies = policy_use::list(&verdict.policies);
        Self {
            reply: reply(&request, &verdict, &patch, &codes, &policies),
            from: Ok(Decided { entry, request, verdict, patch_bytes: patch.len(), codes, policies }),
        }
    }

    /// The missing lookups of a deferred request; `None` if it was decided.
    pub(crate) fn missing(&self) -> Option<&MissingLookup> {
        self.from.as_ref().ok()?.verdict.missing.as_ref()
    }
}

fn reply(request: &Request<'_>, verdict: &Verdict, patch: &[u8], codes: &str, policies: &str) -> Reply {
    let Verdict {
        reason,
        patch: _,
        warnings,
        problems: _,
        policies: uses,
        is_repeated: _,
        refusal,
        missing: _,
    } = verdict;
    if let Reason::Deferred(deferral) = reason {
        let (namespace, uid) = (shown(&request.namespace), &request.uid);
        let what = match deferral {
            Deferral::Policies => "the injector's list of InjectionPolicies for namespace",
            Deferral::Namespace => "namespace",
            Deferral::ServiceAccount => "the pod's service account in namespace",
        };
        let text =
            format!("{what} {namespace:?} is not in the injector's cache yet; retry (request {uid})\n");
        return Reply::text(StatusCode::SERVICE_UNAVAILABLE, text);
    }
    let messages = policy_use::messages(uses);
    let mut audit = vec![("outcome", reason.outcome()), ("reason", reason.name())];
    let more = [("problems", codes), ("policies", policies), ("policy-messages", &messages)];
    audit.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    let body = Response {
        version: request.version,
        uid: &request.uid,
        status: refusal.as_ref().map(|refusal| Status {
            code: refusal.code,
            reason: refusal.reason,
            message: &refusal.message,
        }),
        patch,
        warnings,
        audit_annotations: &audit,
    }
    .encode();
    Reply { status: StatusCode::OK, body }
}

/// The patch as JSON, empty if nothing changes.
fn patch_json(patch: Option<&Patch>) -> Vec<u8> {
    match patch {
        Some(patch) if !patch.is_empty() => patch.to_json().into_bytes(),
        _ => Vec::new(),
    }
}

/// Problem codes without duplicates, in the order of the problems.
fn codes(problems: impl Iterator<Item = &'static str>) -> Cow<'static, str> {
    let mut seen: Vec<&'static str> = Vec::new();
    for code in problems {
        if !seen.contains(&code) {
            seen.push(code);
        }
    }
    match *seen {
        [] => Cow::Borrowed(""),
        [only] => Cow::Borrowed(only),
        _ => Cow::Owned(seen.join(",")),
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use scaivault_inject::{Detachment, Operation, Value};
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::testing::{asking, context, review};

    fn json(reply: &Reply) -> Json {
        assert_eq!((reply.status, reply.content_type()), (StatusCode::OK, "application/json"));
        serde_json::from_slice(&reply.body).unwrap()
    }

    #[test]
    fn an_untouched_request_is_allowed_and_audited() {
        let reply = review_to_response(Entry::Mutate, review(&[("CREATE", "UPDATE")]).as_bytes(), &context());
        assert_eq!(
            json(&reply),
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                   "response": {"uid": "u-1", "allowed": true,
                                "auditAnnotations": {"outcome": "untouched", "reason": "update"}}})
        );
    }

    #[test]
    fn v1beta1_is_answered_in_kind() {
        let reply = review_to_response(
            Entry::Mutate,
            review(&[("k8s.io/v1", "k8s.io/v1beta1")]).as_bytes(),
            &context(),
        );
        assert_eq!(json(&reply)["apiVersion"], "admission.k8s.io/v1beta1");
    }

    #[test]
    fn a_malformed_pod_is_refused_with_its_uid() {
        let review = review(&[(r#""object":{"#, r#""object":null,"other":{"#)]);
        let answer = json(&review_to_response(Entry::Mutate, review.as_bytes(), &context()));
        assert_eq!(answer["response"]["uid"], "u-1");
        assert_eq!(answer["response"]["allowed"], false);
        assert_eq!(answer["response"]["status"]["code"], 422);
    }

    #[test]
    fn the_patch_decodes_and_applies() {
        let text = review(&[]);
        let request = Request::decode(Entry::Mutate, text.as_bytes()).unwrap();
        let added = Operation::Add { path: "/metadata/labels/added".into(), value: Value::Text("ä".into()) };
        let decision = scaivault_inject::Decision::Detach(Detachment {
            patch: Patch::new(vec![added]),
            warnings: vec![],
        });
        let verdict = Verdict::from(decision);
        let answer = json(&reply(&request, &verdict, &patch_json(verdict.patch.as_ref()), "", ""));
        assert_eq!(answer["response"]["patchType"], "JSONPatch");

        let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        let mut pod = serde_json::from_str::<Json>(&text).unwrap()["request"]["object"].take();
        json_patch::patch(&mut pod, &patch).unwrap();
        assert_eq!(pod["metadata"]["labels"], json!({"app": "web", "added": "ä"}));
    }

    #[test]
    fn an_empty_patch_is_no_patch() {
        let text = review(&[]);
        let request = Request::decode(Entry::Mutate, text.as_bytes()).unwrap();
        let decision =
            scaivault_inject::Decision::Detach(Detachment { patch: Patch::default(), warnings: vec![] });
        let verdict = Verdict::from(decision);
        let answer = json(&reply(&request, &verdict, &patch_json(verdict.patch.as_ref()), "", ""));
        assert!(answer["response"].get("patch").is_none() && answer["response"].get("patchType").is_none());
    }

    #[test]
    fn an_unknown_namespace_shall_be_asked_for_again() {
        let reply =
            review_to_response(Entry::Mutate, asking(&[("\"shop\"", "\"unknown\"")]).as_bytes(), &context());
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(reply.retry_after_seconds(), Some(1));
        let text = String::from_utf8(reply.body).unwrap();
        assert!(text.contains("\"unknown\"") && text.contains("u-1"), "{text}");
    }

    #[test]
    fn a_refused_review_names_its_uid() {
        let reply =
            review_to_response(Entry::Mutate, review(&[("k8s.io/v1", "k8s.io/v7")]).as_bytes(), &context());
        assert_eq!((reply.status, reply.retry_after_seconds()), (StatusCode::BAD_REQUEST, None));
        assert!(String::from_utf8(reply.body).unwrap().contains("(request u-1)"));
    }

    /// For every review, the patch (in base64) and all other output are bounded by this many bytes.
    #[test]
    fn an_answer_is_short_however_long_the_review() {
        const MOST: usize = 64 * 1024;
        const PATCH: usize = 700 * 1024;
        for (name, shape) in scaivault_testkit::hostile::SHAPES {
            let (review, path) = shape(1024 * 1024).review();
            for entry in Entry::ALL.into_iter().filter(|entry| entry.path() == path || path != "/mutate") {
                let mut body = review_to_response(entry, review.as_bytes(), &context()).body;
                assert!(body.len() <= MOST + PATCH, "{name}: {} bytes with the patch", body.len());
                if let Ok(mut answer) = serde_json::from_slice::<Json>(&body) {
                    answer["response"].as_object_mut().unwrap().remove("patch");
                    body = answer.to_string().into_bytes();
                }
                assert!(body.len() <= MOST, "{name}: {} bytes", body.len());
            }
        }
    }

    #[test]
    fn a_long_uid_is_refused_and_not_repeated() {
        let long = "u".repeat(100_000);
        let reply = review_to_response(Entry::Mutate, review(&[("u-1", &long)]).as_bytes(), &context());
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert!(reply.body.len() < 200, "{} bytes", reply.body.len());
    }

    #[test]
    fn a_malformed_pod_is_quoted_no_further_than_a_value() {
        let secret = format!("{}hunter2{}", "s".repeat(40), "x".repeat(100_000));
        let pod = format!(r#""spec":{{"securityContext":{{"runAsUser":"{secret}"}},"#);
        let text = review(&[(r#""spec":{"#, &pod)]);
        let answer = json(&review_to_response(Entry::Mutate, text.as_bytes(), &context()));
        let message = answer["response"]["status"]["message"].as_str().unwrap();
        assert!(message.contains("ssss…\"") && message.contains("column"), "{message}");
        assert!(!message.contains("hunter2") && message.len() < 300, "{message}");
    }

    #[test]
    fn codes_are_not_repeated() {
        assert_eq!(codes(["a", "b", "a"].into_iter()), "a,b");
        assert_eq!(codes([].into_iter()), "");
    }
}
