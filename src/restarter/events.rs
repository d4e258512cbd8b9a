//! Kubernetes Events for the owners of workloads.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use scaivault_cluster::reason;
use scaivault_restarter::WorkloadKey;
use tokio::{
    sync::mpsc,
    time::{Duration, timeout},
};

use super::metrics::Metrics;
use crate::cluster::generate_name;

/// The maximum number of queued events. Others are dropped; the `RotationRollout` has the same information.
pub(super) const QUEUE: usize = 512;
/// The timeout of a request.
const ANSWER: Duration = Duration::from_secs(10);
/// The reporter in every event.
const REPORTING_CONTROLLER: &str = "scaivault.scailabs.ai/restarter";
/// The maximum length of a note that the API server accepts.
const NOTE_BYTES: usize = 1024;

/// An Event for the owner of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WorkloadEvent {
    pub(super) workload: WorkloadKey,
    pub(super) uid: String,
    pub(super) is_warning: bool,
    /// One word.
    pub(super) reason: &'static str,
    pub(super) note: String,
}

/// Posts events until all senders are gone. An event that the API server rejects is lost.
pub(super) async fn post(
    client: Client,
    instance: String,
    mut events: mpsc::Receiver<WorkloadEvent>,
    metrics: Arc<Metrics>,
) {
    while let Some(workload_event) = events.recv().await {
        let api = Api::<Event>::namespaced(client.clone(), &workload_event.workload.namespace);
        let event = event(workload_event, &instance, Timestamp::now());
        match timeout(ANSWER, api.create(&PostParams::default(), &event)).await {
            Ok(Ok(_)) => metrics.event("posted"),
            Ok(Err(error)) => {
                tracing::debug!(error = reason(&error), "event not posted");
                metrics.event("failed");
            }
            Err(_) => metrics.event("failed"),
        }
    }
}

fn event(workload_event: WorkloadEvent, instance: &str, now: Timestamp) -> Event {
    let WorkloadEvent { workload: WorkloadKey { namespace, kind, name }, uid, is_warning, reason, mut note } =
        workload_event;
    note.truncate(note.floor_char_boundary(NOTE_BYTES));
    Event {
        metadata: ObjectMeta {
            generate_name: Some(generate_name(&name)),
            namespace: Some(namespace.to_string()),
            ..ObjectMeta::default()
        },
        action: Some("Restart".to_owned()),
        event_time: Some(MicroTime(now)),
        note: Some(note),
        reason: Some(reason.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(kind.api_version().to_owned()),
            kind: Some(kind.name().to_owned()),
            name: Some(name.to_string()),
            namespace: Some(namespace.to_string()),
            uid: Some(uid),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(REPORTING_CONTROLLER.to_owned()),
        reporting_instance: Some(instance.chars().take(128).collect()),
        type_: Some(if is_warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    }
}
