//! Posts notices for the owners of pods as Events.

mod limiter;

use std::{fs, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use scaivault_cluster::{is_forbidden, reason};
use scaivault_webhook::{EventResult, Metrics, Owner, PodEvent};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::telemetry::LogThrottle;
use limiter::Limiter;

/// The maximum number of queued notices; more are dropped.
pub(crate) const QUEUE: usize = 256;

/// The timeout for posting one Event.
const ANSWER: Duration = Duration::from_secs(10);

/// The minimum time between log lines about rejected Events.
const REMINDER: Duration = Duration::from_mins(5);

/// The `reportingController` of every Event.
const REPORTING_CONTROLLER: &str = "scaivault.scailabs.ai/injector";

/// The field manager of writes.
const FIELD_MANAGER: &str = "scaivault-injector";

/// Posts notices until all senders are dropped. An Event that the API server rejects is lost: it is
/// only a hint for users, and the log contains the same.
pub(crate) async fn post(client: Client, mut notices: mpsc::Receiver<PodEvent>, metrics: Arc<Metrics>) {
    let mut limiter = Limiter::default();
    let mut throttle = LogThrottle::new(REMINDER);
    let instance = instance();
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    while let Some(notice) = notices.recv().await {
        let now = Instant::now();
        if !limiter.admit(&notice, now.into_std()) {
            metrics.event(EventResult::Limited);
            continue;
        }
        let api = Api::<Event>::namespaced(client.clone(), &notice.namespace);
        let event = event(notice, &instance, Timestamp::now());
        let failure = match timeout(ANSWER, api.create(&params, &event)).await {
            Ok(Ok(_)) => {
                metrics.event(EventResult::Posted);
                continue;
            }
            Ok(Err(error)) if is_forbidden(&error) => {
                format!(
                    "{}; grant the injector's service account create on events.k8s.io events",
                    reason(&error)
                )
            }
            Ok(Err(error)) => reason(&error),
            Err(_) => format!("no answer in {ANSWER:?}"),
        };
        metrics.event(EventResult::Failed);
        if throttle.is_due(now) {
            tracing::warn!(error = failure, "event not posted");
        }
    }
}

fn event(notice: PodEvent, instance: &str, now: Timestamp) -> Event {
    let PodEvent { namespace, owner: Owner { api_version, kind, name, uid }, reason, note } = notice;
    Event {
        metadata: ObjectMeta {
            generate_name: Some(generate_name(&name)),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        action: Some("Inject".to_owned()),
        event_time: Some(MicroTime(now)),
        note: Some(note),
        reason: Some(reason.name().to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(api_version),
            kind: Some(kind),
            name: Some(name),
            namespace: Some(namespace),
            uid: Some(uid),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(REPORTING_CONTROLLER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        type_: Some("Warning".to_owned()),
        ..Event::default()
    }
}

/// The `generateName` of an Event, of which the API server makes a unique name. The separator at
/// its end must be a hyphen.
pub(crate) fn generate_name(owner: &str) -> String {
    // The API server truncates longer prefixes, and rejects names that become too long.
    const LONGEST: usize = 57;
    let start: String = owner.chars().take(LONGEST).collect();
    format!("{start}-")
}

/// The name of this pod, which is its host name.
fn instance() -> String {
    // The limit of the field in Kubernetes.
    const LONGEST: usize = 128;
    let name = host_name(LONGEST);
    if name.is_empty() { FIELD_MANAGER.to_owned() } else { name }
}

/// The host name, at most this many characters of it; empty if it is unknown.
pub(crate) fn host_name(longest: usize) -> String {
    let name = fs::read_to_string("/etc/hostname").unwrap_or_default();
    name.trim().chars().take(longest).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use scaivault_webhook::PodEventReason;
    use serde_json::Value;

    use super::*;
    use scaivault_testkit::api_server::ApiServer;

    fn notice(uid: &str) -> PodEvent {
        let text = str::to_owned;
        PodEvent {
            namespace: text("shop"),
            owner: Owner {
                api_version: text("apps/v1"),
                kind: text("ReplicaSet"),
                name: text("web-5d"),
                uid: text(uid),
            },
            reason: PodEventReason::SecretsNotInjected,
            note: text("not injected"),
        }
    }

    #[test]
    fn a_generated_name_has_room_for_its_suffix() {
        assert_eq!(generate_name("web-5d"), "web-5d-");
        assert_eq!(generate_name(&"a".repeat(253)).len(), 58);
    }

    #[tokio::test]
    async fn each_owner_gets_one_event_and_failures_are_counted() {
        let mut server = ApiServer::start().await;
        let metrics = Metrics::new();
        let (sender, receiver) = mpsc::channel(QUEUE);
        for uid in ["a", "a", "b"] {
            sender.try_send(notice(uid)).unwrap();
        }
        drop(sender);
        let posting = tokio::spawn(post(server.client(), receiver, Arc::clone(&metrics)));
        let path = "/apis/events.k8s.io/v1/namespaces/shop/events?&fieldManager=scaivault-injector";
        let posted = server.echo(path).await;
        let event: Value = serde_json::from_slice(&posted).unwrap();
        assert_eq!(event["metadata"]["generateName"], "web-5d-");
        assert_eq!(event["regarding"]["uid"], "a");
        assert_eq!(event["reportingController"], REPORTING_CONTROLLER);
        assert_eq!((&event["reason"], &event["type"]), (&"SecretsNotInjected".into(), &"Warning".into()));
        server.refuse(path, StatusCode::FORBIDDEN, "no").await;
        posting.await.unwrap();
        let text = metrics.encode().unwrap();
        for line in ["posted\"} 1\n", "limited\"} 1\n", "failed\"} 1\n", "dropped\"} 0\n"] {
            assert!(text.contains(&format!("events_total{{result=\"{line}")), "{line}\n{text}");
        }
    }
}
