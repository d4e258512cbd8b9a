//! The source of the served certificate, and the task that maintains it.

use std::{
    fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Error};
use kube::Client;
use scaivault_certs::{Authority, CertResolver, CheckResult, DEFAULT_RELOAD_INTERVAL, Reloader, Validity};
use scaivault_cluster::unix_seconds;
use scaivault_webhook::{Gate, Metrics, Readiness};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    args::{Certificate, LocalCertificate},
    managed_certificate::RotatingCertificateManager,
};
use crate::telemetry::LogThrottle;

/// The validity of a self-signed certificate: long enough for a demo, too short for production.
const SELF_SIGNED_VALIDITY: Duration = Duration::from_hours(30 * 24);
/// The minimum time between log lines about a certificate that expires soon.
pub(super) const REMINDER: Duration = Duration::from_hours(1);
/// The name of the readiness condition that is unmet after the certificate has expired.
const GATE: &str = "a certificate that has not expired";

/// A certificate with its authority, created in memory.
pub(super) struct SelfSigned {
    pub(super) resolver: Arc<CertResolver>,
    pub(super) ca_pem: String,
    pub(super) validity: Validity,
}

impl SelfSigned {
    /// For the loopback names and `names`.
    pub(super) fn new(names: &[String], now: SystemTime) -> anyhow::Result<Self> {
        let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        all.extend_from_slice(names);
        let authority = Authority::new("scaivault-injector self-signed", now, SELF_SIGNED_VALIDITY)?;
        let leaf = authority.issue(&all, now, SELF_SIGNED_VALIDITY)?;
        let key = leaf.certified_key().context("cannot use the new certificate")?;
        Ok(Self {
            resolver: Arc::new(CertResolver::new(key)),
            ca_pem: authority.certificate_pem().to_owned(),
            validity: leaf.validity(),
        })
    }

    /// Sets the expiry metric.
    pub(super) fn show(&self, metrics: &Metrics) {
        metrics.certificate_served(unix_seconds(self.validity.not_after));
    }
}

/// Maintains the served certificate.
pub(super) enum CertificateManager {
    /// From files, or self-signed.
    Local(LocalCertificateManager),
    /// Managed together with the other replicas.
    Managed(Box<RotatingCertificateManager>),
}

impl CertificateManager {
    /// The selected certificate and its maintenance. `client` is only used for a managed
    /// certificate.
    pub(super) fn new(
        certificate: &Certificate<'_>,
        client: Option<Client>,
        readiness: &Readiness,
        metrics: &Arc<Metrics>,
        now: SystemTime,
    ) -> anyhow::Result<(Self, Arc<CertResolver>)> {
        match certificate {
            Certificate::Local(local) => {
                let (manager, resolver) = LocalCertificateManager::new(local, readiness, metrics, now)?;
                Ok((Self::Local(manager), resolver))
            }
            Certificate::Managed { managed, interval } => {
                let client = client.context(
                    "--tls-secret requires --cluster, to access the Secret and the webhook \
                     configurations",
                )?;
                let settings = managed.clone();
                let (manager, resolver) =
                    RotatingCertificateManager::new(client, settings, *interval, readiness, metrics);
                Ok((Self::Managed(Box::new(manager)), resolver))
            }
        }
    }

    /// Maintains it for ever.
    pub(super) async fn run(self) {
        match self {
            Self::Local(manager) => manager.run().await,
            Self::Managed(manager) => manager.run().await,
        }
    }
}

/// Reloads the files, warns before the certificate expires, and makes the server not ready when it
/// has expired.
pub(super) struct LocalCertificateManager {
    /// `None` for a self-signed certificate, which is not renewed.
    reloader: Option<Reloader>,
    interval: Duration,
    validity: Validity,
    gate: Gate,
    metrics: Arc<Metrics>,
    throttle: LogThrottle<SystemTime>,
}

impl LocalCertificateManager {
    /// The selected certificate and its maintenance.
    fn new(
        certificate: &LocalCertificate<'_>,
        readiness: &Readiness,
        metrics: &Arc<Metrics>,
        now: SystemTime,
    ) -> anyhow::Result<(Self, Arc<CertResolver>)> {
        let (reloader, interval, resolver, validity) = match *certificate {
            LocalCertificate::Directory { directory, interval } => {
                let (reloader, resolver, validity) = Reloader::new(directory, now)?;
                (Some(reloader), interval, resolver, validity)
            }
            LocalCertificate::SelfSigned { names, ca_out } => {
                let SelfSigned { resolver, ca_pem, validity } = SelfSigned::new(names, now)?;
                if let Some(path) = ca_out {
                    fs::write(path, ca_pem).with_context(|| format!("cannot write {}", path.display()))?;
                }
                (None, DEFAULT_RELOAD_INTERVAL, resolver, validity)
            }
        };
        metrics.certificate_served(unix_seconds(validity.not_after));
        let (gate, metrics) = (readiness.gate(GATE), Arc::clone(metrics));
        let mut manager =
            Self { reloader, interval, validity, gate, metrics, throttle: LogThrottle::new(REMINDER) };
        manager.judge(now);
        Ok((manager, resolver))
    }

    /// Checks it for ever. The two files are small and on tmpfs, so blocking reads are acceptable.
    async fn run(mut self) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.sync(SystemTime::now());
        }
    }

    fn sync(&mut self, now: SystemTime) {
        match self.reloader.as_mut().map(|reloader| reloader.check(now)) {
            Some(CheckResult::Replaced(validity)) => {
                self.validity = validity;
                self.throttle.reset();
                let seconds = unix_seconds(validity.not_after);
                self.metrics.certificate_replaced(seconds);
                tracing::info!(not_after_unix_seconds = seconds, "certificate replaced");
            }
            Some(CheckResult::Kept(error)) => {
                self.metrics.certificate_kept();
                let error = format!("{:#}", Error::new(error));
                tracing::warn!(error, "new certificate rejected, keeping the previous one");
            }
            Some(CheckResult::Unchanged) | None => {}
        }
        self.metrics.certificate_refused(self.reloader.as_ref().is_some_and(Reloader::is_refused));
        self.judge(now);
    }

    fn judge(&mut self, now: SystemTime) {
        let is_over = self.validity.is_over(now);
        if is_over {
            self.gate.close();
        } else {
            self.gate.open();
        }
        if let Some(left) = self.validity.nearly_over(now)
            && self.throttle.is_due(now)
        {
            let left_seconds = left.as_secs();
            if is_over {
                tracing::error!("the certificate has expired: no API server accepts it; renew it");
            } else {
                tracing::warn!(
                    left_seconds,
                    "less than a tenth of the certificate's lifetime is left; renew it"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_depends_on_a_valid_certificate() {
        let directory = tempfile::tempdir().unwrap();
        let start = SystemTime::now();
        let day = Duration::from_hours(24);
        let write = |now| {
            let authority = Authority::new("tests", now, 30 * day).unwrap();
            let leaf = authority.issue(&["localhost".into()], now, day).unwrap();
            fs::write(directory.path().join("tls.crt"), leaf.certificate_pem()).unwrap();
            fs::write(directory.path().join("tls.key"), leaf.key_pem()).unwrap();
        };
        write(start);
        let (readiness, metrics) = (Readiness::new(), Metrics::new());
        let certificate = LocalCertificate::Directory { directory: directory.path(), interval: day };
        let (mut manager, _resolver) =
            LocalCertificateManager::new(&certificate, &readiness, &metrics, start).unwrap();
        assert_eq!(readiness.check(), Ok(()));

        manager.sync(start + day / 2);
        assert_eq!((readiness.check(), manager.throttle.last()), (Ok(()), None));
        let late = start + day - REMINDER;
        manager.sync(late);
        manager.sync(late + REMINDER / 2);
        assert_eq!((readiness.check(), manager.throttle.last()), (Ok(()), Some(late)), "once an hour");
        manager.sync(start + day);
        assert_eq!(readiness.check(), Err(format!("waiting for {GATE}")));

        write(start + day);
        manager.sync(start + day);
        assert_eq!((readiness.check(), manager.throttle.last()), (Ok(()), None));
    }

    #[test]
    fn a_rejected_certificate_is_reported_while_it_exists() {
        let directory = tempfile::tempdir().unwrap();
        let start = SystemTime::now();
        let authority = Authority::new("tests", start, SELF_SIGNED_VALIDITY).unwrap();
        let leaf = authority.issue(&["localhost".into()], start, SELF_SIGNED_VALIDITY).unwrap();
        fs::write(directory.path().join("tls.crt"), leaf.certificate_pem()).unwrap();
        fs::write(directory.path().join("tls.key"), leaf.key_pem()).unwrap();
        let metrics = Metrics::new();
        let certificate = LocalCertificate::Directory { directory: directory.path(), interval: REMINDER };
        let (mut manager, _resolver) =
            LocalCertificateManager::new(&certificate, &Readiness::new(), &metrics, start).unwrap();
        let mut sync = |crt: &str| {
            fs::write(directory.path().join("tls.crt"), crt).unwrap();
            manager.sync(start);
            let text = metrics.encode().unwrap();
            ["certificate_refused 1\n", "certificate_reloads_total{result=\"kept\"} 1\n"]
                .map(|line| text.contains(line))
        };
        assert_eq!(sync("not a certificate"), [true, true]);
        assert_eq!(sync("not a certificate"), [true, true], "counted once, and refused still");
        assert_eq!(sync(&leaf.certificate_pem()), [false, true]);
    }
}
