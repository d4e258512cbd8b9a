//! A minimal HTTPS client for a single request, sufficient for a known server on this machine.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, ensure};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// The maximum size of a reply in bytes.
const MAX_REPLY_BYTES: u64 = 4 * 1024 * 1024;

/// A reply's status and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Posts JSON to a server whose certificate is for its address and is signed by the CA in `ca_pem`.
pub(super) async fn post(
    address: SocketAddr,
    ca_pem: &str,
    path: &str,
    json: &[u8],
) -> anyhow::Result<Reply> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.context("the CA is not PEM")?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();

    let connection = TcpStream::connect(address).await?;
    let name = ServerName::from(address.ip());
    let mut connection = TlsConnector::from(Arc::new(config)).connect(name, connection).await?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        json.len()
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(json).await?;
    connection.flush().await?;

    let mut bytes = Vec::new();
    connection.take(MAX_REPLY_BYTES).read_to_end(&mut bytes).await?;
    parse(&bytes)
}

/// Parses a reply with a `Content-Length`; the webhook sends no other.
fn parse(bytes: &[u8]) -> anyhow::Result<Reply> {
    const END: &[u8] = b"\r\n\r\n";
    let end = bytes
        .windows(END.len())
        .position(|window| window == END)
        .context("the reply has no end of its head")?;
    let head = std::str::from_utf8(&bytes[..end]).context("the reply's head is not text")?;
    let body = &bytes[end + END.len()..];

    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok())
        .context("the reply is not HTTP/1.1")?;
    let length: usize = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .context("the reply has no length")?;
    ensure!(body.len() == length, "the reply was cut off: {} of {length} bytes came", body.len());
    Ok(Reply { status, body: body.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read() {
        let reply =
            parse(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\ncontent-length: 4\r\n\r\nbusy")
                .unwrap();
        assert_eq!((reply.status, reply.body), (503, b"busy".to_vec()));
    }

    #[test]
    fn an_incomplete_reply_is_an_error() {
        for (bytes, expected) in [
            ("", "end of its head"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n", "end of its head"),
            ("SSH-2.0\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1"),
            ("HTTP/1.1 2\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1"),
            ("HTTP/1.1 200 OK\r\n\r\nbody", "no length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbod", "cut off"),
        ] {
            let error = parse(bytes.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{bytes:?}: {error}");
        }
    }
}
