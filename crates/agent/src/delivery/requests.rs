//! Requests about dynamic secrets that are under way.

use std::collections::BTreeSet;

use scaivault_client::Error;
use scaivault_contract::DynamicRef;
use tokio::task::JoinSet;

/// Requests that go on whatever becomes of who started them, at most one for each dynamic secret.
#[derive(Debug)]
pub(crate) struct Requests<T> {
    tasks: JoinSet<(DynamicRef, Result<T, Error>)>,
    subjects: BTreeSet<DynamicRef>,
}

impl<T: Send + 'static> Requests<T> {
    pub(crate) fn new() -> Self {
        Self { tasks: JoinSet::new(), subjects: BTreeSet::new() }
    }

    /// Starts `request` for `dynamic`, unless one is under way.
    pub(crate) fn start(
        &mut self,
        dynamic: &DynamicRef,
        request: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) {
        if self.subjects.insert(dynamic.clone()) {
            let dynamic = dynamic.clone();
            self.tasks.spawn(async move { (dynamic, request.await) });
        }
    }

    /// Whether one for `dynamic` is under way.
    pub(crate) fn has(&self, dynamic: &DynamicRef) -> bool {
        self.subjects.contains(dynamic)
    }

    /// Whether none is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The next answer; none where nothing is under way. Given up, it loses none.
    pub(crate) async fn next(&mut self) -> Option<(DynamicRef, Result<T, Error>)> {
        loop {
            if let Ok((dynamic, answered)) = self.tasks.join_next().await? {
                self.subjects.remove(&dynamic);
                return Some((dynamic, answered));
            }
            // A task that panicked does not say for what it was: better one request too many than none any more.
            self.subjects.clear();
        }
    }
}
