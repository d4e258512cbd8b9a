//! What the agent holds for its whole life, and what it does with it: log in, read, hold leases, write, give back.

use std::{
    collections::BTreeSet,
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use scaivault_client::{Client, Settings, SetupError, SubscriptionId, Timeouts, Trust};
use scaivault_contract::DynamicRef;
use thiserror::Error;

use crate::{
    compose::{Composition, Variables, compose},
    config::{Config, Server, Source},
    exit::Exit,
    failure::Failure,
    fetch::{self, Answers, Key, Patience},
    lease::HeldLease,
    leases::Leases,
    sink::{Mounts, NewFile, Outcome, Sink, SinkError},
    state::{Resumed, StateError, Store},
};

mod leases;
mod requests;

pub(crate) use requests::Requests;

/// How long giving back may take at the end, with all tries. The kubelet's default grace period is 30 s for all of the pod.
pub(crate) const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(10);

/// All that is needed to deliver secrets into files.
pub(crate) struct Delivery {
    pub(crate) config: Config,
    pub(crate) client: Arc<Client>,
    pub(crate) sink: Sink,
    pub(crate) leases: Leases,
    /// Leases that are being generated.
    pub(crate) generating: Requests<HeldLease>,
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
        Ok(Self { config, client, sink, leases, generating: Requests::new(), subscription, store })
    }

    /// Every secret that is wanted.
    pub(crate) fn keys(&self) -> BTreeSet<Key> {
        let wanted = &self.config.wanted;
        let of_files = wanted.files.iter().filter_map(|spec| match &spec.source {
            Source::Secrets(source) => Some(source.secrets().map(Key::of)),
            Source::Lease(_) => None,
        });
        of_files.flatten().chain(wanted.variables.iter().map(|mapping| Key::of(&mapping.secret))).collect()
    }

    /// Every secret of the variables' file.
    pub(crate) fn variables(&self) -> BTreeSet<Key> {
        self.config.wanted.variables.iter().map(|mapping| Key::of(&mapping.secret)).collect()
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

    /// Reads all that is wanted, and makes sure that every dynamic secret has a lease that can be used. The failures are
    /// of leases; those of secrets stand in the answers.
    ///
    /// With `needs_all` no lease is generated where a secret is missing: nobody would use it.
    pub(crate) async fn fetch(
        &mut self,
        patience: Patience,
        needs_all: bool,
    ) -> Result<(Answers, Vec<Failure>), StateError> {
        let client = Arc::clone(&self.client);
        if let Err(login) = fetch::log_in(&client, patience).await {
            return Ok((fetch::refused(self.keys(), &login), vec![login]));
        }
        // Kept before the leases are made, so that a restart in between does not log in again.
        self.save().await?;
        let missing = self.leases.missing(self.dynamics(), SystemTime::now());
        let reading = fetch::read_all(&client, self.keys(), patience);
        if needs_all {
            let answers = reading.await;
            let is_lacking = !self.compose(&answers, Variables::AllOrNone).failures.is_empty();
            let missing = if is_lacking { BTreeSet::new() } else { missing };
            Ok((answers, self.generate(missing, patience).await?))
        } else {
            // Beside each other: what hangs must not take the time of the rest.
            let (answers, failures) = tokio::join!(reading, self.generate(missing, patience));
            Ok((answers, failures?))
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

    /// Whether the agent's own start before got as far as to let the application run: every file is there that there was to
    /// be, but perhaps for those of leases, which it took away with what it gave back.
    pub(crate) fn was_started(&self) -> bool {
        let mut lasting = self.config.wanted.lasting_targets().peekable();
        self.sink.is_ready(self.config.fail_open) || lasting.peek().is_some() && self.sink.has(lasting)
    }
}

/// Where the configured files go.
pub(crate) fn sink(config: &Config) -> Result<Sink, DeliveryError> {
    Ok(Sink::new(config.wanted.targets(), &Mounts::of_process().map_err(DeliveryError::Mounts)?))
}

fn client(server: &Server) -> Result<Client, SetupError> {
    let Server { address, login, ca_file, proxy, tenant } = server.clone();
    Client::new(Settings {
        address,
        login,
        trust: ca_file.map_or(Trust::BuiltIn, Trust::File),
        proxy,
        tenant,
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
