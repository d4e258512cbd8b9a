//! What is held for the pods of this node: it ends when the watch of the pods says that they are gone.

use std::{collections::BTreeSet, sync::Arc};

use tokio::time::Instant;

use crate::{events::Events, leases::Leases, logins::Logins};

/// The leases, logins and subscriptions of this node's pods.
pub(crate) struct PodResources {
    leases: Option<Leases>,
    logins: Arc<Logins>,
    events: Arc<Events>,
}

impl PodResources {
    pub(crate) fn new(leases: Option<Leases>, logins: Arc<Logins>, events: Arc<Events>) -> Self {
        Self { leases, logins, events }
    }

    /// These pods exist, as listed after `since`: others are gone.
    pub(crate) fn keep_pods(&self, uids: &BTreeSet<String>, since: Instant) {
        self.logins.retain(|pod, used| used >= since || uids.contains(pod.uid.as_str()));
        self.events.keep_only(&self.logins.identities());
        if let Some(leases) = &self.leases {
            leases.keep_pods(uids);
        }
    }

    /// There is another pod.
    pub(crate) fn start_pod(&self, uid: &str) {
        if let Some(leases) = &self.leases {
            leases.start_pod(uid);
        }
    }

    /// A pod is gone.
    pub(crate) fn end_pod(&self, uid: &str) {
        self.logins.retain(|pod, _| pod.uid.as_str() != uid);
        self.events.keep_only(&self.logins.identities());
        if let Some(leases) = &self.leases {
            leases.end_pod(uid);
        }
    }
}
