//! Requests that are under way.

use std::collections::BTreeSet;

use scaivault_client::Error;
use tokio::task::JoinSet;

/// Requests that are finished whatever becomes of their sender, at most one for each subject.
#[derive(Debug)]
pub(crate) struct Requests<S, T> {
    tasks: JoinSet<(S, Result<T, Error>)>,
    subjects: BTreeSet<S>,
}

impl<S: Clone + Ord + Send + 'static, T: Send + 'static> Requests<S, T> {
    pub(crate) fn new() -> Self {
        Self { tasks: JoinSet::new(), subjects: BTreeSet::new() }
    }

    /// Starts `request` for `subject`, unless one is under way.
    pub(crate) fn start(
        &mut self,
        subject: &S,
        request: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) {
        if self.subjects.insert(subject.clone()) {
            let subject = subject.clone();
            self.tasks.spawn(async move { (subject, request.await) });
        }
    }

    /// Whether one for `subject` is under way.
    pub(crate) fn has(&self, subject: &S) -> bool {
        self.subjects.contains(subject)
    }

    /// Whether none is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The next answer; none if nothing is under way. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<(S, Result<T, Error>)> {
        loop {
            if let Ok((subject, answered)) = self.tasks.join_next().await? {
                self.subjects.remove(&subject);
                return Some((subject, answered));
            }
            // A task that panicked does not say for what it was: better one request too many than none any more.
            self.subjects.clear();
        }
    }
}
