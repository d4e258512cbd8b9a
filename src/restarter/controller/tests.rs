use axum::http::StatusCode;

use super::*;
use crate::restarter::writer::tests::with_workloads;

async fn controller(status: fn(&str) -> StatusCode) -> (Controller, Vec<Step>) {
    let (writer, steps) = with_workloads(&["web-a", "web-b"], status).await;
    let memory =
        Memory::new(scaivault_restarter::Defaults::default(), scaivault_inject::Settings::default(), None);
    (Controller::new(memory, Arc::default(), Settings::default(), writer), steps)
}

#[tokio::test]
async fn one_object_without_an_answer_delays_no_others() {
    let (_sender, leads) = watch::channel(true);
    let (mut controller, steps) = controller(|request| {
        if request.contains("web-a") { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CONFLICT }
    })
    .await;
    assert!(controller.write(steps.clone(), &leads).await);
    let held: Vec<_> = steps.iter().map(|step| controller.writer.is_held(step, Instant::now())).collect();
    assert_eq!(held, [true, false]);
}

#[tokio::test]
async fn without_any_answer_all_writes_pause() {
    let (_sender, leads) = watch::channel(true);
    let (mut controller, steps) = controller(|_| StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(!controller.write(steps.clone(), &leads).await);
    assert!(!steps.iter().any(|step| controller.writer.is_held(step, Instant::now())));
}

#[tokio::test]
async fn nothing_is_written_while_another_replica_leads() {
    let (_sender, leads) = watch::channel(false);
    let (mut controller, steps) = controller(|_| StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(controller.write(steps, &leads).await, "nothing was sent, so nothing has failed");
}
