//! The response of an `AdmissionReview`, written without an intermediate document.

use std::sync::LazyLock;

use base64::{
    Engine as _,
    engine::{Simd, general_purpose::PAD},
};

use super::{KIND, ReviewVersion};

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
pub(crate) struct Status<'a> {
    /// HTTP status code.
    pub(crate) code: u16,
    /// The `StatusReason` of Kubernetes.
    pub(crate) reason: &'a str,
    /// The message for the user.
    pub(crate) message: &'a str,
}

/// One response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Response<'a> {
    pub(crate) version: ReviewVersion,
    pub(crate) uid: &'a str,
    /// Set if the request is rejected.
    pub(crate) status: Option<Status<'a>>,
    /// RFC 6902, JSON; empty for none. The API server treats an empty patch with a patch type as a
    /// failed call.
    pub(crate) patch: &'a [u8],
    pub(crate) warnings: &'a [String],
    /// Key and value. The key has no prefix: the API server adds the webhook's name.
    pub(crate) audit_annotations: &'a [(&'a str, &'a str)],
}

impl Response<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
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
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::*;

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

    fn parsed(response: &Response<'_>) -> Value {
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
    fn patch_and_type_come_together() {
        for length in (1..=7).chain(125..=300) {
            let patch = vec![b'x'; length];
            let answer = parsed(&Response { patch: &patch, ..response() });
            assert_eq!(answer["response"]["patchType"], "JSONPatch");
            let text = answer["response"]["patch"].as_str().unwrap();
            assert_eq!(STANDARD.decode(text).unwrap(), patch);
        }
    }

    #[test]
    fn a_refusal_says_code_reason_and_message() {
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

    fn shown(warnings: &[String]) -> Vec<String> {
        let answer = parsed(&Response { warnings, ..response() });
        serde_json::from_value(answer["response"]["warnings"].clone()).unwrap()
    }

    #[test]
    fn a_long_warning_is_cut_and_put_on_one_line() {
        let shown = shown(&["ä\n".repeat(300), "short".into()]);
        assert_eq!(shown[0].chars().count(), WARNING_CHARS);
        assert!(shown[0].ends_with('…') && !shown[0].contains('\n'), "{}", shown[0]);
        assert_eq!(shown[1], "short");
    }

    #[test]
    fn warnings_stay_below_the_api_servers_total() {
        let warnings = vec!["w".repeat(WARNING_CHARS); 17];
        assert_eq!(shown(&warnings[..16]).len(), 16, "16 of 256 fit exactly");
        let shown = shown(&warnings);
        assert!(shown.iter().map(|text| text.chars().count()).sum::<usize>() <= WARNINGS_CHARS);
        assert_eq!(shown.last().unwrap(), "2 more warnings");
        assert_eq!(shown.len(), 16);
    }
}
