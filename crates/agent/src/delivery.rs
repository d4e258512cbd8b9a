//! The first fetch, which both containers do: log in, read, hold leases, write.

use std::{
    collections::BTreeSet,
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use scaivault_client::{Client, Settings, SetupError, SubscriptionId, Timeouts, Trust};
use scaivault_contract::DynamicRef;
use thiserror::Error;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    compose::{Composition, Variables, compose},
    config::{Config, Server, Source},
    exit::Exit,
    failure::Failure,
    fetch::{self, Answers, Key, Patience},
    lease::HeldLease,
    sink::{Mounts, NewFile, Outcome, Sink, SinkError},
    state::{Leases, Resumed, StateError, Store},
};

/// How long giving back may take at the end, with all tries. The kubelet's default grace period is 30 s for all of the pod.
pub(crate) const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(10);

/// All that is needed to deliver secrets into files.
pub(crate) struct Delivery {
    pub(crate) config: Config,
    pub(crate) client: Arc<Client>,
    pub(crate) sink: Sink,
    pub(crate) leases: Leases,
    /// Leases that others have taken the place of: the application may still use them until they end.
    replaced: Vec<HeldLease>,
    /// The subscription to events, to be deleted at the end.
    pub(crate) subscription: Option<SubscriptionId>,
    store: Store,
}

impl Delivery {
    /// Resumes what the start before left.
    pub(crate) async fn new(config: Config) -> Result<Self, DeliveryError> {
        let client = Arc::new(client(&config.server)?);
        let sink = sink(&config)?;
        let store = Store::new(config.state_dir.clone());
        let Resumed { token, leases, subscription } = store.load();
        if let Some(token) = token {
            client.resume(token).await;
        }
        Ok(Self { config, client, sink, leases, replaced: Vec::new(), subscription, store })
    }

    /// Every secret that is wanted.
    pub(crate) fn keys(&self) -> BTreeSet<Key> {
        let wanted = &self.config.wanted;
        let of_files = wanted.files.iter().filter_map(|spec| match &spec.source {
            Source::Secret(secret) => Some(Key::of(secret)),
            Source::Lease(_) => None,
        });
        of_files.chain(wanted.variables.iter().map(|mapping| Key::of(&mapping.secret))).collect()
    }

    /// Every secret of the variables' file.
    pub(crate) fn variables(&self) -> BTreeSet<Key> {
        self.config.wanted.variables.iter().map(|mapping| Key::of(&mapping.secret)).collect()
    }

    /// Every dynamic secret that is wanted: files of the same one share a lease.
    pub(crate) fn dynamics(&self) -> BTreeSet<DynamicRef> {
        let sources = self.config.wanted.files.iter().map(|spec| &spec.source);
        let dynamics = sources.filter_map(|source| match source {
            Source::Secret(_) => None,
            Source::Lease(dynamic) => Some(dynamic.clone()),
        });
        dynamics.collect()
    }

    /// Reads all that is wanted, and makes sure that every dynamic secret has a lease that can be used. The failures are
    /// of leases; those of secrets stand in the answers.
    pub(crate) async fn fetch(&mut self, patience: Patience) -> Result<(Answers, Vec<Failure>), StateError> {
        let client = Arc::clone(&self.client);
        let login = fetch::with_patience("the login", patience, || client.login());
        if let Err(login) = login.await {
            let answers = self.keys().into_iter().map(|key| (key, Err(login.clone()))).collect();
            return Ok((answers, vec![login]));
        }
        // Kept before the leases are made, so that a restart in between does not log in again.
        self.save().await?;
        let answers = fetch::read_all(&self.client, self.keys(), patience).await;
        let mut failures = Vec::new();
        for dynamic in self.dynamics() {
            let now = SystemTime::now();
            if self.leases.0.get(&dynamic).is_some_and(|lease| lease.is_usable(now)) {
                continue;
            }
            // Nobody uses it from now on, but it may live on: the clock may have been set back.
            self.replaced.extend(self.leases.0.remove(&dynamic));
            if let Err(failure) = self.generate(&dynamic, patience).await? {
                failures.push(failure);
            }
        }
        Ok((answers, failures))
    }

    /// Generates a lease in place of one that is held. The new one is kept before it is used.
    pub(crate) async fn generate(
        &mut self,
        dynamic: &DynamicRef,
        patience: Patience,
    ) -> Result<Result<(), Failure>, StateError> {
        let client = Arc::clone(&self.client);
        match fetch::with_patience(dynamic, patience, || client.generate(dynamic)).await {
            Ok(lease) => {
                tracing::info!(%dynamic, lease = %lease.id, ttl_seconds = lease.term.ttl.as_secs(), "lease generated");
                let now = SystemTime::now();
                self.replaced.extend(self.leases.0.insert(dynamic.clone(), HeldLease::generated(lease, now)));
                self.replaced.retain(|lease| !lease.has_ended(now));
                self.save().await?;
                Ok(Ok(()))
            }
            Err(failure) => Ok(Err(failure)),
        }
    }

    /// Keeps login and leases for the next start.
    pub(crate) async fn save(&self) -> Result<(), StateError> {
        if self.store.keeps() {
            let token = self.client.token().await;
            self.store.save(token.as_ref(), &self.leases, self.subscription.as_ref())?;
        }
        Ok(())
    }

    /// What can be written of these answers and the leases that are held.
    pub(crate) fn compose(&self, answers: &Answers, variables: Variables) -> Composition<'_> {
        compose(&self.config.wanted, answers, &self.leases, variables)
    }

    /// Writes what differs and says which files did.
    pub(crate) fn write<'t>(&self, composition: &Composition<'t>, gives_up: bool) -> Outcome<'t> {
        let files: Vec<_> = composition
            .files
            .iter()
            .map(|file| NewFile { target: file.target, mode: file.mode, bytes: &file.bytes })
            .collect();
        self.sink.write(&files, gives_up)
    }

    /// Whether the agent's own start before left every file.
    pub(crate) fn is_complete(&self) -> bool {
        self.sink.is_ready(false)
    }

    /// Ends a start that has failed. Where nothing is kept nobody would find its leases again; where something is, a
    /// login that ScaiVault took no more must not be there for the next start.
    pub(crate) async fn abandon(&mut self) {
        if !self.store.keeps() {
            self.revoke_all().await;
        } else if let Err(error) = self.save().await {
            tracing::warn!(%error, "the next start does not find the leases of this one, revoking them");
            self.revoke_all().await;
        }
    }

    /// Whether there is a lease to give back.
    pub(crate) fn has_leases(&self) -> bool {
        !self.leases.0.is_empty() || !self.replaced.is_empty()
    }

    /// Revokes every lease, all at once and within [`GIVE_BACK_TIMEOUT`]. What fails is logged: such a lease ends by itself.
    pub(crate) async fn revoke_all(&mut self) {
        let patience = Patience::to_give_back(Instant::now() + GIVE_BACK_TIMEOUT);
        let mut requests = JoinSet::new();
        for lease in std::mem::take(&mut self.leases.0).into_values().chain(self.replaced.drain(..)) {
            let client = Arc::clone(&self.client);
            requests.spawn(async move {
                let subject = format!("the lease {}", lease.id);
                let revoked = fetch::with_patience(subject, patience, || client.revoke(&lease.id)).await;
                match revoked {
                    Ok(()) => tracing::info!(lease = %lease.id, "lease revoked"),
                    Err(failure) => tracing::warn!(%failure, "lease not revoked, it ends by itself"),
                }
            });
        }
        requests.join_all().await;
        // A next start must not take up what is revoked.
        if let Err(error) = self.save().await {
            tracing::warn!(%error, "the revoked leases could not be forgotten");
        }
    }
}

/// Where the configured files go.
pub(crate) fn sink(config: &Config) -> Result<Sink, DeliveryError> {
    Ok(Sink::new(config.wanted.targets(), &Mounts::of_process().map_err(DeliveryError::Mounts)?))
}

fn client(server: &Server) -> Result<Client, SetupError> {
    let Server { address, login, ca_file, proxy } = server.clone();
    Client::new(Settings {
        address,
        login,
        trust: ca_file.map_or(Trust::BuiltIn, Trust::File),
        proxy,
        tenant: None,
        timeouts: Timeouts::default(),
    })
}

/// Why nothing can be delivered at all.
#[derive(Debug, Error)]
pub(crate) enum DeliveryError {
    /// The client.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The kernel's list of mounts.
    #[error("cannot read the list of mounts: {0}")]
    Mounts(io::Error),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The volumes.
    #[error(transparent)]
    Sink(#[from] SinkError),
}

impl DeliveryError {
    /// How the agent ends for it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Setup(_) => Exit::Invalid,
            Self::Mounts(_) | Self::State(_) | Self::Sink(_) => Exit::Failed,
        }
    }
}
