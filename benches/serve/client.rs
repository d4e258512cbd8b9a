//! A closed loop of requests over keep-alive HTTPS/1.1, with only what is needed to load a server.

use std::{
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::pki_types::ServerName;
use scaivault_certs::client_config;
use scaivault_webhook::MUTATE_PATH;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{Builder, Runtime},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Result, process::Server};

/// The server's address and trust anchor.
pub(crate) struct Target {
    address: SocketAddr,
    tls: TlsConnector,
}

impl Target {
    pub(crate) fn new(server: &Server) -> Result<Self> {
        let tls = TlsConnector::from(client_config(&fs::read(&server.ca)?)?);
        Ok(Self { address: server.address, tls })
    }
}

/// Open connections that repeat the same request.
pub(crate) struct Load {
    runtime: Runtime,
    connections: Vec<TlsStream<TcpStream>>,
    request: Arc<[u8]>,
}

/// The measurements of a run.
pub(crate) struct Run {
    pub(crate) latencies: Vec<Duration>,
    pub(crate) body: Vec<u8>,
    took: Duration,
}

impl Run {
    /// Answers per second.
    pub(crate) fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss)]
        let count = self.latencies.len() as f64;
        count / self.took.as_secs_f64()
    }
}

impl Load {
    pub(crate) fn new(target: &Target, body: &str, connections: usize) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let connections = runtime.block_on(async {
            let mut open = Vec::new();
            for _ in 0..connections {
                let stream = TcpStream::connect(target.address).await?;
                stream.set_nodelay(true)?;
                open.push(target.tls.connect(ServerName::try_from("localhost")?, stream).await?);
            }
            Result::Ok(open)
        })?;
        let request = format!(
            "POST {MUTATE_PATH}?timeout=5s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Accept: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(Self { runtime, connections, request: request.into_bytes().into() })
    }

    /// Sends this many requests, shared by the connections.
    pub(crate) fn run(&mut self, requests: usize) -> Result<Run> {
        let share = requests.div_ceil(self.connections.len());
        let started = Instant::now();
        let connections = std::mem::take(&mut self.connections);
        let request = &self.request;
        let mut run = Run { latencies: Vec::with_capacity(requests), body: Vec::new(), took: Duration::ZERO };
        self.connections = self.runtime.block_on(async {
            // Keeps this thread from sleeping. The host takes 10 µs to wake a virtual machine's
            // idle processor, and the kernel accounts that time to the process that answers. A
            // constant answer arrives before the thread falls asleep, so the comparison would be
            // unfair.
            let awake = tokio::spawn(async {
                loop {
                    tokio::task::yield_now().await;
                }
            });
            let tasks: Vec<_> = connections
                .into_iter()
                .map(|stream| tokio::spawn(ask(stream, Arc::clone(request), share)))
                .collect();
            let mut back = Vec::new();
            for task in tasks {
                let (stream, latencies, body) = task.await?.map_err(|error| error.to_string())?;
                run.latencies.extend(latencies);
                run.body = body;
                back.push(stream);
            }
            awake.abort();
            Result::Ok(back)
        })?;
        run.took = started.elapsed();
        Ok(run)
    }
}

type Asked = (TlsStream<TcpStream>, Vec<Duration>, Vec<u8>);

async fn ask(mut stream: TlsStream<TcpStream>, request: Arc<[u8]>, count: usize) -> std::io::Result<Asked> {
    let mut latencies = Vec::with_capacity(count);
    let (mut buffer, mut body) = (vec![0; 64 * 1024], Vec::new());
    for _ in 0..count {
        let asked = Instant::now();
        stream.write_all(&request).await?;
        stream.flush().await?;
        let mut filled = 0;
        let (head, whole) = loop {
            let read = stream.read(&mut buffer[filled..]).await?;
            if read == 0 {
                return Err(std::io::Error::other(
                    "the server closed the connection, or its answer is too long",
                ));
            }
            filled += read;
            if let Some((head, length)) = lengths(&buffer[..filled])?
                && filled >= head + length
            {
                break (head, head + length);
            }
        };
        latencies.push(asked.elapsed());
        body.clear();
        body.extend_from_slice(&buffer[head..whole]);
    }
    Ok((stream, latencies, body))
}

/// The lengths of head and body once the head is complete; an error for any status other than 200.
fn lengths(answer: &[u8]) -> std::io::Result<Option<(usize, usize)>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        return Err(std::io::Error::other(format!(
            "the server answers {}",
            head.lines().next().unwrap_or_default()
        )));
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    length.map(|length| Some((end + 4, length))).ok_or_else(|| std::io::Error::other("no Content-Length"))
}
