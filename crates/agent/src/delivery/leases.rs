//! Generating leases, and giving them back. What is being generated is waited for: of a lease whose answer nobody
//! reads nobody knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use scaivault_client::LeaseId;
use scaivault_contract::DynamicRef;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{Delivery, GIVE_BACK_TIMEOUT};
use crate::{
    config::Source,
    failure::Failure,
    fetch::{self, Patience},
    lease::HeldLease,
    state::StateError,
};

impl Delivery {
    /// Generates a lease for each of `dynamics`, all at once and again until time is up. Returns what failed.
    pub(super) async fn generate(
        &mut self,
        dynamics: BTreeSet<DynamicRef>,
        patience: Patience,
    ) -> Result<Vec<Failure>, StateError> {
        let mut missing: BTreeMap<_, _> =
            dynamics.into_iter().map(|dynamic| (dynamic, patience.pauses())).collect();
        let mut failures = Vec::new();
        loop {
            for dynamic in missing.keys() {
                self.start_generating(dynamic);
            }
            let mut longest = None;
            while let Ok(Some((dynamic, answered))) =
                timeout_at(patience.deadline(), self.generating.next()).await
            {
                let error = match answered {
                    Ok(lease) => {
                        missing.remove(&dynamic);
                        self.hold(dynamic, lease).await?;
                        continue;
                    }
                    Err(error) => error,
                };
                let pause = missing.get_mut(&dynamic).and_then(|pauses| pauses.next(error.retry()));
                if let Some(pause) = pause {
                    tracing::warn!(subject = %dynamic, %error, pause_seconds = pause.as_secs_f64(), "trying again");
                    longest = longest.max(Some(pause));
                } else {
                    missing.remove(&dynamic);
                    failures.push(Failure::of_error(&dynamic, &error));
                }
            }
            // Whoever is still under way has used up the time of all.
            match longest.filter(|_: &Duration| self.generating.is_empty()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => break,
            }
        }
        failures.extend(missing.keys().map(Failure::late));
        Ok(failures)
    }

    /// Sends one request for a lease, unless one is under way. Its answer is to be [held](Self::hold).
    pub(crate) fn start_generating(&mut self, dynamic: &DynamicRef) {
        let (client, wanted) = (Arc::clone(&self.client), dynamic.clone());
        self.generating.start(dynamic, async move {
            let lease = client.generate(&wanted, Duration::from_mins(5)).await?;
            Ok(HeldLease::generated(lease, SystemTime::now()))
        });
    }

    /// Holds a lease that was generated, in place of another. It is kept before it is used.
    pub(crate) async fn hold(&mut self, dynamic: DynamicRef, lease: HeldLease) -> Result<(), StateError> {
        let ttl = lease.ends.duration_since(lease.renewed).unwrap_or_default();
        tracing::info!(%dynamic, lease = %lease.id, ttl_seconds = ttl.as_secs(), "lease generated");
        self.leases.insert(dynamic, lease, SystemTime::now());
        self.save().await
    }

    /// Revokes every lease, all at once and within [`GIVE_BACK_TIMEOUT`], those that are being generated too. What
    /// fails is logged: such a lease ends by itself.
    pub(crate) async fn revoke_all(&mut self) {
        let leases = self.leases.take();
        if !leases.is_empty() {
            self.take_files_away();
        }
        self.revoke(leases).await;
        // A next start must not take up what is revoked.
        if let Err(error) = self.save().await {
            tracing::warn!(%error, "the revoked leases could not be forgotten");
        }
    }

    /// A next start on the same volume must not take dead credentials for files that are there.
    fn take_files_away(&self) {
        let files = self.config.wanted.files.iter();
        let of_leases = files.filter(|spec| matches!(spec.source, Source::Lease(_))).map(|spec| &spec.file);
        if let Err(error) = self.sink.remove(of_leases) {
            tracing::warn!(%error, "files of revoked leases could not be taken away");
        }
    }

    /// Revokes the leases that are being generated: they come too late.
    pub(crate) async fn revoke_late(&mut self) {
        self.revoke(Vec::new()).await;
    }

    async fn revoke(&mut self, leases: Vec<LeaseId>) {
        let deadline = Instant::now() + GIVE_BACK_TIMEOUT;
        let client = &self.client;
        let mut requests = JoinSet::new();
        let mut revoke = |id| requests.spawn(revoke(Arc::clone(client), id, deadline));
        for id in leases {
            revoke(id);
        }
        while let Ok(Some((_, answered))) = timeout_at(deadline, self.generating.next()).await {
            if let Ok(lease) = answered {
                revoke(lease.id);
            }
        }
        if !self.generating.is_empty() {
            tracing::warn!(reason = "it is still being generated", "lease not revoked, it ends by itself");
        }
        requests.join_all().await;
    }
}

async fn revoke(client: Arc<scaivault_client::Client>, lease: LeaseId, deadline: Instant) {
    let patience = Patience::to_give_back(deadline);
    let subject = format!("the lease {lease}");
    match fetch::with_patience(subject, patience, || client.revoke(&lease)).await {
        Ok(()) => tracing::info!(%lease, "lease revoked"),
        Err(failure) => tracing::warn!(%failure, "lease not revoked, it ends by itself"),
    }
}
