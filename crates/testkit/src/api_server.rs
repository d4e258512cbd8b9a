//! An API server whose answers the tests script.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "for tests, which fail where it panics")]

use std::{net::Ipv4Addr, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{StatusCode, header::CONTENT_TYPE},
    response::Response,
};
use futures_util::stream;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};

/// The timeout of every wait.
const DEADLINE: Duration = Duration::from_secs(20);

/// Serves these routes on loopback for the lifetime of the runtime, and returns the URL.
pub async fn serve(routes: Router) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

/// A client without retries.
pub fn client(url: &str) -> Client {
    // Normally done at program start; tests share one process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut config = Config::new(url.parse().unwrap());
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// A request that waits for its answer.
pub struct ReceivedRequest {
    target: String,
    body: Bytes,
    answer: oneshot::Sender<Response>,
}

/// An API server on loopback without automatic answers.
pub struct ApiServer {
    url: String,
    asked: mpsc::Receiver<ReceivedRequest>,
}

/// The open response to a watch.
pub struct WatchAnswer(mpsc::Sender<Result<Bytes, std::io::Error>>);

impl ApiServer {
    /// Starts the server.
    pub async fn start() -> Self {
        let (sender, asked) = mpsc::channel(16);
        let routes = Router::new().fallback(async move |request: Request| {
            let target = request.uri().path_and_query().unwrap().to_string();
            let body = to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let (answer, answered) = oneshot::channel();
            sender.send(ReceivedRequest { target, body, answer }).await.unwrap();
            answered.await.unwrap()
        });
        Self { url: serve(routes).await, asked }
    }

    /// A client for this server.
    pub fn client(&self) -> Client {
        client(&self.url)
    }

    /// The next request.
    pub async fn request(&mut self) -> ReceivedRequest {
        timeout(DEADLINE, self.asked.recv()).await.expect("a request in time").unwrap()
    }

    #[track_caller]
    fn next(&mut self, target: &str) -> impl Future<Output = ReceivedRequest> {
        let target = target.to_owned();
        async move {
            let asked = self.request().await;
            assert!(asked.target.starts_with(&target), "asked for {}, expected {target}", asked.target);
            asked
        }
    }

    /// Answers the next request, whose target must have this prefix, and returns the target.
    pub async fn answer(&mut self, target: &str, body: &Value) -> String {
        self.answer_text(target, &body.to_string()).await
    }

    /// The same with arbitrary text.
    pub async fn answer_text(&mut self, target: &str, body: &str) -> String {
        let ReceivedRequest { target, answer, .. } = self.next(target).await;
        answer.send(response(StatusCode::OK, Body::from(body.to_owned()))).unwrap();
        target
    }

    /// Answers the next request with its own body.
    pub async fn echo(&mut self, target: &str) -> Bytes {
        let asked = self.next(target).await;
        asked.answer.send(response(StatusCode::CREATED, Body::from(asked.body.clone()))).unwrap();
        asked.body
    }

    /// Answers the next request with an error.
    pub async fn refuse(&mut self, target: &str, status: StatusCode, message: &str) {
        self.next(target).await.refuse(status, message);
    }

    /// Starts the response to the next request, a watch.
    pub async fn watch(&mut self, target: &str) -> WatchAnswer {
        self.next(target).await.watch()
    }
}

impl ReceivedRequest {
    /// The path and the query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Answers the request.
    pub fn answer(self, body: &Value) {
        self.answer.send(response(StatusCode::OK, Body::from(body.to_string()))).unwrap();
    }

    /// Answers the request with an error.
    pub fn refuse(self, status: StatusCode, message: &str) {
        let body = failure(status, message).to_string();
        self.answer.send(response(status, Body::from(body))).unwrap();
    }

    /// Starts the response to a watch.
    pub fn watch(self) -> WatchAnswer {
        let (sender, receiver) = mpsc::channel(16);
        let lines = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<_>| {
            receiver.recv().await.map(|line| (line, receiver))
        });
        self.answer.send(response(StatusCode::OK, Body::from_stream(lines))).unwrap();
        WatchAnswer(sender)
    }
}

impl WatchAnswer {
    /// Sends a watch event.
    pub async fn send(&self, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.0.send(Ok(Bytes::from(line))).await.unwrap();
    }

    /// Breaks the connection.
    pub async fn disconnect(self) {
        self.0.send(Err(std::io::Error::other("gone"))).await.unwrap();
    }
}

/// A `Status`.
pub fn failure(status: StatusCode, message: &str) -> Value {
    let reason = status.canonical_reason().unwrap_or_default();
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": status.as_u16()})
}

fn response(status: StatusCode, body: Body) -> Response {
    Response::builder().status(status).header(CONTENT_TYPE, "application/json").body(body).unwrap()
}
