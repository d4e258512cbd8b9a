use axum::http::StatusCode;
use scaivault_inject::Settings;
use scaivault_restarter::{Defaults, Outcome, RolloutRecord, Start};
use serde_json::{Value, json};

use super::*;
use crate::restarter::fake_api::{self, Requests, refusal};

const NOW: i64 = 1_790_000_000;

fn key() -> WorkloadKey {
    named("web")
}

fn named(name: &str) -> WorkloadKey {
    WorkloadKey { namespace: "team".into(), kind: Kind::Deployment, name: name.into() }
}

fn deployment(version: &str, annotations: &Value) -> Value {
    deployment_named("web", version, annotations)
}

fn deployment_named(name: &str, version: &str, annotations: &Value) -> Value {
    json!({
        "metadata": {"namespace": "team", "name": name, "uid": "u", "resourceVersion": version, "annotations": annotations},
        "spec": {"template": {
            "metadata": {"annotations": {"scaivault.scailabs.ai/inject-secret-a": "a/b"}},
            "spec": {"containers": [{"name": "app", "image": "app:1"}]},
        }},
    })
}

/// An update from the watch, written by another leader or by this one.
fn record(version: &str) -> Value {
    let mut object = empty(&key());
    object.metadata.resource_version = Some(version.to_owned());
    object.status = Some(RotationRolloutStatus::default());
    serde_json::to_value(object).unwrap()
}

/// A writer to an API server that is overloaded, and the requests that arrive there.
async fn writer() -> (Writer, Requests) {
    writer_to(|_| StatusCode::TOO_MANY_REQUESTS).await
}

/// A writer to an API server with the status that `status` returns for method, path and body.
async fn writer_to(status: fn(&str) -> StatusCode) -> (Writer, Requests) {
    let answer = move |line: &str, body: &Value| match status(&format!("{line} {body}")) {
        StatusCode::SERVICE_UNAVAILABLE => (503, Value::Null),
        status => refusal(status.as_u16()),
    };
    let (client, requests) = fake_api::start(answer).await;
    let memory = Memory::new(Defaults::default(), Settings::default(), None);
    let (events, _) = mpsc::channel(1);
    (Writer::new(client, memory, Arc::default(), events), requests)
}

/// The next request, without its query.
fn next(requests: &mut Requests) -> (String, Value) {
    let (line, body) = requests.try_recv().unwrap();
    (line.split('?').next().unwrap_or_default().to_owned(), body)
}

/// A writer, and the first record of each of these workloads as a step.
pub(in crate::restarter) async fn with_workloads(
    names: &[&str],
    status: fn(&str) -> StatusCode,
) -> (Writer, Vec<Step>) {
    let (writer, _) = writer_to(status).await;
    writer.memory.change(|state| {
        for name in names {
            state.put_workload(Kind::Deployment, &deployment_named(name, "5", &json!({})));
        }
        let version = scaivault_restarter::Version::Numbered { time: 5, number: 1 };
        state.catalog.put_version("a/b", version, None, 5);
    });
    let steps = writer.memory.decide(NOW, &scaivault_restarter::Settings::default()).unwrap().steps;
    assert_eq!(steps.len(), names.len());
    (writer, steps)
}

/// Adds a workload, with a `RotationRollout` of this version if one is given.
async fn with_record(version: Option<&str>) -> (Writer, Requests, Step) {
    let (writer, requests) = writer().await;
    writer.memory.change(|state| {
        state.put_workload(Kind::Deployment, &deployment("5", &json!({})));
        if let Some(version) = version {
            state.put_record(&record(version));
        }
        state.catalog.put_version(
            "a/b",
            scaivault_restarter::Version::Numbered { time: 5, number: 1 },
            None,
            5,
        );
    });
    let settings = scaivault_restarter::Settings::default();
    let mut steps = writer.memory.decide(NOW, &settings).unwrap().steps;
    assert_eq!(steps.len(), 1);
    (writer, requests, steps.remove(0))
}

fn as_restart(step: Step) -> Step {
    let (Step::Restart { workload, ledger, seen, .. } | Step::Record { workload, ledger, seen }) = step;
    Step::Restart { workload, ledger, seen, marker: "scaivault:a/b=1@5".to_owned() }
}

const RECORDS: &str = "/apis/scaivault.scailabs.ai/v1alpha1/namespaces/team/rotationrollouts";

#[tokio::test]
async fn writes_are_guarded_by_the_observed_versions() {
    let (writer, mut requests, step) = with_record(None).await;
    writer.execute(step).await.unwrap_err();
    assert_eq!(next(&mut requests).0, format!("POST {RECORDS}"));

    let (writer, mut requests, step) = with_record(Some("7")).await;
    writer.execute(step.clone()).await.unwrap_err();
    let (line, body) = next(&mut requests);
    assert_eq!(line, format!("PUT {RECORDS}/deployment-web/status"));
    assert_eq!(body["metadata"]["resourceVersion"], "7");
    writer.execute(as_restart(step)).await.unwrap_err();
    let (line, body) = next(&mut requests);
    assert_eq!(line, "PATCH /apis/apps/v1/namespaces/team/deployments/web");
    assert_eq!(body["metadata"]["resourceVersion"], "5");
}

#[tokio::test]
async fn a_step_based_on_an_old_state_is_skipped() {
    let changes: [fn(&mut crate::restarter::memory::State); 4] = [
        // Its owner switches restarts off.
        |state| {
            let off = json!({"scaivault.scailabs.ai/restart": "off"});
            state.put_workload(Kind::Deployment, &deployment("6", &off));
        },
        |state| state.remove_workload(&key()),
        // Another leader has written.
        |state| state.put_record(&record("8")),
        |state| state.remove_record("team", "deployment-web"),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let (writer, mut requests, step) = with_record(Some("7")).await;
        writer.memory.change(change);
        writer.execute(step.clone()).await.unwrap();
        writer.execute(as_restart(step)).await.unwrap();
        assert!(requests.try_recv().is_err(), "{index}");
    }
    let (writer, mut requests, step) = with_record(None).await;
    writer.memory.change(|state| state.put_record(&record("7")));
    writer.execute(step).await.unwrap();
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn an_error_about_one_object_is_no_outage() {
    // An admission webhook that does not answer, and an object that cannot be stored.
    let statuses: [fn(&str) -> StatusCode; 2] =
        [|_| StatusCode::INTERNAL_SERVER_ERROR, |_| StatusCode::UNPROCESSABLE_ENTITY];
    for status in statuses {
        let (writer, steps) = with_workloads(&["web"], status).await;
        let step = steps[0].clone();
        assert_eq!(writer.execute(step.clone()).await.unwrap(), StepResult::Answered);
        assert!(writer.is_held(&step, Instant::now()), "with a pause before the next attempt");
        let restart = as_restart(step);
        assert_eq!(writer.execute(restart).await.unwrap(), StepResult::Answered);
        let mut state = writer.memory.lock();
        assert!(state.catalog.world().workloads[&key()].refusal.is_some());
    }
}

#[tokio::test]
async fn overload_and_silence_are_no_refusals() {
    for (status, expected) in [
        (404, Write::Conflict),
        (409, Write::Conflict),
        (400, Write::Refused),
        (403, Write::Refused),
        (500, Write::Refused),
        (429, Write::Unavailable),
        (503, Write::Unavailable),
        (504, Write::Unavailable),
    ] {
        let error = kube::core::Status { code: status, ..kube::core::Status::default() };
        assert_eq!(classify(&kube::Error::Api(Box::new(error))), expected, "{status}");
    }
    let (writer, steps) = with_workloads(&["web"], |_| StatusCode::SERVICE_UNAVAILABLE).await;
    let unanswered = writer.execute(steps[0].clone()).await.unwrap_err();
    assert_eq!(unanswered.workload, key());
    assert!(!writer.is_held(&steps[0], Instant::now()));
}

#[test]
fn pauses_of_deleted_workloads_are_removed() {
    let memory = Memory::new(Defaults::default(), Settings::default(), None);
    memory.change(|state| state.put_workload(Kind::Deployment, &deployment("5", &json!({}))));
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let client = runtime.block_on(async { Client::try_from(config).unwrap() });
    let writer = Writer::new(client, memory, Arc::default(), mpsc::channel(1).0);
    writer.refuse(&key(), "no");
    for index in 0..2 * ENTRIES_KEPT {
        writer.hold(&named(&format!("gone-{index}")), "no");
        writer.refuse(&named(&format!("gone-{index}")), "no");
    }
    assert!(lock(&writer.held).len() <= ENTRIES_KEPT);
    let refusals = lock(&writer.refusals);
    assert!(refusals.len() <= ENTRIES_KEPT && refusals.contains_key(&key()));
}

/// A writer to an API server that accepts every status, and the events that it sends.
async fn accepted_writer() -> (Writer, mpsc::Receiver<WorkloadEvent>) {
    let accept = |_: &str, body: &Value| {
        let mut object = body.clone();
        let version: u64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        object["metadata"]["resourceVersion"] = (version + 1).to_string().into();
        (200, object)
    };
    let (client, _) = fake_api::start(accept).await;
    let (sender, events) = mpsc::channel(8);
    let memory = Memory::new(Defaults::default(), Settings::default(), None);
    memory.change(|state| {
        state.put_workload(Kind::Deployment, &deployment("5", &json!({})));
        state.put_record(&record("7"));
    });
    (Writer::new(client, memory, Arc::default(), sender), events)
}

/// Records a restart. Returns the events and the counts of restarts so far.
async fn record_rollout(
    writer: &Writer,
    events: &mut mpsc::Receiver<WorkloadEvent>,
    rollout: RolloutRecord,
) -> (Vec<&'static str>, Vec<String>) {
    let seen = {
        let mut state = writer.memory.lock();
        let record = state.record(&key()).unwrap().resource_version.clone();
        let workload = state.catalog.world().workloads[&key()].resource_version.clone();
        ObservedVersions { workload, record }
    };
    let ledger = Box::new(Ledger {
        rollout: Some(rollout),
        phase: Phase::Waiting(Wait::Interval { until: NOW + 300 }),
        ..Ledger::default()
    });
    writer.execute(Step::Record { workload: key(), ledger, seen }).await.unwrap();
    let reasons = std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.reason).collect();
    let metrics = writer.metrics.text(&writer.memory);
    let counts = metrics.lines().filter_map(|line| line.strip_prefix("scaivault_restarter_rollouts_total"));
    (reasons, counts.map(str::to_owned).collect())
}

#[tokio::test]
async fn the_end_of_a_restart_is_reported_even_if_the_next_one_waits() {
    let (writer, mut events) = accepted_writer().await;
    let running = RolloutRecord {
        since: NOW,
        start: Start::Scheduled,
        was_healthy: true,
        replaced: 0,
        progressed: NOW,
        well_since: None,
        outcome: Outcome::Running,
    };
    let failed = Outcome::Failed(Failure::PodsFailing);
    let mut expected = Vec::new();
    for (rollout, reason, count) in [
        (running, None, None),
        (
            RolloutRecord { outcome: Outcome::Succeeded { at: NOW }, ..running },
            Some("Restarted"),
            Some("succeeded"),
        ),
        (RolloutRecord { outcome: failed, ..running }, Some("PodsFailing"), Some("failed")),
        (RolloutRecord { outcome: failed, well_since: Some(NOW), ..running }, None, None),
        (RolloutRecord { since: NOW + 10, ..running }, None, None),
        // A release.
        (RolloutRecord { since: NOW + 20, ..running }, None, Some("replaced")),
    ] {
        expected.extend(count.map(|count| format!("{{outcome=\"{count}\"}} 1")));
        expected.sort_unstable();
        let found = record_rollout(&writer, &mut events, rollout).await;
        assert_eq!(found, (reason.into_iter().collect(), expected.clone()));
    }
}
