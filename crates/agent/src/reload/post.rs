//! The POST that notifies an application. It stays inside the pod: only loopback addresses are
//! called, and no name is resolved.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_LENGTH, HOST},
};
use hyper_util::rt::TokioIo;
use scaivault_contract::ReloadUrl;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use super::ReloadError;

/// The timeout of the application's response.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout for the rest of a response after its status.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum size of a response's head, and of its body, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// Sends an empty POST. Every 2xx status is a success.
pub(super) async fn post(url: &ReloadUrl) -> Result<StatusCode, ReloadError> {
    match timeout(TIMEOUT, exchange(url)).await {
        Ok(Ok(status)) if status.is_success() => Ok(status),
        Ok(Ok(status)) => Err(ReloadError::Refused { url: without_query(url), status: status.as_u16() }),
        Ok(Err(error)) => {
            // hyper puts the reason into the error's source.
            let reason =
                error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
            Err(ReloadError::Call { url: without_query(url), reason })
        }
        Err(_) => Err(ReloadError::Late { url: without_query(url) }),
    }
}

/// The URL for the log, without the query, which may contain sensitive data.
pub(super) fn without_query(url: &ReloadUrl) -> String {
    url.as_str().split('?').next().unwrap_or_default().to_owned()
}

async fn exchange(url: &ReloadUrl) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let addresses: Vec<_> = url.addresses().collect();
    let stream = TcpStream::connect(addresses.as_slice()).await?;
    let mut connecting = http1::Builder::new();
    let (mut sender, connection) = connecting.max_buf_size(MAX_BYTES).handshake(TokioIo::new(stream)).await?;
    // Aborted on drop.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::post(url.path_and_query())
        .header(HOST, url.authority())
        .header(CONTENT_LENGTH, 0)
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    // An application whose response is cut off might abort its reload.
    let _ = timeout(BODY_TIMEOUT, Limited::new(answer.into_body(), MAX_BYTES).collect()).await;
    Ok(status)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// The request that an application with this answer receives, and the result.
    async fn call(host: &str, answer: &'static [u8]) -> (String, Result<StatusCode, ReloadError>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let application = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0);
            }
            // The client may close the connection before everything is written.
            let _ = stream.write_all(answer).await;
            (stream, String::from_utf8(asked).unwrap())
        });
        let url = format!("http://{host}:{port}/-/reload?token=hunter2").parse().unwrap();
        let done = post(&url).await;
        (application.await.unwrap().1, done)
    }

    #[tokio::test]
    async fn an_empty_post_is_sent_and_2xx_is_a_success() {
        for host in ["127.0.0.1", "localhost"] {
            let (asked, done) = call(host, b"HTTP/1.1 204 No Content\r\n\r\n").await;
            assert_eq!(done.unwrap(), StatusCode::NO_CONTENT);
            let asked = asked.to_lowercase();
            assert!(asked.starts_with("post /-/reload?token=hunter2 http/1.1\r\n"), "{asked}");
            assert!(asked.contains(&format!("\r\nhost: {host}:")), "{asked}");
            assert!(asked.contains("\r\ncontent-length: 0\r\n"), "{asked}");
        }
        // The agent does not wait for a body that never ends.
        let (_, done) =
            call("127.0.0.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n").await;
        assert_eq!(done.unwrap(), StatusCode::OK);
    }

    #[tokio::test]
    async fn other_answers_fail_and_the_query_is_hidden() {
        for (answer, said) in [
            (
                b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
                    .as_slice(),
                "status 302",
            ),
            (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "status 503"),
            (b"hello\r\n\r\n", "cannot call"),
        ] {
            let error = call("127.0.0.1", answer).await.1.unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("/-/reload"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let error = post(&url).await.unwrap_err().to_string();
        assert!(error.contains("cannot call") && error.contains("refused"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_application_has_a_timeout() {
        // The kernel accepts the connection, but no response is sent.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let error = post(&url).await.unwrap_err();
        assert!(error.to_string().ends_with("did not answer within 5 s"), "{error}");
    }
}
