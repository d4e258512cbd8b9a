use axum::{Router, extract::Request, http::StatusCode};
use scaivault_inject::Settings;
use scaivault_restarter::Defaults;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;

const NOW: i64 = 1_790_000_000;

fn key() -> WorkloadKey {
    WorkloadKey { namespace: "team".into(), kind: Kind::Deployment, name: "web".into() }
}

fn deployment(version: &str, annotations: &Value) -> Value {
    json!({
        "metadata": {"namespace": "team", "name": "web", "uid": "u", "resourceVersion": version, "annotations": annotations},
        "spec": {"template": {
            "metadata": {"annotations": {"scaivault.scailabs.ai/inject-secret-a": "a/b"}},
            "spec": {"containers": [{"name": "app", "image": "app:1"}]},
        }},
    })
}

/// What the watch brings: another leader wrote it, or this one.
fn record(version: &str) -> Value {
    let mut object = empty(&key());
    object.metadata.resource_version = Some(version.to_owned());
    object.status = Some(RotationRolloutStatus::default());
    serde_json::to_value(object).unwrap()
}

/// A writer to an API server that is overloaded, and the requests that arrive there.
async fn writer() -> (Writer, mpsc::Receiver<(String, Value)>) {
    let (sender, requests) = mpsc::channel(8);
    let answer = async move |request: Request| {
        let line = format!("{} {}", request.method(), request.uri().path());
        let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
        sender.try_send((line, serde_json::from_slice(&body).unwrap())).unwrap();
        StatusCode::TOO_MANY_REQUESTS
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    let mut config = kube::Config::new(format!("http://{address}").parse().unwrap());
    config.default_retry = false;
    let client = Client::try_from(config).unwrap();
    let memory = Memory::new(Defaults::default(), Settings::default(), None);
    let (notices, _) = mpsc::channel(1);
    (Writer::new(client, memory, Arc::default(), notices), requests)
}

/// Known is a workload with a `RotationRollout` of this version, if any.
async fn with_record(version: Option<&str>) -> (Writer, mpsc::Receiver<(String, Value)>, Step) {
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
async fn writes_are_guarded_by_what_was_decided_on() {
    let (writer, mut requests, step) = with_record(None).await;
    writer.carry_out(step).await.unwrap_err();
    assert_eq!(requests.try_recv().unwrap().0, format!("POST {RECORDS}"));

    let (writer, mut requests, step) = with_record(Some("7")).await;
    writer.carry_out(step.clone()).await.unwrap_err();
    let (line, body) = requests.try_recv().unwrap();
    assert_eq!(line, format!("PUT {RECORDS}/deployment-web/status"));
    assert_eq!(body["metadata"]["resourceVersion"], "7");
    writer.carry_out(as_restart(step)).await.unwrap_err();
    let (line, body) = requests.try_recv().unwrap();
    assert_eq!(line, "PATCH /apis/apps/v1/namespaces/team/deployments/web");
    assert_eq!(body["metadata"]["resourceVersion"], "5");
}

#[tokio::test]
async fn a_step_that_rests_on_the_past_is_left_out() {
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
        writer.carry_out(step.clone()).await.unwrap();
        writer.carry_out(as_restart(step)).await.unwrap();
        assert!(requests.try_recv().is_err(), "{index}");
    }
    let (writer, mut requests, step) = with_record(None).await;
    writer.memory.change(|state| state.put_record(&record("7")));
    writer.carry_out(step).await.unwrap();
    assert!(requests.try_recv().is_err());
}
