//! A key set that is fetched: its URL, the trust anchor of its server, and the authentication.

use std::{fs, io, net::IpAddr, path::PathBuf, time::Duration};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, Uri,
    body::Bytes,
    client::conn::http1,
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use scaivault_certs::client_config;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// The timeout for fetching a key set: a login waits for it, and itself times out after about ten
/// seconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum size of a key set in bytes: an API server's has some hundred per key.
const SIZE_LIMIT: usize = 1024 * 1024;

/// The URL of a key set: an API server's `/openid/v1/jwks`, or that of another issuer.
pub struct JwksUrl {
    url: Uri,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    token_file: Option<PathBuf>,
}

impl JwksUrl {
    /// `https` is verified with the authorities in `ca_pem`; `http` is only allowed for loopback
    /// (`kubectl proxy`). The token in `token_file` is read for each request, because a projected
    /// one changes.
    pub fn new(url: &str, ca_pem: Option<&[u8]>, token_file: Option<PathBuf>) -> Result<Self, JwksUrlError> {
        let bad = |what| JwksUrlError { url: url.to_owned(), what };
        let parsed: Uri = url.parse().map_err(|_| bad("is not an URL"))?;
        let host = parsed.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(bad("names no host"));
        }
        let (port, tls) = match (parsed.scheme_str(), ca_pem) {
            (Some("https"), Some(ca_pem)) => {
                let no_authority = || bad("has an authority without a certificate in PEM");
                if CertificateDer::pem_slice_iter(ca_pem).next().is_none() {
                    return Err(no_authority());
                }
                let config = client_config(ca_pem).map_err(|_| no_authority())?;
                let name = ServerName::try_from(host.clone()).map_err(|_| bad("names no host"))?;
                (443, Some((TlsConnector::from(config), name)))
            }
            (Some("https"), None) => return Err(bad("needs the authority of its server: --jwks-ca")),
            (Some("http"), None) if is_loopback(&host) => (80, None),
            (Some("http"), None) => {
                return Err(bad("leads away from loopback; only https may, with --jwks-ca"));
            }
            (Some("http"), Some(_)) => return Err(bad("has an authority; that is for https")),
            _ => return Err(bad("is neither https nor http")),
        };
        let port = parsed.port_u16().unwrap_or(port);
        Ok(Self { url: parsed, host, port, tls, token_file })
    }

    /// Fetches the key set as text.
    pub(crate) async fn fetch(&self) -> Result<String, FetchError> {
        let fetched = timeout(TIMEOUT, self.fetch_without_limit()).await;
        let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer within {TIMEOUT:?}").into()));
        fetched.map_err(|source| FetchError { url: self.url.to_string(), source })
    }

    async fn fetch_without_limit(&self) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let authority = self.url.authority().map(ToString::to_string).unwrap_or_default();
        let route = self.url.path_and_query().map_or("/", |route| route.as_str());
        let mut request = Request::get(route).header(header::HOST, authority);
        if let Some(file) = &self.token_file {
            request = request.header(header::AUTHORIZATION, bearer(file)?);
        }
        let request = request.body(Empty::new())?;
        match &self.tls {
            None => exchange(stream, request).await,
            Some((tls, name)) => exchange(tls.connect(name.clone(), stream).await?, request).await,
        }
    }
}

/// A URL that is not valid for a key set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the key set's address {url} {what}")]
pub struct JwksUrlError {
    url: String,
    what: &'static str,
}

/// Why a key set could not be fetched.
#[derive(Debug, Error)]
#[error("cannot fetch the key set {url}: {source}")]
pub struct FetchError {
    url: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn bearer(file: &PathBuf) -> io::Result<HeaderValue> {
    let token = fs::read_to_string(file)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
        .map_err(|_| io::Error::other(format!("{}: it is not a token", file.display())))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with its sender; its errors are those of the request.
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        return Err(format!("the answer is {}", response.status()).into());
    }
    let body = Limited::new(response.into_body(), SIZE_LIMIT).collect().await?;
    Ok(String::from_utf8(body.to_bytes().to_vec())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, ca_pem: Option<&[u8]>, expected: Result<u16, &str>) {
        let port = JwksUrl::new(url, ca_pem, None).map(|url| url.port).map_err(|error| error.what);
        match (port, expected) {
            (Err(what), Err(expected)) => assert!(what.contains(expected), "{url}: {what}"),
            (port, expected) => assert_eq!(port, expected, "{url}"),
        }
    }

    #[test]
    fn nothing_is_fetched_from_afar_without_an_authority() {
        check("http://127.0.0.1:8001/openid/v1/jwks", None, Ok(8001));
        check("http://localhost/openid/v1/jwks", None, Ok(80));
        check("http://[::1]:8001/openid/v1/jwks", None, Ok(8001));
        check("http://10.0.0.1/openid/v1/jwks", None, Err("loopback"));
        check("http://localhost.example/openid/v1/jwks", None, Err("loopback"));
        check("http://127.0.0.1:8001/", Some(b""), Err("that is for https"));
        check("https://10.0.0.1/openid/v1/jwks", None, Err("--jwks-ca"));
        check("https://10.0.0.1/openid/v1/jwks", Some(b"none"), Err("without a certificate"));
        check("ftp://127.0.0.1/", None, Err("neither"));
        check("/openid/v1/jwks", None, Err("no host"));
    }
}
