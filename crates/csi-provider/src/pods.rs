//! The resources of this node's pods, which are released when the watch reports that a pod was deleted.

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

    /// Releases the resources of all pods except these, which were listed after `since`.
    pub(crate) fn keep_pods(&self, uids: &BTreeSet<String>, since: Instant) {
        self.logins.retain(|pod, used| used >= since || uids.contains(pod.uid.as_str()));
        self.events.keep_only(&self.logins.identities());
        if let Some(leases) = &self.leases {
            leases.keep_pods(uids);
        }
    }

    /// Records a new pod.
    pub(crate) fn start_pod(&self, uid: &str) {
        if let Some(leases) = &self.leases {
            leases.start_pod(uid);
        }
    }

    /// Releases the resources of a deleted pod.
    pub(crate) fn end_pod(&self, uid: &str) {
        self.logins.retain(|pod, _| pod.uid.as_str() != uid);
        self.events.keep_only(&self.logins.identities());
        if let Some(leases) = &self.leases {
            leases.end_pod(uid);
        }
    }
}
