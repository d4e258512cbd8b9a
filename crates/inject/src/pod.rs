//! The read model of a pod.

use thiserror::Error;

/// What the core looks at of a pod, borrowed from the bytes of the review.
#[derive(Clone, Debug)]
pub struct PodView<'a> {
    marker: std::marker::PhantomData<&'a str>,
}

/// The text is not a pod that the API server could have sent.
#[derive(Debug, Error)]
#[error("not a pod: {0}")]
pub struct MalformedPod(#[from] serde_json::Error);

impl<'a> PodView<'a> {
    /// Reads a pod or a pod template (`metadata` and `spec`) from JSON.
    pub fn parse(json: &'a str) -> Result<Self, MalformedPod> {
        let _: serde::de::IgnoredAny = serde_json::from_str(json)?;
        Ok(Self {
            marker: std::marker::PhantomData,
        })
    }
}
