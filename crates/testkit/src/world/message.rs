//! HTTP/1.1 messages, as far as the proxy needs to parse them.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// An answer of HTTP.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status line and the headers except the length, each with its line end.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// An answer with a body of this type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let head = format!("HTTP/1.1 {status} Status\r\nContent-Type: {content_type}\r\n");
        Self { head, body: body.into() }
    }

    /// An answer with a JSON body.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, "application/json", body)
    }

    /// An error in the published envelope.
    pub fn error(status: u16, code: &str) -> Self {
        let body = serde_json::json!({
            "error": { "code": code, "message": "the world misbehaves", "request_id": "req_world" },
        });
        Self::json(status, body.to_string())
    }

    /// The error page of a proxy.
    pub fn html(status: u16) -> Self {
        Self::new(status, "text/html", "<html><body><h1>Bad Gateway</h1></body></html>")
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head.extend([name, ": ", value, "\r\n"]);
        self
    }

    pub(super) fn is_success(&self) -> bool {
        self.head.get(9..10) == Some("2")
    }
}

/// A request.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    /// As received, with the empty line.
    head: String,
    pub(super) body: Vec<u8>,
}

pub(super) async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    buffered: &mut Vec<u8>,
) -> io::Result<Option<Request>> {
    let Some((head, body)) = read_message(stream, buffered).await? else { return Ok(None) };
    let mut words = head.split(' ');
    let (method, path) =
        (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    Ok(Some(Request { method, path, head, body }))
}

/// Sends the request to the server on a new connection.
pub(super) async fn ask(upstream: SocketAddr, request: &Request) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(upstream).await?;
    let whole = [request.head.as_bytes(), &request.body].concat();
    stream.write_all(&whole).await?;
    let answer = read_message(&mut stream, &mut Vec::new()).await?;
    let (head, body) = answer.ok_or(ErrorKind::UnexpectedEof)?;
    let is_kept = |line: &&str| !line.is_empty() && !line.to_ascii_lowercase().starts_with("content-length:");
    let lines = head.split("\r\n").filter(is_kept);
    Ok(Answer { head: lines.flat_map(|line| [line, "\r\n"]).collect(), body })
}

/// A head and its body; `None` if the stream ends before.
pub(super) async fn read_message(
    stream: &mut (impl AsyncRead + Unpin),
    buffered: &mut Vec<u8>,
) -> io::Result<Option<(String, Vec<u8>)>> {
    let head_end = loop {
        if let Some(at) = buffered.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffered).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffered[..head_end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let end = head_end + length.unwrap_or(0);
    while buffered.len() < end {
        if stream.read_buf(buffered).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    let body = buffered[head_end..end].to_vec();
    buffered.drain(..end);
    Ok(Some((head, body)))
}
