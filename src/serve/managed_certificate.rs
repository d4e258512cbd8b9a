//! The certificate that all replicas manage together: its sync loop, log and metrics.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Error;
use kube::Client;
use scaivault_certs::{CertResolver, Change, ManagedCertificate, Rotator, SyncError, SyncReport, Validity};
use scaivault_cluster::unix_seconds;
use scaivault_webhook::{Gate, Metrics, Readiness, SyncFailure};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use super::{certificate::REMINDER, configuration_watch};
use crate::telemetry::LogThrottle;

/// The name of the readiness condition that is unmet until the API servers trust the certificate.
const GATE: &str = "a certificate that the API servers trust";
/// The log message while the signing authority is not valid yet by this clock.
const EARLY: &str = "signing authority is not valid yet by this node's clock, keeping the served certificate; set the clocks of the nodes";
/// The minimum time between two syncs.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
/// The same for syncs triggered by a write to a configuration, so that a client that keeps removing
/// the `caBundle` causes at most one per second.
const SHORTEST_WAIT_IF_WRITTEN: Duration = Duration::from_secs(1);

/// Syncs the Secret and the webhook configurations periodically, when a configuration was written,
/// and at times that depend on the certificates.
pub(super) struct RotatingCertificateManager {
    rotator: Rotator,
    client: Client,
    webhook_configuration: String,
    interval: Duration,
    gate: Gate,
    metrics: Arc<Metrics>,
    /// The last reported leaf.
    leaf: Option<Validity>,
    throttle: LogThrottle<SystemTime>,
}

impl RotatingCertificateManager {
    pub(super) fn new(
        client: Client,
        settings: ManagedCertificate,
        interval: Duration,
        readiness: &Readiness,
        metrics: &Arc<Metrics>,
    ) -> (Self, Arc<CertResolver>) {
        let webhook_configuration = settings.webhook_configuration.clone();
        let (rotator, resolver) = Rotator::new(client.clone(), settings);
        let (gate, metrics) = (readiness.gate(GATE), Arc::clone(metrics));
        let throttle = LogThrottle::new(REMINDER);
        let manager =
            Self { rotator, client, webhook_configuration, interval, gate, metrics, leaf: None, throttle };
        (manager, resolver)
    }

    pub(super) async fn run(self) {
        let written = Arc::new(Notify::new());
        let watch = configuration_watch::watch(
            self.client.clone(),
            self.webhook_configuration.clone(),
            Arc::clone(&written),
        );
        tokio::join!(watch, self.sync_forever(&written));
    }

    async fn sync_forever(mut self, written: &Notify) {
        loop {
            let started = Instant::now();
            let again_in = self.sync(SystemTime::now()).await;
            tokio::select! {
                () = sleep(again_in) => {}
                () = written.notified() => sleep_until(started + SHORTEST_WAIT_IF_WRITTEN).await,
            }
        }
    }

    /// Syncs once; returns the time until the next sync. It is never longer than the interval, so
    /// that a change of the wall clock is noticed.
    async fn sync(&mut self, now: SystemTime) -> Duration {
        let synced = self.rotator.sync(now).await;
        if self.rotator.is_trusted(now) {
            self.gate.open();
        } else {
            self.gate.close();
        }
        self.report_leaf();
        let again_in = match synced {
            Ok(synced) => {
                let again_in = synced.again_in;
                self.report(synced, now);
                again_in
            }
            Err(error) => {
                self.complain(error, now);
                None
            }
        };
        let renewal = self.rotator.renews_leaf_at().map(|time| time.duration_since(now).unwrap_or_default());
        let wait = [again_in, renewal].into_iter().flatten().fold(self.interval, Duration::min);
        wait.max(SHORTEST_WAIT)
    }

    fn report_leaf(&mut self) {
        let leaf = self.rotator.leaf();
        if leaf == self.leaf {
            return;
        }
        if let Some(validity) = leaf {
            let seconds = unix_seconds(validity.not_after);
            if self.leaf.is_some() {
                self.metrics.certificate_replaced(seconds);
            } else {
                self.metrics.certificate_served(seconds);
            }
            tracing::info!(not_after_unix_seconds = seconds, "certificate issued");
        }
        self.leaf = leaf;
    }

    fn report(&mut self, synced: SyncReport, now: SystemTime) {
        let SyncReport { authority, change, again_in: _, waits, missing } = synced;
        let authority_expiry = authority.map(|validity| unix_seconds(validity.not_after));
        self.metrics.ca_bundle_checked(unix_seconds(now), authority_expiry);
        match change {
            Change::Nothing => {}
            Change::Announced => tracing::info!("new authority published to the API servers"),
            Change::Adopted => {
                tracing::info!(
                    "other authorities found in the webhook configurations, trusting them \
                     temporarily"
                );
            }
            Change::Promoted => tracing::info!("new authority promoted, it signs from now on"),
            Change::Forgot => tracing::info!("retired authorities removed"),
        }
        if let Some(missing) = missing {
            self.complain(SyncError::Configuration(missing), now);
        } else if let Some(waits) = waits {
            if self.throttle.is_text_due(EARLY, now) {
                tracing::warn!(seconds = waits.as_secs(), "{EARLY}");
            }
        } else if self.throttle.reset() {
            tracing::info!("certificate sync works again");
        }
    }

    fn complain(&mut self, error: SyncError, now: SystemTime) {
        self.metrics.certificate_sync_failed(match &error {
            SyncError::Secret(_) => SyncFailure::Secret,
            SyncError::Configuration(_) => SyncFailure::Configuration,
            SyncError::Busy => SyncFailure::Conflict,
            _ => SyncFailure::Issue,
        });
        let error = format!("{:#}", Error::new(error));
        if self.throttle.is_text_due(&error, now) {
            let is_serving = self.leaf.is_some();
            tracing::warn!(error, is_serving, "certificate sync failed, keeping the served certificate");
        }
    }
}

#[cfg(test)]
mod tests {
    use scaivault_certs::Policy;

    use super::*;

    #[tokio::test]
    async fn without_an_api_server_no_certificate_is_served() {
        let day = Duration::from_hours(24);
        let settings = ManagedCertificate {
            namespace: "scaivault-system".to_owned(),
            secret: "ca".to_owned(),
            webhook_configuration: "scaivault-injector".to_owned(),
            names: vec!["scaivault-injector.scaivault-system.svc".to_owned()],
            policy: Policy::new(365 * day, day, Duration::ZERO).unwrap(),
        };
        // No server listens there.
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let client = Client::try_from(config).unwrap();
        let (readiness, metrics) = (Readiness::new(), Metrics::new());
        let (mut manager, resolver) =
            RotatingCertificateManager::new(client, settings, day, &readiness, &metrics);
        assert_eq!(manager.sync(SystemTime::now()).await, day, "no moment is nearer than the interval");
        assert_eq!(readiness.check(), Err(format!("waiting for {GATE}")));
        assert!(resolver.current().is_none());
        let text = metrics.encode().unwrap();
        assert!(text.contains(r#"certificate_sync_failures_total{reason="configuration"} 1"#), "{text}");
        assert!(manager.throttle.reset());
    }
}
