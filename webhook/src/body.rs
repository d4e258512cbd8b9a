//! Reads a request's body within the limits of size, time and memory.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::body::{Body, Bytes, HttpBody as _};
use http_body_util::BodyExt as _;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::timeout;

use crate::limits::{FREE_BODY_BYTES, Limits};

/// Why a body was not read completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Longer than `Limits::body_bytes`.
    TooLarge,
    /// Slower than `Limits::body_timeout`.
    Timeout,
    /// Together with all other bodies it would exceed `Limits::buffered_bytes`.
    Memory,
    /// Together with the other bodies of its source it would exceed the limit per source.
    MemoryPerSource,
    /// The client disconnected or violated the protocol.
    Broken,
}

/// The memory budget for the bodies of one server.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    /// All bytes, for the metric.
    buffered: Gauge,
    /// The bytes that count against [`Limits::buffered_bytes`].
    drawn: AtomicUsize,
}

/// The part of the budget that the bodies of one source use. Clones share the account.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceBytes(Arc<AtomicUsize>);

/// A body with its share of the memory budget, which is returned on drop.
#[derive(Debug)]
pub(crate) struct BufferedBody {
    pub(crate) bytes: Bytes,
    _share: Share,
}

impl Budget {
    /// An empty budget; `buffered` shows the bytes of all bodies.
    pub(crate) fn new(limits: &Limits, buffered: &Gauge) -> Arc<Self> {
        Arc::new(Self { limits: *limits, buffered: buffered.clone(), drawn: AtomicUsize::new(0) })
    }

    /// Counts an answer for `source` until it is written or dropped: a short review can have a long
    /// answer, and the client may not read it.
    pub(crate) fn hold(self: &Arc<Self>, bytes: Vec<u8>, source: &SourceBytes) -> Result<Bytes, BodyError> {
        if bytes.len() <= FREE_BODY_BYTES {
            return Ok(bytes.into());
        }
        let mut share = Share::none(self, source);
        share.grow(bytes.len())?;
        Ok(Bytes::from_owner(HeldAnswer { bytes, _share: share }))
    }

    /// Reads `body` for `source`. Memory is counted as it arrives and not reserved by
    /// `Content-Length`, so a client that announces a body without sending it uses none.
    pub(crate) async fn read(
        self: &Arc<Self>,
        mut body: Body,
        source: &SourceBytes,
    ) -> Result<BufferedBody, BodyError> {
        let limits = &self.limits;
        let read = if body.size_hint().lower() > limits.body_bytes as u64 {
            Err(BodyError::TooLarge)
        } else {
            let share = Share::none(self, source);
            let read = timeout(limits.body_timeout, collect(&mut body, share, limits.body_bytes));
            read.await.unwrap_or(Err(BodyError::Timeout))
        };
        if let Err(BodyError::TooLarge | BodyError::Memory | BodyError::MemoryPerSource) = read {
            discard(body, limits).await;
        }
        read
    }
}

/// An answer with its share of the memory budget, until it is written.
struct HeldAnswer {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for HeldAnswer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads the rest of a body and discards it: a client that is still writing when its connection is
/// closed does not see the answer. Limited to a few times the size of a body and to the time of one
/// body.
async fn discard(mut body: Body, limits: &Limits) {
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
    // The answer is the same after a timeout.
    let _ = timeout(limits.body_timeout, rest).await;
}

async fn collect(body: &mut Body, mut share: Share, limit: usize) -> Result<BufferedBody, BodyError> {
    // Most bodies arrive in one chunk, which is used without copying.
    let mut first = Bytes::new();
    let mut joined = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
            continue;
        };
        length += data.len();
        if length > limit {
            return Err(BodyError::TooLarge);
        }
        share.grow(data.len())?;
        if first.is_empty() && joined.is_empty() {
            first = data;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&mem::take(&mut first));
            }
            joined.extend_from_slice(&data);
        }
    }
    Ok(BufferedBody { bytes: if joined.is_empty() { first } else { joined.into() }, _share: share })
}

/// The share of the memory budget that one body uses.
#[derive(Debug)]
struct Share {
    budget: Arc<Budget>,
    source: SourceBytes,
    bytes: usize,
    /// The part of `bytes` that counts against the budget.
    drawn: usize,
}

impl Share {
    fn none(budget: &Arc<Budget>, source: &SourceBytes) -> Self {
        Self { budget: Arc::clone(budget), source: source.clone(), bytes: 0, drawn: 0 }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), BodyError> {
        let Budget { limits, buffered, drawn } = &*self.budget;
        buffered.inc_by(signed(bytes));
        self.bytes += bytes;
        let more = self.bytes.saturating_sub(FREE_BODY_BYTES) - self.drawn;
        if more == 0 {
            return Ok(());
        }
        self.drawn += more;
        let of_source = self.source.0.fetch_add(more, Ordering::Relaxed) + more;
        let of_all = drawn.fetch_add(more, Ordering::Relaxed) + more;
        if of_source > limits.buffered_bytes_per_source() {
            Err(BodyError::MemoryPerSource)
        } else if of_all > limits.buffered_bytes {
            Err(BodyError::Memory)
        } else {
            Ok(())
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.buffered.dec_by(signed(self.bytes));
        self.source.0.fetch_sub(self.drawn, Ordering::Relaxed);
        self.budget.drawn.fetch_sub(self.drawn, Ordering::Relaxed);
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
