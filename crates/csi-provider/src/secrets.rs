//! Secrets that were read: one request for each identity, path and version within the refresh interval, however many pods
//! and volumes ask. Only callers whose token ScaiVault has accepted for this identity come here, see [`crate::logins`].

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use scaivault_client::{Client, Error, Secret};
use scaivault_contract::{ObjectName, SecretPath, SecretRef};
use tokio::time::Instant;

use crate::{attributes::Pod, config::LoginTarget, mount::repeat};

/// Whom ScaiVault sees: pods of one service account that log in alike are one identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    namespace: ObjectName,
    service_account: ObjectName,
    target: LoginTarget,
}

impl Identity {
    pub(crate) fn new(pod: &Pod, target: &LoginTarget) -> Self {
        let Pod { namespace, service_account, .. } = pod.clone();
        Self { namespace, service_account, target: target.clone() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    identity: Identity,
    path: SecretPath,
    version: Option<NonZeroU32>,
}

/// What was read, and when. The lock is held during a request, so that callers that come at once send one.
type Slot = Arc<tokio::sync::Mutex<Option<(Instant, Arc<Secret>)>>>;

/// All secrets that were read lately.
pub(crate) struct Secrets {
    refresh_interval: Duration,
    slots: Mutex<BTreeMap<Key, Slot>>,
}

impl Secrets {
    pub(crate) fn new(refresh_interval: Duration) -> Self {
        Self { refresh_interval, slots: Mutex::default() }
    }

    /// Reads a secret, or answers it from memory. An error is never kept.
    pub(crate) async fn read(
        &self,
        client: &Client,
        identity: &Identity,
        secret: &SecretRef,
        deadline: Instant,
    ) -> Result<Arc<Secret>, Error> {
        let key = Key { identity: identity.clone(), path: secret.path.clone(), version: secret.version };
        let slot =
            Arc::clone(self.slots.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
        let mut kept = slot.lock().await;
        if let Some((_, secret)) = kept.as_ref().filter(|(since, _)| since.elapsed() < self.refresh_interval)
        {
            return Ok(Arc::clone(secret));
        }
        *kept = None;
        let answer = Arc::new(repeat(deadline, || client.read(&secret.path, secret.version)).await?);
        *kept = Some((Instant::now(), Arc::clone(&answer)));
        Ok(answer)
    }

    /// Forgets secrets that nobody has read for a while.
    pub(crate) fn forget_idle(&self, now: Instant) {
        let is_kept = |slot: &Slot| match slot.try_lock() {
            Ok(kept) => kept.as_ref().is_some_and(|(since, _)| *since + self.refresh_interval > now),
            // A request is under way.
            Err(_) => true,
        };
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, slot| is_kept(slot));
    }

    /// How many secrets are in memory.
    pub(crate) fn count(&self) -> usize {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
