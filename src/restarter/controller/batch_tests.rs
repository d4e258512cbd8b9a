use scaivault_inject::Settings as InjectSettings;
use scaivault_restarter::{Defaults, Kind, Version};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::restarter::fake_api::{self, Requests, refusal};

/// Workloads that are seen for the first time. Each needs a `RotationRollout`.
const WORKLOADS: usize = 250;

async fn controller(
    settings: Settings,
    answer: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static,
) -> (Controller, Requests) {
    let (client, requests) = fake_api::start(answer).await;
    let memory = Memory::new(Defaults::default(), InjectSettings::default(), None);
    memory.change(|state| {
        for number in 0..WORKLOADS {
            let object = json!({
                "metadata": {"namespace": "team", "name": format!("web-{number}"), "uid": "u", "resourceVersion": "5"},
                "spec": {"template": {
                    "metadata": {"annotations": {"scaivault.scailabs.ai/inject-secret-a": "a/b"}},
                    "spec": {"containers": [{"name": "app", "image": "app:1"}]},
                }},
            });
            state.put_workload(Kind::Deployment, &object);
        }
        state.catalog.put_version("a/b", Version::Numbered { time: 5, number: 1 }, None, 5);
    });
    let (events, _) = mpsc::channel(1);
    let writer = Writer::new(client, Arc::clone(&memory), Arc::default(), events);
    (Controller::new(memory, Arc::default(), settings, writer), requests)
}

fn count(requests: &mut Requests) -> usize {
    std::iter::from_fn(|| requests.try_recv().ok()).count()
}

#[tokio::test]
async fn a_decision_writes_at_most_one_batch() {
    let (mut controller, mut requests) = controller(Settings::default(), |_, _| refusal(409)).await;
    let (_leads, leading) = watch::channel(true);
    assert_eq!(controller.turn(&leading).await, Duration::ZERO, "the rest is next");
    assert_eq!(count(&mut requests), BATCH);
}

#[tokio::test]
async fn a_batch_ends_with_the_leadership() {
    let (leads, leading) = watch::channel(true);
    // Another replica takes the Lease while the first writes are in flight.
    let lose = move |_: &str, _: &Value| {
        leads.send_replace(false);
        refusal(409)
    };
    let (mut controller, mut requests) = controller(Settings::default(), lose).await;
    controller.turn(&leading).await;
    let written = count(&mut requests);
    assert!((1..=WRITES).contains(&written), "{written}");
}

#[tokio::test]
async fn a_dry_run_sends_nothing() {
    let settings = Settings { is_dry_run: true, ..Settings::default() };
    let (mut controller, mut requests) = controller(settings, |_, _| refusal(409)).await;
    let (_leads, leading) = watch::channel(true);
    controller.turn(&leading).await;
    assert_eq!(count(&mut requests), 0);
}
