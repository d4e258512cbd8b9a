//! The state for the lifetime of the agent: configuration, client, output directories, leases and
//! stored state.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use scaivault_client::{Client, Error, HeldLease, LeaseId, SubscriptionId};
use scaivault_contract::DynamicRef;
use tokio::task::{Id, JoinSet};

use crate::{
    atomic_writer::{AtomicWriter, Owner, Target},
    config::{Config, Container},
    exit::Fatal,
    init::StartKind,
    leases::Leases,
    state::{PreviousRun, StateError, Store},
};

mod leases;
mod subscription;

pub(crate) use leases::{GIVE_BACK_TIMEOUT, STOP_TIMEOUT, Wait};

/// Everything that is needed to deliver secrets to files.
pub(crate) struct Delivery {
    pub(crate) config: &'static Config,
    pub(crate) client: Arc<Client>,
    pub(crate) writer: &'static AtomicWriter,
    pub(crate) leases: Leases,
    /// Lease generations in flight.
    pub(crate) generating: Requests<DynamicRef, HeldLease>,
    /// Lease revocations in flight.
    pub(crate) revoking: Requests<LeaseId, ()>,
    /// The subscription to events, which is deleted at the end.
    pub(crate) subscription: Option<SubscriptionId>,
    store: Store,
}

impl Delivery {
    /// Restores the state of the previous run.
    pub(crate) fn new(config: Config) -> Result<Self, Fatal> {
        let client = Arc::new(Client::new(config.server.clone())?);
        // Leaked for the lifetime of the process: pending writes borrow from both, and there is one
        // of each.
        let writer = &*Box::leak(Box::new(writer(&config)));
        let config = &*Box::leak(Box::new(config));
        let store = Store::new(config.state_dir.clone());
        let PreviousRun { token, leases, subscription } = store.load();
        if let Some(token) = token {
            client.resume(token);
        }
        let (generating, revoking) = (Requests::new(), Requests::new());
        Ok(Self { config, client, writer, leases, generating, revoking, subscription, store })
    }

    /// Every configured dynamic secret: files of the same one share a lease.
    pub(crate) fn dynamics(&self) -> BTreeSet<DynamicRef> {
        self.config.outputs.files.iter().filter_map(|spec| spec.source.lease().cloned()).collect()
    }

    /// Stores login and leases for the next run.
    pub(crate) fn save(&self) -> Result<(), StateError> {
        self.store.save(self.client.token().as_ref(), &self.leases, self.subscription.as_ref())
    }

    /// Marks the current files as known to the application, so that the next run does not notify
    /// it.
    pub(crate) fn mark_notified(&self) {
        if let Err(error) = self.writer.mark_notified() {
            tracing::warn!(%error, "not marked as notified; a restart notifies the application again");
        }
    }

    /// Whether a previous run has already let the application start.
    pub(crate) fn start_kind(&self) -> StartKind {
        let is_restart = self.writer.was_notified() || self.writer.is_ready(self.config.fail_open);
        if is_restart { StartKind::Restart } else { StartKind::Cold }
    }
}

/// The output directories of the configured files.
pub(crate) fn writer(config: &Config) -> AtomicWriter {
    let files = config.outputs.files.iter().map(|spec| (&spec.file, spec.optional, true));
    // Variables are only read when the application starts, so changes are not signalled.
    let variables = config.outputs.variables_file.iter().map(|file| (file, false, false));
    let target = |(file, is_optional, is_signalled)| Target { file, is_optional, is_signalled };
    let owner = Owner { is_sidecar: config.container == Container::Sidecar, pod_uid: config.pod_uid.clone() };
    AtomicWriter::new(files.chain(variables).map(target), &config.outputs.mount_points, owner)
}

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
