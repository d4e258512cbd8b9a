//! What the owner of a pod should hear: nobody reads the warnings of a request that a controller makes.

use tokio::sync::mpsc;

use crate::{
    metrics::{EventResult, Metrics},
    reason::Reason,
    record::shown,
    reply::Decided,
    subject::Subject,
};
use scaivault_inject::SkipReason;

/// The longest note of a notice, bytes: Kubernetes' limit for that of an Event.
const NOTE_BYTES: usize = 1024;

/// Something about the pods of one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The namespace of pod and owner.
    pub namespace: String,
    /// Whom it is for.
    pub owner: Owner,
    /// What it is about.
    pub reason: NoticeReason,
    /// The warnings of the admission, at most 1,024 bytes. They quote no template and nothing long.
    pub note: String,
}

/// The controller that makes the pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// For example `apps/v1`.
    pub api_version: String,
    /// For example `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What a notice is about. A refused pod is no reason: its controller reports that itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeReason {
    /// The annotations have problems, and the pod was let through without its secrets.
    SecretsNotInjected,
    /// The pod goes through, and something about its annotations is worth a look.
    InjectionWarning,
}

impl NoticeReason {
    /// As it stands in an Event.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SecretsNotInjected => "SecretsNotInjected",
            Self::InjectionWarning => "InjectionWarning",
        }
    }
}

/// Where notices are handed over. Never waited for: one that finds no room is dropped and counted.
#[derive(Clone, Debug, Default)]
pub struct Notices {
    queue: Option<mpsc::Sender<Notice>>,
}

impl Notices {
    /// Into this queue; [`Notices::default`] is for nobody.
    pub fn new(queue: mpsc::Sender<Notice>) -> Self {
        Self { queue: Some(queue) }
    }

    /// Hands over what the owner should hear of a decision, if anything.
    pub(crate) fn offer(&self, decided: &Decided<'_>, metrics: &Metrics) {
        if let Some(queue) = &self.queue
            && let Some(notice) = Notice::of(decided)
            && queue.try_send(notice).is_err()
        {
            metrics.event(EventResult::Dropped);
        }
    }
}

impl Notice {
    fn of(decided: &Decided<'_>) -> Option<Self> {
        let Decided { request, verdict, .. } = decided;
        if request.dry_run || verdict.warnings.is_empty() {
            return None;
        }
        let reason = match verdict.reason {
            Reason::Skipped(SkipReason::Problems) => NoticeReason::SecretsNotInjected,
            Reason::Skipped(_) | Reason::Injected(_) | Reason::Detached => NoticeReason::InjectionWarning,
            _ => return None,
        };
        let subject = Subject::of(request.object?.get());
        let owner = subject.controller()?;
        let own = |text: &str| shown(text).to_owned();
        Some(Self {
            namespace: own(&request.namespace),
            owner: Owner {
                api_version: own(&owner.api_version),
                kind: own(&owner.kind),
                name: own(&owner.name),
                uid: own(&owner.uid),
            },
            reason,
            note: note(&verdict.warnings),
        })
    }
}

/// The warnings in one text, cut between characters.
fn note(warnings: &[String]) -> String {
    const CUT: &str = "…";
    let mut note = warnings.join("; ");
    if note.len() > NOTE_BYTES {
        note.truncate(note.floor_char_boundary(NOTE_BYTES - CUT.len()));
        note.push_str(CUT);
    }
    note
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use scaivault_inject::{InjectorConfig, KubeVersion, OnProblem, Settings};

    use super::*;
    use crate::{
        context::{AdmissionContext, NoCluster},
        entry::Entry,
        reply::Answer,
        testing::review,
    };

    const OWNED: &str = r#""ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-5d","uid":"o-1",
        "controller":true}],"annotations":{"scaivault.scailabs.ai/inject-secret-db":"a//b"},"labels""#;

    #[track_caller]
    fn notices(on_problem: OnProblem, edit: &[(&str, &str)], room: usize) -> (Option<Notice>, Metrics) {
        let settings =
            Settings::try_from(InjectorConfig { on_problem, ..InjectorConfig::default() }).unwrap();
        let context = AdmissionContext::new(settings, KubeVersion::OLDEST, Arc::new(NoCluster));
        let (sender, mut receiver) = mpsc::channel(1);
        let metrics = Metrics::default();
        let text = review(edit);
        let answer = Answer::new(Entry::Mutate, text.as_bytes(), &context);
        let notices = Notices::new(sender);
        for _ in 0..2 - room {
            notices.offer(answer.from.as_ref().unwrap(), &metrics);
        }
        (receiver.try_recv().ok(), metrics)
    }

    #[test]
    fn the_owner_hears_of_pods_that_go_without_their_secrets() {
        let (notice, _) = notices(OnProblem::Warn, &[(r#""labels""#, OWNED)], 1);
        let notice = notice.unwrap();
        assert_eq!((notice.reason, &*notice.namespace), (NoticeReason::SecretsNotInjected, "shop"));
        let Owner { api_version, kind, name, uid } = notice.owner;
        assert_eq!([&*api_version, &*kind, &*name, &*uid], ["apps/v1", "ReplicaSet", "web-5d", "o-1"]);
        assert!(notice.note.contains("inject-secret-db"), "{}", notice.note);
    }

    #[test]
    fn what_somebody_sees_anyway_is_not_repeated() {
        let owned = (r#""labels""#, OWNED);
        let unowned = r#""annotations":{"scaivault.scailabs.ai/inject-secret-db":"a//b"},"labels""#;
        for (on_problem, edit) in [
            (OnProblem::Deny, &[owned][..]),
            (OnProblem::Warn, &[owned, (r#""dryRun":false"#, r#""dryRun":true"#)]),
            (OnProblem::Warn, &[(r#""labels""#, unowned)]),
            (OnProblem::Warn, &[]),
        ] {
            assert_eq!(notices(on_problem, edit, 1).0, None, "{on_problem:?} {edit:?}");
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (notice, metrics) = notices(OnProblem::Warn, &[(r#""labels""#, OWNED)], 0);
        assert!(notice.is_some());
        assert!(
            metrics.encode().unwrap().contains("scaivault_injector_events_total{result=\"dropped\"} 1\n")
        );
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let note = note(&["ä".repeat(1_000), "more".to_owned()]);
        assert!(note.len() <= NOTE_BYTES && note.ends_with('…'), "{}", note.len());
    }
}
