//! Where reviews are decided: on a bounded number of threads, whatever their size and number.
//!
//! Nearly every review is small (a pod's is 4 to 10 KB) and takes some dozens of microseconds. It is decided where it was
//! read, on a worker of the runtime, of which there are as many as cores: handing it to another thread would cost more
//! than deciding it. The larger ones have threads of their own, at most [`MEDIUM_THREADS`] at once for medium reviews and
//! one for large ones, so that no review waits behind much larger ones. The scheduler of the operating system shares the
//! cores between these threads and the workers. The number of threads also bounds the memory: a review of a few hundred
//! KB can take some MB while it is decided.

use std::{num::NonZeroUsize, sync::Arc, thread::available_parallelism};

use tokio::{sync::Semaphore, task::spawn_blocking};

/// A body of this size or more has a thread of its own: it may take a millisecond.
pub(crate) const MEDIUM_BODY_BYTES: usize = 32 * 1024;
/// A body of this size or more waits for others of its kind: it may take 10 to 100 ms.
pub(crate) const LARGE_BODY_BYTES: usize = 512 * 1024;

/// The most medium reviews that are decided at once, however many cores there are.
const MEDIUM_THREADS: usize = 4;

/// The threads for reviews that are not small.
pub(crate) struct Lanes {
    medium: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// A decision that did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfinished;

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

    /// Decides on a body of that size when it is its turn.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        body_bytes: usize,
        decide: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unfinished> {
        let lane = match body_bytes {
            0..MEDIUM_BODY_BYTES => return Ok(decide()),
            MEDIUM_BODY_BYTES..LARGE_BODY_BYTES => &self.medium,
            _ => &self.large,
        };
        let turn = Arc::clone(lane).acquire_owned().await.map_err(|_| Unfinished)?;
        let decided = spawn_blocking(move || {
            // Until it is done, also where nobody waits for the answer any more.
            let _turn = turn;
            decide()
        });
        decided.await.map_err(|_| Unfinished)
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
