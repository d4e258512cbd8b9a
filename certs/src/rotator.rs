//! Maintains a self-managed certificate: reads the Secret and the webhook configurations, takes the
//! next step, and renews the served leaf.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use kube::Client;
use thiserror::Error;

use crate::{
    authority::{Authority, IssueError},
    files::Validity,
    leaf::{MintError, MintedLeaf},
    publish::{PublishError, Publisher, WebhookBundles},
    rotation::{Observation, Observed, Policy, Step, next_step_in, signer, step, trusted_from},
    secret_store::{SecretStore, StoreError},
    tls::CertResolver,
};

/// How often a sync is retried because another replica wrote first.
const ATTEMPTS: u32 = 5;

/// The location and the settings of a self-managed certificate.
#[derive(Clone, Debug)]
pub struct ManagedCertificate {
    /// The injector's namespace.
    pub namespace: String,
    /// The Secret with the authority.
    pub secret: String,
    /// The name of the mutating and of the validating configuration.
    pub webhook_configuration: String,
    /// The names in the leaf.
    pub names: Vec<String>,
    /// The lifetimes of authority and leaf, and the settle delay.
    pub policy: Policy,
}

/// Why a sync failed. The served certificate is kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The Secret cannot be read, parsed or written.
    #[error(transparent)]
    Secret(#[from] StoreError),
    /// A webhook configuration cannot be read or written.
    #[error(transparent)]
    Configuration(#[from] PublishError),
    /// An authority could not be created.
    #[error(transparent)]
    Authority(#[from] IssueError),
    /// A leaf could not be created.
    #[error(transparent)]
    Leaf(#[from] MintError),
    /// Other replicas wrote between read and write in each attempt.
    #[error("the Secret or a webhook configuration changed during each of {ATTEMPTS} attempts; retrying")]
    Busy,
}

/// The result of a complete sync.
#[derive(Debug)]
pub struct SyncReport {
    /// The validity of the signing authority; `None` while the first one is being announced.
    pub authority: Option<Validity>,
    /// The change to the Secret.
    pub change: Change,
    /// When the next sync is due at the latest, if time alone can require one.
    pub again_in: Option<Duration>,
    /// How long until the signing authority can be used here, if this replica's clock says that it
    /// is not valid yet: either this clock or that of the replica that created it is wrong.
    pub waits: Option<Duration>,
    /// One of the two webhook configurations does not exist; the other is maintained.
    pub missing: Option<PublishError>,
}

/// A step that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// No step was due.
    Nothing,
    /// A next authority was created.
    Announced,
    /// Foreign authorities are trusted for a while.
    Adopted,
    /// The next authority now signs.
    Promoted,
    /// Retired authorities are no longer trusted.
    Forgot,
}

/// Maintains the certificate of one replica. Any number of replicas may do so with the same Secret.
pub struct Rotator {
    secret: SecretStore,
    publisher: Publisher,
    names: Vec<String>,
    policy: Policy,
    resolver: Arc<CertResolver>,
    observation: Observation,
    /// Signs this replica's leaves. In memory, so that a leaf can be renewed while the API server
    /// is unavailable.
    authority: Option<Arc<Authority>>,
    leaf: Option<MintedLeaf>,
    /// Whether every webhook trusts the leaf's authority, as of the last sync.
    is_published: bool,
}

impl Rotator {
    /// Starts with a resolver that has no certificate.
    pub fn new(client: Client, managed: ManagedCertificate) -> (Self, Arc<CertResolver>) {
        let ManagedCertificate { namespace, secret, webhook_configuration, names, policy } = managed;
        let resolver = Arc::new(CertResolver::empty());
        let rotator = Self {
            secret: SecretStore::new(client.clone(), &namespace, &secret),
            publisher: Publisher::new(client, &webhook_configuration),
            names,
            policy,
            resolver: Arc::clone(&resolver),
            observation: Observation::default(),
            authority: None,
            leaf: None,
            is_published: false,
        };
        (rotator, resolver)
    }

    /// Reads the objects, writes the next step, and updates the served certificate. After an error
    /// the served certificate is kept.
    pub async fn sync(&mut self, now: SystemTime) -> Result<SyncReport, SyncError> {
        // First, without the API server, so that a slow API server does not delay the renewal. The
        // same call below reports the error.
        let _ = self.renew_leaf(now);
        let mut synced = Err(SyncError::Busy);
        for _ in 0..ATTEMPTS {
            synced = self.attempt(now).await;
            if !synced.as_ref().is_err_and(SyncError::is_conflict) {
                break;
            }
        }
        if synced.as_ref().is_err_and(SyncError::is_conflict) {
            synced = Err(SyncError::Busy);
        }
        // Also if the API server is unavailable. Usually a no-op, unless the authority has changed.
        self.renew_leaf(now)?;
        synced
    }

    /// Whether API servers trust the served certificate at `now`, as of the last sync.
    pub fn is_trusted(&self, now: SystemTime) -> bool {
        self.is_published
            && self.authority.as_ref().is_some_and(|authority| authority.validity().covers(now))
            && self.leaf.as_ref().is_some_and(|leaf| leaf.validity().covers(now))
    }

    /// The validity of the served leaf.
    pub fn leaf(&self) -> Option<Validity> {
        self.leaf.as_ref().map(MintedLeaf::validity)
    }

    /// When the leaf will be renewed.
    pub fn renews_leaf_at(&self) -> Option<SystemTime> {
        self.leaf.as_ref().map(MintedLeaf::renews_at)
    }

    /// The order matters. The configurations are read before the Secret and written only if they
    /// have not changed since, so a bundle of an older state cannot overwrite a newer one.
    async fn attempt(&mut self, now: SystemTime) -> Result<SyncReport, SyncError> {
        let started = Instant::now();
        let published = self.publisher.read().await.inspect_err(|error| {
            if matches!(error, PublishError::Missing { .. }) {
                self.is_published = false;
            }
        })?;
        self.judge(&published);
        let mut stored = self.secret.read().await?;
        let is_known = |certificate| published.contains(certificate);
        let next = stored.state.next_certificate();
        self.observation.record(next, next.is_some_and(is_known), Instant::now());

        let found = published.found();
        let seen = Observed { found: &found, next_for: self.observation.lasted(started) };
        let due = step(&stored.state, seen, now, &self.policy);
        let change = Change::from(&due);
        if let Some(state) = stored.state.after(due, now, &self.policy)? {
            stored = self.secret.replace(stored, state).await?;
        }
        let state = &stored.state;

        let bundle = state.bundle();
        self.publisher.write(&published, &bundle).await?;
        let written = Instant::now();
        self.observation.record(state.next_certificate(), true, written);
        self.authority = signer(state, self.authority.take(), now);
        self.is_published =
            self.authority.as_ref().is_some_and(|authority| bundle.contains(authority.certificate_der()));
        let current = state.current.as_deref();
        let waits = current.and_then(|current| trusted_from(current).duration_since(now).ok());
        let waits = waits.filter(|waits| !waits.is_zero());
        let seen = Observed { found: &found, next_for: self.observation.lasted(written) };
        let again_in = [next_step_in(state, seen, now, &self.policy), waits].into_iter().flatten().min();
        Ok(SyncReport {
            authority: current.map(Authority::validity),
            change,
            again_in,
            waits,
            missing: published.missing(),
        })
    }

    /// Updates `is_published`: another client may have removed the authority from a configuration.
    fn judge(&mut self, published: &WebhookBundles) {
        if let Some(authority) = &self.authority {
            self.is_published = published.contains(authority.certificate_der());
        }
    }

    fn renew_leaf(&mut self, now: SystemTime) -> Result<(), MintError> {
        // An authority that has expired, or that is not valid yet since the clock was set back,
        // cannot sign a leaf that a client would trust.
        let Some(authority) = self.authority.as_ref().filter(|authority| authority.validity().covers(now))
        else {
            return Ok(());
        };
        if self.leaf.as_ref().is_some_and(|leaf| leaf.is_good(authority, now)) {
            return Ok(());
        }
        let (leaf, key) = MintedLeaf::mint(authority, &self.names, now, self.policy.leaf_lifetime())?;
        self.resolver.replace(key);
        self.leaf = Some(leaf);
        Ok(())
    }
}

impl SyncError {
    fn is_conflict(&self) -> bool {
        match self {
            Self::Secret(error) => error.is_conflict(),
            Self::Configuration(error) => error.is_conflict(),
            _ => false,
        }
    }
}

impl From<&Step> for Change {
    fn from(step: &Step) -> Self {
        match step {
            Step::Keep => Self::Nothing,
            Step::Announce { .. } => Self::Announced,
            Step::Adopt { .. } => Self::Adopted,
            Step::Promote => Self::Promoted,
            Step::Forget => Self::Forgot,
        }
    }
}

#[cfg(test)]
mod tests;
