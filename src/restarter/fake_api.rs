//! An API server for tests with scripted answers.

use std::sync::Arc;

use axum::{Json, Router, extract::Request, http::StatusCode, response::IntoResponse as _};
use kube::Client;
use scaivault_testkit::api_server::{client, failure, serve};
use serde_json::Value;
use tokio::sync::mpsc;

/// A request: method and path with its query, and the body.
pub(super) type Requests = mpsc::Receiver<(String, Value)>;

/// A client of an API server whose answers are the results of `answer` for method, path and body, and the
/// requests that arrive there. An answer with null has no body, like those of a load balancer.
pub(super) async fn start(
    answer: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static,
) -> (Client, Requests) {
    let (sender, requests) = mpsc::channel(1024);
    let answer = Arc::new(answer);
    let handle = move |request: Request| {
        let (sender, answer) = (sender.clone(), Arc::clone(&answer));
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let (status, object) = answer(&line, &body);
            // Some tests do not read them.
            let _ = sender.try_send((line, body));
            let status = StatusCode::from_u16(status).unwrap();
            if object.is_null() { status.into_response() } else { (status, Json(object)).into_response() }
        }
    };
    let url = serve(Router::new().fallback(handle)).await;
    (client(&url), requests)
}

/// An answer with an error.
pub(super) fn refusal(code: u16) -> (u16, Value) {
    (code, failure(StatusCode::from_u16(code).unwrap(), &format!("no, {code}")))
}
