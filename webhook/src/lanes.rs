//! Where reviews are decided: on a bounded number of threads, whatever their size and number.
//!
//! Nearly every review is small (a pod's is 4 to 10 KB) and takes some dozens of microseconds. It is decided where it was
//! read, on a worker of the runtime, of which there are as many as cores: handing it to another thread would cost more
//! than deciding it. The larger ones have threads of their own, few at once for each of two sizes, so that none of them
//! waits behind much larger ones, and a core is always left for the small ones.

use std::{sync::Arc, thread::available_parallelism};

use tokio::{sync::Semaphore, task::spawn_blocking};

/// A body of this size or more has a thread of its own: it may take a millisecond.
pub(crate) const MEDIUM_BODY_BYTES: usize = 32 * 1024;
/// A body of this size or more waits for others of its kind: it may take 10 to 100 ms.
pub(crate) const LARGE_BODY_BYTES: usize = 512 * 1024;

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
        // One core is left for the small ones.
        let others = available_parallelism().map_or(1, |cores| cores.get() - 1).max(1);
        Self { medium: Arc::new(Semaphore::new(others)), large: Arc::new(Semaphore::new(1)) }
    }
}

impl Lanes {
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
