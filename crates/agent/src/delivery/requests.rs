//! Requests in flight.

use std::collections::HashMap;

use scaivault_client::Error;
use tokio::task::{Id, JoinSet};

/// Requests that run to completion even if their sender is cancelled, at most one for each subject.
#[derive(Debug)]
pub(crate) struct Requests<S, T> {
    tasks: JoinSet<Result<T, Error>>,
    subjects: HashMap<Id, S>,
}

impl<S: Clone + Eq, T: Send + 'static> Requests<S, T> {
    pub(crate) fn new() -> Self {
        Self { tasks: JoinSet::new(), subjects: HashMap::new() }
    }

    /// Starts `request` for `subject`, unless one is in flight.
    pub(crate) fn start(
        &mut self,
        subject: &S,
        request: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) {
        if !self.has(subject) {
            let task = self.tasks.spawn(request);
            self.subjects.insert(task.id(), subject.clone());
        }
    }

    /// Whether a request for `subject` is in flight.
    pub(crate) fn has(&self, subject: &S) -> bool {
        self.subjects.values().any(|other| other == subject)
    }

    /// Whether no request is in flight.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The next response; `None` if no request is in flight. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<(S, Result<T, Error>)> {
        loop {
            // A task that panicked has no response: its subject may be requested again, and the
            // other requests continue.
            let (task, answered) = match self.tasks.join_next_with_id().await? {
                Ok((task, answered)) => (task, Some(answered)),
                Err(error) => (error.id(), None),
            };
            if let (Some(subject), Some(answered)) = (self.subjects.remove(&task), answered) {
                return Some((subject, answered));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use super::*;

    #[tokio::test]
    async fn a_panic_frees_only_its_own_subject() {
        let mut requests = Requests::<_, ()>::new();
        requests.start(&"a", async { panic!("a bug") });
        requests.start(&"b", pending());
        let next = tokio::time::timeout(Duration::from_millis(100), requests.next());
        assert!(next.await.is_err(), "nothing is answered");
        assert!(!requests.has(&"a") && requests.has(&"b"));
    }
}
