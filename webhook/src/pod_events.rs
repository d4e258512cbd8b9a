//! Events for the owner of a pod: warnings of a request that a controller makes are not shown to
//! any user.

use scaivault_inject::{SkipReason, shown_key};
use tokio::sync::mpsc;

use crate::{
    admit::Verdict,
    metrics::{EventResult, Metrics},
    object_meta::ObjectMeta,
    reason::Reason,
    reply::DecidedRequest,
};

/// The maximum length of an Event's note in bytes, set by Kubernetes.
const NOTE_BYTES: usize = 1024;

/// A message about the pods of one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvent {
    /// The namespace of pod and owner.
    pub namespace: String,
    /// The recipient.
    pub owner: Owner,
    /// The reason.
    pub reason: PodEventReason,
    /// What happened, at most 1,024 bytes: fixed texts of the injector, problem codes and
    /// annotation keys. Every client that reaches the port controls what a review contains, so an
    /// Event contains nothing else of it.
    pub note: String,
}

/// The controller that created the pods.
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

/// The reason of an Event. Rejected pods need none: their controller reports the rejection itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PodEventReason {
    /// The annotations have problems, and the pod was admitted without its secrets.
    SecretsNotInjected,
    /// The pod was admitted, and there is a warning about its annotations.
    InjectionWarning,
}

impl PodEventReason {
    /// The `reason` of the Event.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SecretsNotInjected => "SecretsNotInjected",
            Self::InjectionWarning => "InjectionWarning",
        }
    }
}

/// The queue of Events. Sending never waits: if the queue is full, the Event is dropped and
/// counted.
#[derive(Clone, Debug, Default)]
pub struct PodEvents {
    queue: Option<mpsc::Sender<PodEvent>>,
}

impl PodEvents {
    /// Sends to this queue; [`PodEvents::default`] discards all Events.
    pub fn new(queue: mpsc::Sender<PodEvent>) -> Self {
        Self { queue: Some(queue) }
    }

    /// Queues an Event for the owner if the decision needs one.
    pub(crate) fn offer(&self, decided: &DecidedRequest<'_>, metrics: &Metrics) {
        if let Some(queue) = &self.queue
            && let Some(event) = PodEvent::from_decided(decided)
            && queue.try_send(event).is_err()
        {
            metrics.event(EventResult::Dropped);
        }
    }
}

impl PodEvent {
    fn from_decided(decided: &DecidedRequest<'_>) -> Option<Self> {
        let DecidedRequest { request, verdict, .. } = decided;
        if request.dry_run || verdict.warnings.is_empty() {
            return None;
        }
        let reason = match verdict.reason {
            Reason::Skipped(SkipReason::Problems) => PodEventReason::SecretsNotInjected,
            Reason::Skipped(_) | Reason::Injected(_) | Reason::Detached => PodEventReason::InjectionWarning,
            _ => return None,
        };
        let object_meta = ObjectMeta::new(request.object.as_ref()?);
        let owner = object_meta.controller()?;
        let is_plausible = is_label(&request.namespace)
            && is_word(&owner.api_version, 317, b"./-")
            && is_word(&owner.kind, 63, b"")
            && is_word(&owner.name, 253, b".-")
            && is_word(&owner.uid, 64, b"-");
        is_plausible.then(|| Self {
            namespace: request.namespace.to_string(),
            owner: Owner {
                api_version: owner.api_version.to_string(),
                kind: owner.kind.to_string(),
                name: owner.name.to_string(),
                uid: owner.uid.to_string(),
            },
            reason,
            note: note(reason, verdict),
        })
    }
}

/// Whether it can be the name of a namespace: a DNS label (RFC 1123).
fn is_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(plain)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether it consists of letters, digits and `others`, with 1 to `longest` bytes.
fn is_word(text: &str, longest: usize, others: &[u8]) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
    (1..=longest).contains(&text.len()) && text.bytes().all(plain)
}

/// The note of the Event, cut at a character boundary.
fn note(reason: PodEventReason, verdict: &Verdict) -> String {
    const CUT: &str = "…";
    let mut note = match reason {
        PodEventReason::SecretsNotInjected => {
            let mut note = "pods start without their secrets:".to_owned();
            for (index, problem) in verdict.problems.iter().enumerate() {
                note.push_str(if index > 0 { ", " } else { " " });
                note.push_str(problem.code.name());
                if let Some(key) = &problem.key {
                    note.push_str(" (");
                    note.push_str(&shown_key(key));
                    note.push(')');
                }
            }
            note
        }
        PodEventReason::InjectionWarning => {
            format!("warnings about annotations of the pods: {}", verdict.warnings.len())
        }
    };
    note.push_str("; `scaivault-injector check` on the manifest says more");
    if note.len() > NOTE_BYTES {
        note.truncate(note.floor_char_boundary(NOTE_BYTES - CUT.len()));
        note.push_str(CUT);
    }
    note
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use scaivault_inject::{Code, InjectorConfig, KubeVersion, Layer, OnProblem, Problem, Settings};

    use super::*;
    use crate::{
        context::{AdmissionContext, NoCluster},
        endpoint::Endpoint,
        reply::Answer,
        testing::review,
    };

    const OWNED: &str = r#""ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-5d","uid":"o-1",
        "controller":true}],"annotations":{"scaivault.scailabs.ai/inject-secret-db":"a//b"},"labels""#;

    #[track_caller]
    fn events(on_problem: OnProblem, edit: &[(&str, &str)], room: usize) -> (Option<PodEvent>, Metrics) {
        let settings =
            Settings::try_from(InjectorConfig { on_problem, ..InjectorConfig::default() }).unwrap();
        let context = AdmissionContext::new(settings, KubeVersion::OLDEST, Arc::new(NoCluster));
        let (sender, mut receiver) = mpsc::channel(1);
        let metrics = Metrics::default();
        let text = review(edit);
        let answer = Answer::new(Endpoint::Mutate, text.as_bytes(), &context);
        let events = PodEvents::new(sender);
        for _ in 0..2 - room {
            events.offer(answer.from.as_ref().unwrap(), &metrics);
        }
        (receiver.try_recv().ok(), metrics)
    }

    #[test]
    fn the_owner_gets_an_event_for_pods_without_secrets() {
        let (event, _) = events(OnProblem::Warn, &[(r#""labels""#, OWNED)], 1);
        let event = event.unwrap();
        assert_eq!((event.reason, &*event.namespace), (PodEventReason::SecretsNotInjected, "shop"));
        let Owner { api_version, kind, name, uid } = event.owner;
        assert_eq!([&*api_version, &*kind, &*name, &*uid], ["apps/v1", "ReplicaSet", "web-5d", "o-1"]);
        assert!(event.note.contains("inject-secret-db"), "{}", event.note);
    }

    #[test]
    fn problems_that_the_author_sees_cause_no_event() {
        let owned = (r#""labels""#, OWNED);
        let unowned = r#""annotations":{"scaivault.scailabs.ai/inject-secret-db":"a//b"},"labels""#;
        for (on_problem, edit) in [
            (OnProblem::Deny, &[owned][..]),
            (OnProblem::Warn, &[owned, (r#""dryRun":false"#, r#""dryRun":true"#)]),
            (OnProblem::Warn, &[(r#""labels""#, unowned)]),
            (OnProblem::Warn, &[]),
        ] {
            assert_eq!(events(on_problem, edit, 1).0, None, "{on_problem:?} {edit:?}");
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (event, metrics) = events(OnProblem::Warn, &[(r#""labels""#, OWNED)], 0);
        assert!(event.is_some());
        assert!(
            metrics.encode().unwrap().contains("scaivault_injector_events_total{result=\"dropped\"} 1\n")
        );
    }

    /// Every client that reaches the port can send a review of any namespace with any text.
    #[test]
    fn prose_of_a_review_is_in_no_event() {
        let prose =
            OWNED.replace("inject-secret-db", r"inject-secret-db\nIMPORTANT: reset your password at evil");
        let (event, _) = events(OnProblem::Warn, &[(r#""labels""#, &prose)], 1);
        let note = event.unwrap().note;
        assert!(note.starts_with("pods start without their secrets: "), "{note}");
        assert!(!note.contains('\n') && !note.contains("password at evil"), "{note}");

        let unknown = OWNED.replace(r#"inject-secret-db":"a//b""#, r#"call us now":"""#);
        let (event, _) = events(OnProblem::Warn, &[(r#""labels""#, &unknown)], 1);
        let event = event.unwrap();
        assert_eq!(event.reason, PodEventReason::InjectionWarning);
        assert!(!event.note.contains("call us"), "{}", event.note);
    }

    #[test]
    fn invalid_names_cause_no_event() {
        for (from, to) in [
            ("\"shop\"", "\"../kube-system\""),
            ("\"shop\"", "\"Shop\""),
            ("\"shop\"", "\"-shop\""),
            ("\"shop\"", "\"\""),
            ("apps/v1", "apps/v1 and more"),
            ("\"ReplicaSet\"", "\"Replica Set\""),
            ("web-5d", "web 5d"),
            ("o-1", "o\\n1"),
        ] {
            let owned = OWNED.replace(from, to);
            let namespace = if from == "\"shop\"" { to } else { "\"shop\"" };
            let edit = [(r#""labels""#, &*owned), ("\"shop\"", namespace)];
            assert_eq!(events(OnProblem::Warn, &edit, 1).0, None, "{to}");
        }
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let mut verdict = Verdict::from(Reason::Skipped(SkipReason::Problems));
        for _ in 0..32 {
            let key = Some("ä".repeat(40));
            verdict.problems.push(Problem {
                code: Code::InvalidValue,
                key,
                layer: Layer::Pod,
                value: None,
                message: "no".into(),
                allowed: None,
                fix: "none".into(),
            });
        }
        let note = note(PodEventReason::SecretsNotInjected, &verdict);
        assert!(note.len() <= NOTE_BYTES && note.ends_with('…'), "{}", note.len());
    }
}
