//! Looking after a self-managed certificate: the Secret and the webhook configurations read, the next step taken, and
//! the leaf that is served renewed.

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
    publish::{PublishError, Published, Publisher},
    resolver::CertResolver,
    rotation::{Observation, Policy, Seen, Step, next_step_in, signer, step, trusted_from},
    secret_store::{SecretStore, StoreError},
};

/// How often a look begins again because another replica was faster.
const ATTEMPTS: u32 = 5;

/// Where a self-managed certificate lives and what it says.
#[derive(Clone, Debug)]
pub struct Managed {
    /// The injector's namespace.
    pub namespace: String,
    /// The Secret with the authority.
    pub secret: String,
    /// The name of the mutating and of the validating configuration.
    pub webhook_configuration: String,
    /// The names in the leaf.
    pub names: Vec<String>,
    /// How long things last.
    pub policy: Policy,
}

/// Why a look did not reach its end. What is served stays.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LookError {
    /// The Secret cannot be read, understood or written.
    #[error(transparent)]
    Secret(#[from] StoreError),
    /// A webhook configuration cannot be read or written.
    #[error(transparent)]
    Configuration(#[from] PublishError),
    /// An authority cannot be made.
    #[error(transparent)]
    Authority(#[from] IssueError),
    /// A leaf cannot be made.
    #[error(transparent)]
    Leaf(#[from] MintError),
    /// Others wrote each time between our reading and our writing.
    #[error("{ATTEMPTS} times somebody else wrote the Secret or a webhook configuration first; trying again")]
    Busy,
}

/// What a complete look found and did.
#[derive(Debug)]
pub struct Looked {
    /// When the authority that signs is valid; none while the first one is being made known.
    pub authority: Option<Validity>,
    /// What was done to the Secret.
    pub done: Done,
    /// When to look again at the latest, if the clocks have a part in it.
    pub again_in: Option<Duration>,
    /// How long until the authority that signs is used here, if this replica's clock says that it is not valid yet:
    /// this clock or that of the replica which made it is wrong.
    pub waits: Option<Duration>,
    /// One of the two webhook configurations does not exist; the other is looked after.
    pub missing: Option<PublishError>,
}

/// A step that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// None was due.
    Nothing,
    /// A next authority was made.
    Announced,
    /// Authorities that somebody else made known are trusted for a while.
    Adopted,
    /// The next authority signs from now on.
    Promoted,
    /// Retired authorities are not trusted any more.
    Forgot,
}

/// Looks after the certificate of one replica. Any number of replicas may do so with the same Secret.
pub struct Rotator {
    secret: SecretStore,
    publisher: Publisher,
    names: Vec<String>,
    policy: Policy,
    resolver: Arc<CertResolver>,
    observation: Observation,
    /// Signs our leaves; in memory, so that a leaf can be renewed while the API server is away.
    authority: Option<Arc<Authority>>,
    leaf: Option<MintedLeaf>,
    /// Whether every webhook trusts the leaf's authority, as far as is known.
    is_published: bool,
}

impl Rotator {
    /// With a resolver that has no certificate yet.
    pub fn new(client: Client, managed: Managed) -> (Self, Arc<CertResolver>) {
        let Managed { namespace, secret, webhook_configuration, names, policy } = managed;
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

    /// Looks once, writes what is due, and serves what may be served. Whatever fails, what was served stays.
    pub async fn look(&mut self, now: SystemTime) -> Result<Looked, LookError> {
        // Before the API server is asked: however slow it is, a leaf does not wait for it. A failure comes again below.
        let _ = self.renew_leaf(now);
        let mut looked = Err(LookError::Busy);
        for _ in 0..ATTEMPTS {
            looked = self.attempt(now).await;
            if !looked.as_ref().is_err_and(LookError::is_conflict) {
                break;
            }
        }
        if looked.as_ref().is_err_and(LookError::is_conflict) {
            looked = Err(LookError::Busy);
        }
        // Also when the API server is away. Most often for another authority, else there is one already.
        self.renew_leaf(now)?;
        looked
    }

    /// Whether API servers trust what is served at `now`, as far as is known.
    pub fn is_trusted(&self, now: SystemTime) -> bool {
        self.is_published
            && self.authority.as_ref().is_some_and(|authority| authority.validity().covers(now))
            && self.leaf.as_ref().is_some_and(|leaf| leaf.validity().covers(now))
    }

    /// When the leaf that is served is valid.
    pub fn leaf(&self) -> Option<Validity> {
        self.leaf.as_ref().map(MintedLeaf::validity)
    }

    /// When a new leaf is due.
    pub fn renews_leaf_at(&self) -> Option<SystemTime> {
        self.leaf.as_ref().map(MintedLeaf::renews_at)
    }

    /// The order matters. The configurations are read before the Secret and written only if they are still what was
    /// read, so nobody can overwrite a newer bundle with that of an older state.
    async fn attempt(&mut self, now: SystemTime) -> Result<Looked, LookError> {
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
        let seen = Seen { found: &found, next_for: self.observation.lasted(started) };
        let due = step(&stored.state, seen, now, &self.policy);
        let done = Done::from(&due);
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
        let seen = Seen { found: &found, next_for: self.observation.lasted(written) };
        let again_in = [next_step_in(state, seen, now, &self.policy), waits].into_iter().flatten().min();
        Ok(Looked {
            authority: current.map(Authority::validity),
            done,
            again_in,
            waits,
            missing: published.missing(),
        })
    }

    /// Somebody may have taken our authority out of a configuration.
    fn judge(&mut self, published: &Published) {
        if let Some(authority) = &self.authority {
            self.is_published = published.contains(authority.certificate_der());
        }
    }

    fn renew_leaf(&mut self, now: SystemTime) -> Result<(), MintError> {
        // An authority that is over, or from the future since the clock was set back, signs nothing that anybody would
        // trust.
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

impl LookError {
    fn is_conflict(&self) -> bool {
        match self {
            Self::Secret(error) => error.is_conflict(),
            Self::Configuration(error) => error.is_conflict(),
            _ => false,
        }
    }
}

impl From<&Step> for Done {
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
