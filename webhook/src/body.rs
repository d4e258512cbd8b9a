//! Reading a request's body within its limits of size, time and memory.

use axum::body::{Body, Bytes, HttpBody as _};
use http_body_util::BodyExt as _;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::timeout;

use crate::limits::Limits;

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Longer than one body may be.
    TooLarge,
    /// Slower than it may be.
    Timeout,
    /// All bodies together would be longer than they may be.
    Memory,
    /// The client went away or broke the protocol.
    Broken,
}

/// A body, and its share of the memory for all bodies until it is dropped.
#[derive(Debug)]
pub(crate) struct Buffered {
    pub(crate) bytes: Bytes,
    _share: Share,
}

/// Reads `body`. `buffered` counts the bytes of all bodies. What a client announces is not reserved: memory is
/// counted as it arrives, so that empty promises take none.
pub(crate) async fn read(mut body: Body, limits: &Limits, buffered: &Gauge) -> Result<Buffered, BodyError> {
    if body.size_hint().lower() > limits.body_bytes as u64 {
        return Err(BodyError::TooLarge);
    }
    let read = timeout(limits.body_timeout, collect(&mut body, limits, buffered));
    let read = read.await.unwrap_or(Err(BodyError::Timeout));
    if let Err(BodyError::TooLarge | BodyError::Memory) = read {
        discard(body, limits).await;
    }
    read
}

/// Reads the rest of a body and throws it away: a client that is still writing when its connection ends does not
/// see the answer. Not more than a few bodies' worth, and not longer than one may take.
pub(crate) async fn discard(mut body: Body, limits: &Limits) {
    let rest = async {
        let mut left = limits.body_bytes.saturating_mul(4);
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else {
                break;
            };
            left = rest;
        }
    };
    // Ended or given up: the answer is the same.
    let _ = timeout(limits.body_timeout, rest).await;
}

async fn collect(body: &mut Body, limits: &Limits, buffered: &Gauge) -> Result<Buffered, BodyError> {
    let mut share = Share::none(buffered);
    // Most bodies come in one piece, which is used as it is.
    let mut first = Bytes::new();
    let mut joined = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
            continue;
        };
        length += data.len();
        if length > limits.body_bytes {
            return Err(BodyError::TooLarge);
        }
        share.grow(data.len(), limits.buffered_bytes)?;
        if first.is_empty() && joined.is_empty() {
            first = data;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&data);
        }
    }
    Ok(Buffered { bytes: if joined.is_empty() { first } else { joined.into() }, _share: share })
}

/// How much of the memory for bodies one of them takes.
#[derive(Debug)]
struct Share {
    total: Gauge,
    bytes: i64,
}

impl Share {
    fn none(total: &Gauge) -> Self {
        Self { total: total.clone(), bytes: 0 }
    }

    fn grow(&mut self, bytes: usize, limit: usize) -> Result<(), BodyError> {
        let signed = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        let before = self.total.inc_by(signed(bytes));
        self.bytes += signed(bytes);
        if before.saturating_add(signed(bytes)) > signed(limit) { Err(BodyError::Memory) } else { Ok(()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.total.dec_by(self.bytes);
    }
}

#[cfg(test)]
mod tests;
