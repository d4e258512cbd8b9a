//! An API server for tests with scripted answers.

use std::sync::Arc;

use axum::{Json, Router, extract::Request, http::StatusCode};
use kube::Client;
use scaivault_testkit::api_server::{client, failure, serve};
use serde_json::Value;
use tokio::sync::mpsc;

/// A request: method and path with its query, and the body.
pub(super) type Requests = mpsc::Receiver<(String, Value)>;

/// A client of an API server whose answers are the results of `answer` for method, path and body, and the
/// requests that arrive there.
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
            (StatusCode::from_u16(status).unwrap(), Json(object))
        }
    };
    let url = serve(Router::new().fallback(handle)).await;
    (client(&url), requests)
}

/// An answer with an error.
pub(super) fn refusal(code: u16) -> (u16, Value) {
    (code, failure(StatusCode::from_u16(code).unwrap(), &format!("no, {code}")))
}
