//! What the agent holds for its whole life: its configuration, the client, the files' places, leases, and the state of them.

use std::{collections::BTreeSet, sync::Arc};

use scaivault_client::{Client, HeldLease, LeaseId, SubscriptionId};
use scaivault_contract::DynamicRef;
use scaivault_render::Source;

use crate::{
    config::{Config, Container},
    exit::Ending,
    initial_fetch::StartKind,
    leases::Leases,
    sink::{Owner, Sink, Target},
    state::{Resumed, StateError, Store},
};

mod leases;
mod requests;
mod subscription;

pub(crate) use leases::{GIVE_BACK_TIMEOUT, STOP_TIMEOUT, Wait};
pub(crate) use requests::Requests;

/// All that is needed to deliver secrets into files.
pub(crate) struct Delivery {
    pub(crate) config: &'static Config,
    pub(crate) client: Arc<Client>,
    pub(crate) sink: &'static Sink,
    pub(crate) leases: Leases,
    /// Leases that are being generated.
    pub(crate) generating: Requests<DynamicRef, HeldLease>,
    /// Leases that are being revoked.
    pub(crate) revoking: Requests<LeaseId, ()>,
    /// The subscription to events, to be deleted at the end.
    pub(crate) subscription: Option<SubscriptionId>,
    store: Store,
}

impl Delivery {
    /// Resumes what the start before left.
    pub(crate) fn new(config: Config) -> Result<Self, Ending> {
        let client = Arc::new(Client::new(config.server.clone())?);
        // For the life of the process: files that are being written borrow from both, and there is one of each.
        let sink = &*Box::leak(Box::new(sink(&config)));
        let config = &*Box::leak(Box::new(config));
        let store = Store::new(config.state_dir.clone());
        let Resumed { token, leases, subscription } = store.load();
        if let Some(token) = token {
            client.resume(token);
        }
        let (generating, revoking) = (Requests::new(), Requests::new());
        Ok(Self { config, client, sink, leases, generating, revoking, subscription, store })
    }

    /// Every dynamic secret that is wanted: files of the same one share a lease.
    pub(crate) fn dynamics(&self) -> BTreeSet<DynamicRef> {
        let sources = self.config.wanted.files.iter().map(|spec| &spec.source);
        let dynamics = sources.filter_map(|source| match source {
            Source::Secrets(_) => None,
            Source::Lease(dynamic) => Some(dynamic.clone()),
        });
        dynamics.collect()
    }

    /// Keeps login and leases for the next start.
    pub(crate) fn save(&self) -> Result<(), StateError> {
        self.store.save(self.client.token().as_ref(), &self.leases, self.subscription.as_ref())
    }

    /// Marks the files as those that the application knows: a next start does not need to notify it.
    pub(crate) fn set_told(&self) {
        if let Err(error) = self.sink.set_told() {
            tracing::warn!(%error, "not marked as notified; a restart notifies the application again");
        }
    }

    /// What an earlier start left.
    pub(crate) fn start_kind(&self) -> StartKind {
        let is_restart = self.sink.was_told() || self.sink.is_ready(self.config.fail_open);
        if is_restart { StartKind::Restart } else { StartKind::Cold }
    }
}

/// Where the configured files go.
pub(crate) fn sink(config: &Config) -> Sink {
    let files = config.wanted.files.iter().map(|spec| (&spec.file, spec.optional, true));
    // Variables are read at the application's start alone.
    let variables = config.wanted.variables_file.iter().map(|file| (file, false, false));
    let target = |(file, is_optional, is_signalled)| Target { file, is_optional, is_signalled };
    let owner = Owner { is_sidecar: config.container == Container::Sidecar, pod_uid: config.pod_uid.clone() };
    Sink::new(files.chain(variables).map(target), &config.wanted.mount_points, owner)
}
