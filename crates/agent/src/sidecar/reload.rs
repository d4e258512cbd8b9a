//! Telling the application of what has changed.

use scaivault_contract::TargetFile;
use tokio::time::Instant;

use super::Sidecar;
use crate::{chance, metrics::Counter, reload};

impl Sidecar {
    /// Tells the application of files that have changed. Of variables it cannot be told: they are read at its start.
    pub(super) fn note_changes(&mut self, changed: &[TargetFile]) {
        for file in changed {
            self.metrics.count(Counter::FileChanged);
            tracing::info!(%file, "file changed");
        }
        let variables = self.delivery.config.wanted.variables_file.as_ref();
        if self.delivery.config.upkeep.reload.is_some() && changed.iter().any(|file| Some(file) != variables)
        {
            self.reload.start(Instant::now());
            self.signal();
        }
    }

    pub(super) fn signal(&mut self) {
        let Some(reload) = &self.delivery.config.upkeep.reload else { return };
        match reload::send(reload) {
            Ok(pid) => {
                self.reload.succeeded();
                self.metrics.count(Counter::Signalled);
                tracing::info!(signal = %reload.signal, target_process = reload.target, pid, "application signalled");
            }
            Err(error) => {
                self.metrics.count(Counter::NotSignalled);
                if self.reload.failed(Instant::now(), chance::any()) {
                    tracing::warn!(%error, "application not signalled, trying again");
                } else {
                    tracing::debug!(%error, "application not signalled, trying again");
                }
            }
        }
    }
}
