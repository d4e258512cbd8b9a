//! A complete admission from bytes to bytes, without HTTP. The response is written into one buffer,
//! without an intermediate document.

use std::{borrow::Cow, sync::LazyLock};

use axum::http::StatusCode;
use base64::{
    Engine as _,
    engine::{Simd, general_purpose::PAD},
};
use scaivault_inject::Patch;

use crate::{
    admit::{MissingLookup, Verdict, admit},
    context::AdmissionContext,
    endpoint::Endpoint,
    policy_use,
    reason::{Deferral, Reason},
    record::shown,
    review::{DecodeError, KIND, Request, ReviewVersion},
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
pub fn review_to_response(entry: Endpoint, bytes: &[u8], context: &AdmissionContext) -> Reply {
    Answer::new(entry, bytes, context).reply
}

/// A reply and its origin, for the log line and the metrics.
pub(crate) struct Answer<'a> {
    pub(crate) reply: Reply,
    pub(crate) from: Result<DecidedRequest<'a>, DecodeError>,
}

/// A request and its verdict.
pub(crate) struct DecidedRequest<'a> {
    pub(crate) entry: Endpoint,
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
    pub(crate) fn new(entry: Endpoint, bytes: &'a [u8], context: &AdmissionContext) -> Self {
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
            from: Ok(DecidedRequest { entry, request, verdict, patch_bytes: patch.len(), codes, policies }),
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

/// The API server truncates each warning to this many characters if all of them together are too
/// long (`truncateItemRunes` in its warning recorder).
const WARNING_CHARS: usize = 256;
/// The API server's limit for all warnings of one request together (`truncateAtTotalRunes`), shared
/// with other webhooks. The injector's warnings stay below it.
const WARNINGS_CHARS: usize = 4096;
/// The approximate size of everything except patch, warnings and messages, so that one allocation
/// is usually enough.
const ENVELOPE_BYTES: usize = 512;

/// Static, so that the CPU features are detected once.
static BASE64: LazyLock<Simd> = LazyLock::new(|| Simd::standard(PAD));

/// Why a request is rejected, as `kubectl` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Status<'a> {
    /// HTTP status code.
    code: u16,
    /// The `StatusReason` of Kubernetes.
    reason: &'a str,
    /// The message for the user.
    message: &'a str,
}

/// One response.
#[derive(Clone, Copy, Debug)]
struct Response<'a> {
    version: ReviewVersion,
    uid: &'a str,
    /// Set if the request is rejected.
    status: Option<Status<'a>>,
    /// RFC 6902, JSON; empty for none. The API server treats an empty patch with a patch type as a
    /// failed call.
    patch: &'a [u8],
    warnings: &'a [String],
    /// Key and value. The key has no prefix: the API server adds the webhook's name.
    audit_annotations: &'a [(&'a str, &'a str)],
}

impl Response<'_> {
    fn encode(&self) -> Vec<u8> {
        let Self { version, uid, status, patch, warnings, audit_annotations } = self;
        let texts =
            warnings.iter().map(String::len).sum::<usize>() + status.map_or(0, |status| status.message.len());
        let mut out = Writer(Vec::with_capacity(ENVELOPE_BYTES + patch.len() / 3 * 4 + texts));
        out.raw(r#"{"apiVersion":""#);
        out.raw(version.api_version());
        out.raw(r#"","kind":""#);
        out.raw(KIND);
        out.raw(r#"","response":{"uid":"#);
        out.string(uid);
        out.raw(if status.is_none() { r#","allowed":true"# } else { r#","allowed":false"# });
        if !patch.is_empty() {
            out.raw(r#","patchType":"JSONPatch","patch":""#);
            out.base64(patch);
            out.raw("\"");
        }
        if let Some(Status { code, reason, message }) = status {
            out.raw(r#","status":{"code":"#);
            out.raw(&code.to_string());
            out.raw(r#","reason":"#);
            out.string(reason);
            out.raw(r#","message":"#);
            out.string(message);
            out.raw("}");
        }
        if !warnings.is_empty() {
            out.raw(r#","warnings":["#);
            out.warnings(warnings);
            out.raw("]");
        }
        if !audit_annotations.is_empty() {
            out.raw(r#","auditAnnotations":{"#);
            for (index, (key, value)) in audit_annotations.iter().enumerate() {
                out.comma(index);
                out.string(key);
                out.raw(":");
                out.string(value);
            }
            out.raw("}");
        }
        out.raw("}}");
        out.0
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.raw(",");
        }
    }

    fn string(&mut self, text: &str) {
        serde_json::to_writer(&mut self.0, text).expect("a string written to memory cannot fail");
    }

    fn base64(&mut self, bytes: &[u8]) {
        let start = self.0.len();
        self.0.resize(start + bytes.len().div_ceil(3) * 4, 0);
        BASE64
            .encode_slice(bytes, &mut self.0[start..])
            .expect("four bytes are reserved for every three begun");
    }

    /// As many warnings as the API server shows, each shortened to what it shows and on one line:
    /// the API server discards a warning with a control character.
    fn warnings(&mut self, warnings: &[String]) {
        let mut left = WARNINGS_CHARS;
        for (index, warning) in warnings.iter().enumerate() {
            let rest = warnings.len() - index;
            let shown = one_line(warning);
            let more = format!("{rest} more warnings");
            // The last warning needs no room for the note about omitted ones.
            let reserve = if rest > 1 { more.len() } else { 0 };
            self.comma(index);
            if shown.chars().count() + reserve > left {
                self.string(&more);
                return;
            }
            left -= shown.chars().count();
            self.string(&shown);
        }
    }
}

fn one_line(warning: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if warning.chars().nth(WARNING_CHARS).is_none() {
        return warning.chars().map(clean).collect();
    }
    warning.chars().take(WARNING_CHARS - 1).map(clean).chain(['…']).collect()
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
    fn an_ignored_request_is_allowed_and_audited() {
        let reply =
            review_to_response(Endpoint::Mutate, review(&[("CREATE", "UPDATE")]).as_bytes(), &context());
        assert_eq!(
            json(&reply),
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                   "response": {"uid": "u-1", "allowed": true,
                                "auditAnnotations": {"outcome": "ignored", "reason": "update"}}})
        );
    }

    #[test]
    fn v1beta1_is_answered_in_kind() {
        let reply = review_to_response(
            Endpoint::Mutate,
            review(&[("k8s.io/v1", "k8s.io/v1beta1")]).as_bytes(),
            &context(),
        );
        assert_eq!(json(&reply)["apiVersion"], "admission.k8s.io/v1beta1");
    }

    #[test]
    fn a_malformed_pod_is_refused_with_its_uid() {
        let review = review(&[(r#""object":{"#, r#""object":null,"other":{"#)]);
        let answer = json(&review_to_response(Endpoint::Mutate, review.as_bytes(), &context()));
        assert_eq!(answer["response"]["uid"], "u-1");
        assert_eq!(answer["response"]["allowed"], false);
        assert_eq!(answer["response"]["status"]["code"], 422);
    }

    #[test]
    fn the_patch_decodes_and_applies() {
        let text = review(&[]);
        let request = Request::decode(Endpoint::Mutate, text.as_bytes()).unwrap();
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
        let request = Request::decode(Endpoint::Mutate, text.as_bytes()).unwrap();
        let decision =
            scaivault_inject::Decision::Detach(Detachment { patch: Patch::default(), warnings: vec![] });
        let verdict = Verdict::from(decision);
        let answer = json(&reply(&request, &verdict, &patch_json(verdict.patch.as_ref()), "", ""));
        assert!(answer["response"].get("patch").is_none() && answer["response"].get("patchType").is_none());
    }

    #[test]
    fn an_unknown_namespace_causes_a_retry() {
        let reply = review_to_response(
            Endpoint::Mutate,
            asking(&[("\"shop\"", "\"unknown\"")]).as_bytes(),
            &context(),
        );
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(reply.retry_after_seconds(), Some(1));
        let text = String::from_utf8(reply.body).unwrap();
        assert!(text.contains("\"unknown\"") && text.contains("u-1"), "{text}");
    }

    #[test]
    fn a_refused_review_names_its_uid() {
        let reply = review_to_response(
            Endpoint::Mutate,
            review(&[("k8s.io/v1", "k8s.io/v7")]).as_bytes(),
            &context(),
        );
        assert_eq!((reply.status, reply.retry_after_seconds()), (StatusCode::BAD_REQUEST, None));
        assert!(String::from_utf8(reply.body).unwrap().contains("(request u-1)"));
    }

    /// For every review, the patch (in base64) and all other output are bounded by this many bytes.
    #[test]
    fn an_answer_is_short_for_a_long_review() {
        const MOST: usize = 64 * 1024;
        const PATCH: usize = 700 * 1024;
        for (name, shape) in scaivault_testkit::hostile::SHAPES {
            let (review, path) = shape(1024 * 1024).review();
            for entry in Endpoint::ALL.into_iter().filter(|entry| entry.path() == path || path != "/mutate") {
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
        let reply = review_to_response(Endpoint::Mutate, review(&[("u-1", &long)]).as_bytes(), &context());
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert!(reply.body.len() < 200, "{} bytes", reply.body.len());
    }

    #[test]
    fn a_malformed_pod_is_quoted_no_further_than_a_value() {
        let secret = format!("{}hunter2{}", "s".repeat(40), "x".repeat(100_000));
        let pod = format!(r#""spec":{{"securityContext":{{"runAsUser":"{secret}"}},"#);
        let text = review(&[(r#""spec":{"#, &pod)]);
        let answer = json(&review_to_response(Endpoint::Mutate, text.as_bytes(), &context()));
        let message = answer["response"]["status"]["message"].as_str().unwrap();
        assert!(message.contains("ssss…\"") && message.contains("column"), "{message}");
        assert!(!message.contains("hunter2") && message.len() < 300, "{message}");
    }

    #[test]
    fn codes_are_not_repeated() {
        assert_eq!(codes(["a", "b", "a"].into_iter()), "a,b");
        assert_eq!(codes([].into_iter()), "");
    }

    fn response() -> Response<'static> {
        Response {
            version: ReviewVersion::V1,
            uid: "a\"b",
            status: None,
            patch: b"",
            warnings: &[],
            audit_annotations: &[],
        }
    }

    fn parsed(response: &Response<'_>) -> Json {
        serde_json::from_slice(&response.encode()).unwrap()
    }

    #[test]
    fn a_plain_answer_has_only_uid_and_allowed() {
        assert_eq!(
            parsed(&response()),
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                   "response": {"uid": "a\"b", "allowed": true}})
        );
    }

    #[test]
    fn patch_and_type_are_set_together() {
        for length in (1..=7).chain(125..=300) {
            let patch = vec![b'x'; length];
            let answer = parsed(&Response { patch: &patch, ..response() });
            assert_eq!(answer["response"]["patchType"], "JSONPatch");
            let text = answer["response"]["patch"].as_str().unwrap();
            assert_eq!(STANDARD.decode(text).unwrap(), patch);
        }
    }

    #[test]
    fn a_refusal_has_code_reason_and_message() {
        let status = Status { code: 403, reason: "Forbidden", message: "line\n\"two\"" };
        let answer = parsed(&Response {
            status: Some(status),
            audit_annotations: &[("outcome", "denied")],
            ..response()
        });
        assert_eq!(
            answer["response"],
            json!({"uid": "a\"b", "allowed": false,
                   "status": {"code": 403, "reason": "Forbidden", "message": "line\n\"two\""},
                   "auditAnnotations": {"outcome": "denied"}})
        );
    }

    fn shown_warnings(warnings: &[String]) -> Vec<String> {
        let answer = parsed(&Response { warnings, ..response() });
        serde_json::from_value(answer["response"]["warnings"].clone()).unwrap()
    }

    #[test]
    fn a_long_warning_is_truncated_to_one_line() {
        let shown = shown_warnings(&["ä\n".repeat(300), "short".into()]);
        assert_eq!(shown[0].chars().count(), WARNING_CHARS);
        assert!(shown[0].ends_with('…') && !shown[0].contains('\n'), "{}", shown[0]);
        assert_eq!(shown[1], "short");
    }

    #[test]
    fn warnings_stay_below_the_api_servers_total() {
        let warnings = vec!["w".repeat(WARNING_CHARS); 17];
        assert_eq!(shown_warnings(&warnings[..16]).len(), 16, "16 of 256 fit exactly");
        let shown = shown_warnings(&warnings);
        assert!(shown.iter().map(|text| text.chars().count()).sum::<usize>() <= WARNINGS_CHARS);
        assert_eq!(shown.last().unwrap(), "2 more warnings");
        assert_eq!(shown.len(), 16);
    }
}
