use scaivault_inject::Settings;
use scaivault_restarter::Defaults;
use serde_json::json;

use super::*;
use crate::restarter::fake_api::{self, refusal};

fn deployment(name: &str, path: &str) -> Value {
    json!({
        "metadata": {"namespace": "team", "name": name, "uid": format!("uid-{name}")},
        "spec": {"template": {
            "metadata": {"annotations": {"scaivault.scailabs.ai/inject-secret-a": path}},
            "spec": {"containers": [{"name": "app", "image": "app:1"}]},
        }},
    })
}

fn list(items: &[Value], token: &str) -> (u16, Value) {
    let metadata = json!({"resourceVersion": "9", "continue": token});
    (200, json!({"apiVersion": "apps/v1", "kind": "List", "metadata": metadata, "items": items}))
}

/// A cache with two Deployments that deliver old paths.
fn memory() -> Arc<Memory> {
    let memory = Memory::new(Defaults::default(), Settings::default(), None);
    memory.change(|state| {
        for name in ["first", "second"] {
            state.put_workload(Kind::Deployment, &deployment(name, "old/path"));
        }
    });
    memory
}

fn paths(memory: &Memory) -> Vec<String> {
    memory.lock().catalog.paths().iter().map(ToString::to_string).collect()
}

/// An API server with new paths on two pages, without Argo Rollouts.
fn answer(line: &str, _: &Value) -> (u16, Value) {
    if line.contains("/rollouts") {
        refusal(404)
    } else if !line.contains("/deployments") {
        list(&[], "")
    } else if line.contains("continue=next") {
        list(&[deployment("second", "new/second"), deployment("gone", "new/gone")], "")
    } else {
        list(&[deployment("first", "new/first")], "next")
    }
}

#[tokio::test]
async fn known_workloads_are_read_again_page_by_page() {
    let (client, mut requests) = fake_api::start(answer).await;
    let memory = memory();
    assert_eq!(read(&client, &memory, OutdatedTemplates::All).await, OutdatedTemplates::None);
    // A workload that was deleted meanwhile is not added.
    assert_eq!(paths(&memory), ["new/first", "new/second"]);
    let lines: Vec<_> = std::iter::from_fn(|| requests.try_recv().ok()).map(|(line, _)| line).collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("limit=250")), "{lines:?}");
}

#[tokio::test]
async fn a_namespace_that_cannot_be_read_stays_outdated() {
    for code in [403, 410, 429, 500] {
        let refuse = move |line: &str, body: &Value| {
            let is_refused = line.contains("/namespaces/a/") && line.contains("/daemonsets");
            if is_refused { refusal(code) } else { answer(line, body) }
        };
        let (client, _requests) = fake_api::start(refuse).await;
        let memory = memory();
        let outdated = OutdatedTemplates::In(["a".into(), "team".into()].into());
        assert_eq!(
            read(&client, &memory, outdated).await,
            OutdatedTemplates::In(["a".into()].into()),
            "{code}"
        );
        assert_eq!(paths(&memory), ["new/first", "new/second"]);
    }
}

#[tokio::test]
async fn a_page_that_has_expired_is_read_again() {
    let expire = |line: &str, body: &Value| {
        if line.contains("continue=next") { refusal(410) } else { answer(line, body) }
    };
    let (client, _requests) = fake_api::start(expire).await;
    let memory = memory();
    assert_eq!(read(&client, &memory, OutdatedTemplates::All).await, OutdatedTemplates::All);
    let (client, _requests) = fake_api::start(answer).await;
    assert_eq!(read(&client, &memory, OutdatedTemplates::All).await, OutdatedTemplates::None);
    assert_eq!(paths(&memory), ["new/first", "new/second"]);
}
