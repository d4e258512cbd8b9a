use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};

use super::*;
use scaivault_testkit::api_server::ApiServer;

const DEADLINE: Duration = Duration::from_secs(20);
const TARGET: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations?\
    &watch=true&timeoutSeconds=290&fieldSelector=metadata.name%3Dinjector";

/// A watch of one configuration, and its notifications.
fn following(server: &ApiServer) -> (JoinHandle<()>, Arc<Notify>) {
    let written = Arc::new(Notify::new());
    let api = Api::<MutatingWebhookConfiguration>::all(server.client());
    let pauses = Pauses { ended: Duration::ZERO, failed: Duration::ZERO };
    let notify = Arc::clone(&written);
    (tokio::spawn(async move { follow(&api, "injector", &notify, pauses).await }), written)
}

fn configuration() -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "injector"}})
}

async fn notified(written: &Notify) {
    timeout(DEADLINE, written.notified()).await.expect("a notification");
}

#[tokio::test]
async fn each_write_of_a_configuration_is_noticed() {
    let mut server = ApiServer::start().await;
    let (following, written) = following(&server);
    let watch = server.watch(TARGET).await;
    watch.send("ADDED", &configuration()).await;
    notified(&written).await;
    watch.send("MODIFIED", &configuration()).await;
    notified(&written).await;
    following.abort();
}

#[tokio::test]
async fn a_watch_that_ends_is_begun_again() {
    let mut server = ApiServer::start().await;
    let (following, written) = following(&server);
    drop(server.watch(TARGET).await);
    let watch = server.watch(TARGET).await;
    watch.send("ADDED", &configuration()).await;
    notified(&written).await;
    following.abort();
}

#[tokio::test]
async fn a_refused_watch_is_retried() {
    let mut server = ApiServer::start().await;
    let (following, written) = following(&server);
    server.refuse(TARGET, StatusCode::FORBIDDEN, "no").await;
    let watch = server.watch(TARGET).await;
    watch.send("ADDED", &configuration()).await;
    notified(&written).await;
    following.abort();
}
