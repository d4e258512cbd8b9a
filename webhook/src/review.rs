//! The request of an `AdmissionReview`, decoded by borrowing.
//!
//! Only the needed fields are read, and no document tree of an object is built. A pod is read in
//! the same pass as its review; other objects, and `oldObject`, are kept as the text that the API
//! server sent.

use std::{borrow::Cow, fmt, ops::Deref};

use scaivault_inject::PodView;
use serde::{Deserialize, Deserializer};
use serde_json::{error::Category, value::RawValue};
use thiserror::Error;

use crate::endpoint::Endpoint;

/// The `kind` of both directions.
pub(crate) const KIND: &str = "AdmissionReview";

/// The maximum length of a uid in bytes; an API server's uid has 36.
const UID_BYTES: usize = 128;

/// The supported versions of `admission.k8s.io`. The answer has the version of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReviewVersion {
    /// `admission.k8s.io/v1`.
    V1,
    /// `admission.k8s.io/v1beta1`: the same fields. Removed from Kubernetes 1.22, still sent by
    /// some other clients.
    V1Beta1,
}

impl ReviewVersion {
    /// The value of `apiVersion`.
    pub(crate) const fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "admission.k8s.io/v1",
            Self::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }

    fn parse(api_version: &str) -> Option<Self> {
        [Self::V1, Self::V1Beta1].into_iter().find(|version| version.api_version() == api_version)
    }
}

/// The operation on the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `CREATE`
    Create,
    /// `UPDATE`
    Update,
    /// `DELETE`
    Delete,
    /// `CONNECT`
    Connect,
    /// An unknown operation, of a later Kubernetes release.
    Other,
}

impl Operation {
    fn parse(text: &str) -> Self {
        match text {
            "CREATE" => Self::Create,
            "UPDATE" => Self::Update,
            "DELETE" => Self::Delete,
            "CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }

    /// The name in Kubernetes; `OTHER` for unknown operations.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Other => "OTHER",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kind of an object. `group` is empty for the core group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct GroupVersionKind<'a> {
    /// API group.
    #[serde(borrow)]
    pub(crate) group: Text<'a>,
    /// API version within the group.
    #[serde(borrow)]
    pub(crate) version: Text<'a>,
    /// Kind.
    #[serde(borrow)]
    pub(crate) kind: Text<'a>,
}

/// An object, borrowed from the bytes of its review.
#[derive(Clone, Debug)]
pub(crate) enum Object<'a> {
    /// As the API server sent it.
    Text(&'a RawValue),
    /// Already read together with the review.
    Pod(Box<PodView<'a>>),
}

/// Reviews below this size are read in one pass: they cannot have more members than a pod may have.
/// In a larger review the pod's members are counted before it is read, because each needs some
/// dozen times its size in memory.
const READ_ONCE_BYTES: usize = PodView::UNCOUNTED_BYTES;

impl GroupVersionKind<'_> {
    /// `apiVersion` as written in manifests.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", &*self.group, &*self.version)
        }
    }
}

/// One admission request, borrowed from the bytes of its review.
#[derive(Clone, Debug)]
pub(crate) struct Request<'a> {
    /// The version to answer in.
    pub(crate) version: ReviewVersion,
    /// Identifies the request; echoed in the answer. Never empty.
    pub(crate) uid: Text<'a>,
    /// The kind of `object`.
    pub(crate) kind: GroupVersionKind<'a>,
    /// The subresource (`status`, `ephemeralcontainers`, `resize`), empty for the object itself.
    pub(crate) subresource: Text<'a>,
    pub(crate) operation: Operation,
    /// The object's name, empty if the API server generates it from `generateName`.
    pub(crate) name: Text<'a>,
    /// The namespace, which the object itself may omit.
    pub(crate) namespace: Text<'a>,
    /// Whether the result will not be stored.
    pub(crate) dry_run: bool,
    /// The object as it would be stored.
    pub(crate) object: Option<Object<'a>>,
    /// The stored version of the object; none if it is created.
    pub(crate) old_object: Option<&'a RawValue>,
}

impl<'a> Request<'a> {
    /// Reads a review, including the pod if the endpoint handles pods.
    pub(crate) fn decode(entry: Endpoint, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8)?;
        if entry == Endpoint::Mutate
            && text.len() < READ_ONCE_BYTES
            && let Ok(review) = serde_json::from_str::<WireReview<'a, Box<PodView<'a>>>>(text)
        {
            return review.request(Object::Pod);
        }
        // Also if only the pod is malformed: the request is then answered with its uid.
        serde_json::from_str::<WireReview<'a, &'a RawValue>>(text)?.request(Object::Text)
    }
}

impl<'a, O> WireReview<'a, O> {
    fn request(self, object_of: impl FnOnce(O) -> Object<'a>) -> Result<Request<'a>, DecodeError> {
        let Self { api_version, kind, request } = self;
        let uid = || request.as_ref().map(|request| request.uid.to_string());
        if &*kind != KIND {
            return Err(DecodeError::Kind { found: kind.excerpt(), uid: uid() });
        }
        let Some(version) = ReviewVersion::parse(&api_version) else {
            return Err(DecodeError::Version { found: api_version.excerpt(), uid: uid() });
        };
        let request = request.ok_or(DecodeError::NoRequest)?;
        match request.uid.len() {
            0 => return Err(DecodeError::NoUid),
            length if length > UID_BYTES => return Err(DecodeError::LongUid(length)),
            _ => {}
        }
        let WireRequest { uid, kind, subresource, operation, name, namespace, dry_run, object, old_object } =
            request;
        Ok(Request {
            version,
            uid,
            kind,
            subresource,
            operation: Operation::parse(&operation),
            name,
            namespace,
            dry_run: dry_run.unwrap_or(false),
            object: object.map(object_of),
            old_object,
        })
    }
}

/// Why bytes are not a review that can be answered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum DecodeError {
    /// The body is not UTF-8.
    #[error("the body is not UTF-8; send an AdmissionReview as JSON")]
    NotUtf8,
    /// The body is not JSON, or truncated. The parser's message does not quote the body.
    #[error("the body is not JSON: {0}; send an AdmissionReview as JSON")]
    NotJson(serde_json::Error),
    /// A field has the wrong type.
    #[error(
        "the body is not an AdmissionReview: unexpected type at line {line}, column {column}; \
         send admission.k8s.io/v1"
    )]
    NotAReview {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// `kind` is another one.
    #[error("kind is {found:?}, not {KIND}; send admission.k8s.io/v1")]
    Kind {
        /// The first characters of the value.
        found: String,
        /// The request's uid, if there is one.
        uid: Option<String>,
    },
    /// `apiVersion` is another one.
    #[error("apiVersion is {found:?}; set admissionReviewVersions to v1")]
    Version {
        /// The first characters of the value.
        found: String,
        /// The request's uid, if there is one.
        uid: Option<String>,
    },
    /// `request` is missing, as in a review that is an answer.
    #[error("the AdmissionReview has no request; send one with request set")]
    NoRequest,
    /// `request.uid` is longer than that of any API server; it would be repeated in the answer.
    #[error("request.uid has {0} bytes, and {UID_BYTES} are allowed; set it to a unique text")]
    LongUid(usize),
    /// `request.uid` is missing, so no answer could be matched.
    #[error("request.uid is empty; set it to a unique text")]
    NoUid,
}

impl DecodeError {
    /// The request's uid, if it could be read.
    pub(crate) fn uid(&self) -> Option<&str> {
        match self {
            Self::Kind { uid, .. } | Self::Version { uid, .. } => uid.as_deref(),
            Self::NotUtf8
            | Self::NotJson(_)
            | Self::NotAReview { .. }
            | Self::NoRequest
            | Self::NoUid
            | Self::LongUid(_) => None,
        }
    }
}

impl From<serde_json::Error> for DecodeError {
    fn from(error: serde_json::Error) -> Self {
        match error.classify() {
            // Messages of this category quote the invalid value.
            Category::Data => Self::NotAReview { line: error.line(), column: error.column() },
            Category::Io | Category::Syntax | Category::Eof => Self::NotJson(error),
        }
    }
}

/// A review whose object is deserialized as `O`.
#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "O: Deserialize<'de>"))]
struct WireReview<'a, O> {
    #[serde(borrow)]
    api_version: Text<'a>,
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    request: Option<WireRequest<'a, O>>,
}

impl<O> Default for WireReview<'_, O> {
    fn default() -> Self {
        Self { api_version: Text::default(), kind: Text::default(), request: None }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "O: Deserialize<'de>"))]
struct WireRequest<'a, O> {
    #[serde(borrow, default)]
    uid: Text<'a>,
    #[serde(borrow, default)]
    kind: GroupVersionKind<'a>,
    #[serde(borrow, default, rename = "subResource")]
    subresource: Text<'a>,
    #[serde(borrow, default)]
    operation: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    namespace: Text<'a>,
    dry_run: Option<bool>,
    object: Option<O>,
    #[serde(borrow)]
    old_object: Option<&'a RawValue>,
}

/// A JSON string, borrowed from the input unless it holds escapes. `null` reads as empty, as in Go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// The first characters, for an error's text.
    pub(crate) fn excerpt(&self) -> String {
        self.chars().take(40).collect()
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde's derive borrows a plain `Cow`, but not one inside an `Option`.
        #[derive(Default, Deserialize)]
        struct Borrowed<'b>(#[serde(borrow)] Cow<'b, str>);
        let Borrowed(text) = Option::deserialize(deserializer)?.unwrap_or_default();
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests;
