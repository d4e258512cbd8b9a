//! Runs decisions on a bounded number of threads, independent of the size and number of reviews.
//!
//! Nearly every review is small (a pod's is 4 to 10 KB) and takes tens of microseconds. It is
//! decided on the runtime worker that read it, of which there are as many as cores: handing it to
//! another thread would cost more than the decision. Larger reviews have their own threads, at most
//! [`MEDIUM_THREADS`] for medium reviews and one for large reviews, so that no review waits behind
//! much larger ones. The operating system shares the cores between these threads and the workers.
//! The number of threads also bounds the memory: a review of a few hundred KB can need several MB
//! while it is decided.

use std::{num::NonZeroUsize, sync::Arc, thread::available_parallelism};

use tokio::{sync::Semaphore, task::spawn_blocking};

/// A body of this size or more is decided on its own thread: it can take a millisecond.
pub(crate) const MEDIUM_BODY_BYTES: usize = 32 * 1024;
/// Bodies of this size or more are decided one at a time: each can take 10 to 100 ms.
pub(crate) const LARGE_BODY_BYTES: usize = 512 * 1024;

/// The maximum number of medium reviews that are decided at once, on any number of cores.
const MEDIUM_THREADS: usize = 4;

/// The threads for reviews that are not small.
pub(crate) struct Lanes {
    medium: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// A decision that did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnfinishedDecision;

impl Default for Lanes {
    fn default() -> Self {
        Self::new(available_parallelism().map_or(1, NonZeroUsize::get))
    }
}

impl Lanes {
    fn new(cores: usize) -> Self {
        let medium = cores.saturating_sub(1).clamp(1, MEDIUM_THREADS);
        Self { medium: Arc::new(Semaphore::new(medium)), large: Arc::new(Semaphore::new(1)) }
    }

    /// Runs a decision on a body of this size when its lane has a free thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        body_bytes: usize,
        decide: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, UnfinishedDecision> {
        let lane = match body_bytes {
            0..MEDIUM_BODY_BYTES => return Ok(decide()),
            MEDIUM_BODY_BYTES..LARGE_BODY_BYTES => &self.medium,
            _ => &self.large,
        };
        let turn = Arc::clone(lane).acquire_owned().await.map_err(|_| UnfinishedDecision)?;
        let decided = spawn_blocking(move || {
            // Held until the decision is complete, even if the request was cancelled meanwhile.
            let _turn = turn;
            decide()
        });
        decided.await.map_err(|_| UnfinishedDecision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_reviews_are_decided_at_once_on_any_machine() {
        for (cores, medium) in [(1, 1), (2, 1), (3, 2), (8, MEDIUM_THREADS), (64, MEDIUM_THREADS)] {
            let lanes = Lanes::new(cores);
            assert_eq!(lanes.medium.available_permits(), medium, "{cores} cores");
            assert_eq!(lanes.large.available_permits(), 1);
        }
    }
}
