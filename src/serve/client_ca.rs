//! The authorities of `--client-ca`, and the task that reloads them.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Error};
use scaivault_certs::{CheckResult, ClientAuthorities, ClientAuthoritiesReloader, SkippedCertificates};
use scaivault_webhook::Metrics;
use tokio::time::{MissedTickBehavior, interval};

/// Reloads the file when it changes.
pub(super) struct ClientCaFollower {
    reloader: ClientAuthoritiesReloader,
    interval: Duration,
    metrics: Arc<Metrics>,
}

impl ClientCaFollower {
    /// Reads the file; if it cannot be used, the start fails.
    pub(super) fn new(
        path: &Path,
        interval: Duration,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<(Self, ClientAuthorities)> {
        let (reloader, authorities, skipped) =
            ClientAuthoritiesReloader::new(path).context("cannot use --client-ca")?;
        warn_of(&skipped);
        Ok((Self { reloader, interval, metrics: Arc::clone(metrics) }, authorities))
    }

    /// Checks the file for ever. It is small and usually on tmpfs, so blocking reads are
    /// acceptable.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.sync();
        }
    }

    fn sync(&mut self) {
        match self.reloader.check() {
            CheckResult::Unchanged => {}
            CheckResult::Replaced(skipped) => {
                self.metrics.client_ca_replaced();
                tracing::info!("authorities of --client-ca replaced");
                warn_of(&skipped);
            }
            CheckResult::Kept(error) => {
                self.metrics.client_ca_rejected();
                let error = format!("{:#}", Error::new(error));
                tracing::warn!(error, "new authorities of --client-ca rejected, keeping the previous ones");
            }
        }
        self.metrics.client_ca_refused(self.reloader.is_refused());
    }
}

fn warn_of(skipped: &SkippedCertificates) {
    if !skipped.is_empty() {
        let reasons = skipped.to_string();
        let reasons = reasons.trim_start_matches("; ");
        tracing::warn!(reasons, "certificates of --client-ca skipped, using the others");
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::SystemTime};

    use scaivault_certs::Authority;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_named_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("clients.pem");
        let new = || match ClientCaFollower::new(&path, Duration::MAX, &Metrics::new()) {
            Ok(_) => None,
            Err(error) => Some(format!("{error:#}")),
        };
        assert!(new().is_some_and(|error| error.contains("--client-ca") && error.contains("clients.pem")));
        fs::write(&path, "none").unwrap();
        assert!(new().is_some_and(|error| error.contains("clients.pem") && error.contains("no usable")));
        let authority = Authority::new("clients", SystemTime::now(), Duration::from_hours(1)).unwrap();
        fs::write(&path, authority.certificate_pem()).unwrap();
        assert_eq!(new(), None);
    }

    #[test]
    fn the_metrics_show_the_result_of_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("clients.pem");
        let pem = || {
            let authority = Authority::new("clients", SystemTime::now(), Duration::from_hours(1)).unwrap();
            authority.certificate_pem().to_owned()
        };
        fs::write(&path, pem()).unwrap();
        let metrics = Metrics::new();
        let (mut follower, _clients) = ClientCaFollower::new(&path, Duration::MAX, &metrics).unwrap();
        let mut sync = |content: &str| {
            fs::write(&path, content).unwrap();
            follower.sync();
            let text = metrics.encode().unwrap();
            let value = |line: &str| {
                let line = text.lines().find_map(|found| found.strip_prefix(line));
                line.unwrap_or_default().trim().to_owned()
            };
            [
                value("scaivault_injector_client_ca_refused"),
                value("scaivault_injector_client_ca_reloads_total{result=\"rejected\"}"),
                value("scaivault_injector_client_ca_reloads_total{result=\"replaced\"}"),
            ]
        };
        assert_eq!(sync("not a certificate"), ["1", "1", "0"]);
        assert_eq!(sync("not a certificate"), ["1", "1", "0"], "counted once, and refused still");
        assert_eq!(sync(&pem()), ["0", "1", "1"]);
    }
}
