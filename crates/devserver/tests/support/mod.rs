//! Arbitrary requests.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// An answer, with its body as JSON or else as a JSON string.
pub(crate) struct Answer {
    pub(crate) status: u16,
    #[allow(dead_code, reason = "not every test program looks")]
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// Sends one request on a new connection.
pub(crate) async fn send(address: SocketAddr, request: hyper::http::request::Builder, body: &str) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = request.header("host", "dev").body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer { status, headers, body }
}
