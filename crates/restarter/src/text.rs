//! The texts of phases, waits and failures.

use jiff::Timestamp;

use crate::{
    ledger::{Doubt, Failure, Ledger, Phase, Queue, StoppedBy, Wait},
    source::{SourceId, SourceKind, Sources, Version},
    workload::NotFollowed,
};

/// A time as Kubernetes writes it.
pub(crate) fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| "never".to_owned(), |time| time.to_string())
}

impl Phase {
    /// The word in the column `Phase`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Current | Self::Unknown(_) => "Current",
            Self::Waiting(_) => "Waiting",
            Self::Restarting => "Restarting",
            Self::Failed(_) => "Failed",
        }
    }

    /// The reason as one word, for the conditions.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Current => "Current",
            Self::Unknown(doubt) => doubt.reason(),
            Self::Waiting(wait) => wait.reason(),
            Self::Restarting => "Restarting",
            Self::Failed(failure) => failure.reason(),
        }
    }

    /// The reason as a message.
    pub fn message(&self, ledger: &Ledger, sources: &Sources) -> String {
        let text = match self {
            Self::Current => return "the pods have the current versions".to_owned(),
            Self::Unknown(doubt) => return doubt.message(sources),
            Self::Restarting => return "pods are being replaced".to_owned(),
            Self::Failed(failure) if ledger.has_failed() => {
                return format!(
                    "{}; the other restarts of the namespace for the same versions have stopped",
                    failure.message()
                );
            }
            Self::Failed(failure) => return failure.message().to_owned(),
            Self::Waiting(wait) => wait.message(sources),
        };
        match &ledger.pending {
            Some(pending) => format!("{text}; pending: {}", names(&pending.versions, sources)),
            None => text,
        }
    }
}

/// The maximum number of secrets in a message.
const NAMED: usize = 5;

fn names(versions: &[(SourceId, Version)], sources: &Sources) -> String {
    let named = versions.iter().take(NAMED).map(|(source, _)| sources.name(*source).to_string());
    let mut text = named.collect::<Vec<_>>().join(", ");
    if versions.len() > NAMED {
        text = format!("{text} and {} more", versions.len() - NAMED);
    }
    text
}

impl Doubt {
    const fn reason(&self) -> &'static str {
        match self {
            Self::NoVersion(_) => "VersionUnknown",
            Self::NotFollowed(_) => "NotFollowed",
            Self::FirstSight(_) => "FirstSight",
        }
    }

    fn message(&self, sources: &Sources) -> String {
        match self {
            Self::NoVersion(source) if sources.name(*source).kind == SourceKind::Secret => format!(
                "the version of {} is not known: there is no such Secret, or native Secrets are not followed (`restarter.nativeSecrets`)",
                sources.name(*source)
            ),
            Self::NoVersion(source) => format!(
                "the version of {} is not known: ScaiVault has no such secret, does not let the controller list it, or cannot be reached",
                sources.name(*source)
            ),
            Self::NotFollowed(NotFollowed { count, first }) => {
                let first = first.as_ref().map(|first| format!(", such as {first}")).unwrap_or_default();
                format!(
                    "{count} secrets are not followed{first}: the workload or its namespace has too many; restart it yourself after their rotation"
                )
            }
            Self::FirstSight(source) => format!(
                "some pods are older than the current version of {}, which the controller has only recorded, because it was the first version that it saw, or because restarts were off; restart them if they still have the previous version",
                sources.name(*source)
            ),
        }
    }
}

/// How a user releases a restart.
const HOW_TO_RELEASE: &str = "run `scaivault-injector restart`, or set the annotation \
                              scaivault.scailabs.ai/restart-release to a new text";

impl Wait {
    /// One word.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Release => "NotReleased",
            Self::Invalid(_) => "InvalidAnnotations",
            Self::Paused => "Paused",
            Self::OnDelete => "OnDelete",
            Self::Partition => "Partition",
            Self::Refused(_) => "PatchRefused",
            Self::Agreement { .. } => "PodsDisagree",
            Self::Settling => "Settling",
            Self::Rollout => "RolloutInProgress",
            Self::Interval { .. } => "MinimumInterval",
            Self::Breaker { .. } => "CircuitOpen",
            Self::Window { .. } => "WindowClosed",
            Self::Turn(_) => "Queued",
            Self::Stopped { .. } => "Stopped",
            Self::DryRun => "DryRun",
        }
    }

    fn message(&self, sources: &Sources) -> String {
        match self {
            Self::Release => format!("restarts are manual; {HOW_TO_RELEASE}"),
            Self::Invalid(problem) => problem.to_string(),
            Self::Paused => "spec.paused is true; the restart begins when it is removed".to_owned(),
            Self::OnDelete => "the update strategy is OnDelete; delete the pods to restart them".to_owned(),
            Self::Partition => "the partition of the update strategy keeps pods of the old template; delete these pods, or remove the partition"
                .to_owned(),
            Self::Refused(message) => format!("the API server did not accept the restart, trying again: {message}"),
            Self::Agreement { pod } if pod.is_empty() => "the pods have different versions of a CSI volume; waiting for the driver".to_owned(),
            Self::Agreement { pod } => {
                format!("the pods have different versions of a CSI volume; waiting for the driver on the node of the pod {pod}")
            }
            Self::Settling => "waiting for further changes".to_owned(),
            Self::Rollout => "another rollout is in progress".to_owned(),
            Self::Interval { until } => format!("the last restart was too recent; waiting until {}", time(*until)),
            Self::Breaker { until } => format!("restarted too often; waiting until {}", time(*until)),
            Self::Window { opens: Some(opens), .. } => {
                format!("outside of the maintenance windows; the next one opens at {}", time(*opens))
            }
            Self::Window { opens: None, .. } => {
                "outside of the maintenance windows, and none opens again; correct them, or release the restart".to_owned()
            }
            Self::Turn(queue) => queue.message(),
            Self::Stopped { source, by: StoppedBy::Workload(by) } => {
                format!("the restart of {by} for {} failed; repair it, or release this restart", sources.name(*source))
            }
            Self::Stopped { source, by: StoppedBy::Namespaces } => format!(
                "restarts for {} failed in several other namespaces, and in more than they succeeded in; wait for another version, \
                 or release this restart: {HOW_TO_RELEASE}",
                sources.name(*source)
            ),
            Self::DryRun => "dry run: a restart would begin now".to_owned(),
        }
    }
}

impl Queue {
    fn message(&self) -> String {
        match self {
            Self::Canary { workload, since } => {
                format!("waiting for the canary {workload}, which has been restarting since {}", time(*since))
            }
            Self::Observation { until } => {
                format!("the canary has succeeded; waiting until {}, in case it crashes", time(*until))
            }
            Self::Others => "waiting for the rollouts of other workloads".to_owned(),
            Self::Releases => {
                "the limit of released rollouts in the namespace is reached; waiting for one of them"
                    .to_owned()
            }
        }
    }
}

impl Failure {
    /// One word.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::DeadlineExceeded => "ProgressDeadlineExceeded",
            Self::PodsFailing => "PodsFailing",
            Self::TimedOut => "TimedOut",
            Self::Paused => "RolloutPaused",
        }
    }

    /// The failure of this word.
    pub fn from_reason(reason: &str) -> Option<Self> {
        [Self::DeadlineExceeded, Self::PodsFailing, Self::TimedOut, Self::Paused]
            .into_iter()
            .find(|failure| failure.reason() == reason)
    }

    const fn message(self) -> &'static str {
        match self {
            Self::DeadlineExceeded => "the rollout exceeded its progress deadline",
            Self::PodsFailing => "restarted pods crash or do not start",
            Self::TimedOut => "the rollout stopped making progress",
            Self::Paused => "the rollout is paused; resume it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_row_for_every_reason() {
        let (until, text) = (0, Box::from(""));
        let mut sources = Sources::default();
        let source = sources.intern("team", &crate::SourceRef::new(SourceKind::Secret, "db"));
        let waits = [
            Wait::Release,
            Wait::Invalid(Box::clone(&text)),
            Wait::Paused,
            Wait::OnDelete,
            Wait::Partition,
            Wait::Refused(Box::clone(&text)),
            Wait::Agreement { pod: text },
            Wait::Settling,
            Wait::Rollout,
            Wait::Interval { until },
            Wait::Breaker { until },
            Wait::Window { opens: None, asked: 0 },
            Wait::Turn(Queue::Others),
            Wait::Stopped { source, by: StoppedBy::Namespaces },
            Wait::DryRun,
        ];
        let page = include_str!("../../../docs/restart.md");
        let (_, table) = page.split_once("| reason | the restart waits for | what to do |").unwrap();
        let rows = table.lines().skip(2).map_while(|row| row.strip_prefix("| `")?.split('`').next());
        assert_eq!(rows.collect::<Vec<_>>(), waits.map(|wait| wait.reason()));
    }
}
