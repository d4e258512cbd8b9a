//! A client of the ops port of a program.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The answer to a GET, with head and body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    let mut ops = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n");
    ops.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    ops.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The value of a metric, with its labels as written: `name{a="b"}`; 0 if it is missing.
pub(crate) async fn metric(address: SocketAddr, name: &str) -> f64 {
    let text = get(address, "/metrics").await;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}
