//! An API server for tests with scripted answers.

use std::sync::Arc;

use axum::{Json, Router, extract::Request, http::StatusCode};
use kube::Client;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

/// A request: method and path with its query, and the body.
pub(super) type Requests = mpsc::Receiver<(String, Value)>;

/// A client of an API server that answers with what `answer` says to method and path, and the requests that arrive there.
pub(super) async fn start(
    answer: impl Fn(&str) -> (u16, Value) + Send + Sync + 'static,
) -> (Client, Requests) {
    let (sender, requests) = mpsc::channel(1024);
    let answer = Arc::new(answer);
    let handle = move |request: Request| {
        let (sender, answer) = (sender.clone(), Arc::clone(&answer));
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
            let (status, said) = answer(&line);
            let _ = sender.try_send((line, serde_json::from_slice(&body).unwrap_or_default()));
            (StatusCode::from_u16(status).unwrap(), Json(said))
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handle)).await });
    let mut config = kube::Config::new(format!("http://{address}").parse().unwrap());
    config.default_retry = false;
    (Client::try_from(config).unwrap(), requests)
}

/// An answer with an error.
pub(super) fn refusal(code: u16) -> (u16, Value) {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "message": format!("no, {code}"), "reason": "No",
    });
    (code, status)
}
