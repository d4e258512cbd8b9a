//! A minimal client for one Secret in the pod's own cluster.
//!
//! The API server is called directly even if a proxy is configured, because the proxy must not see
//! the token. Each request uses its own connection. The agent does not use a Kubernetes client
//! library, which would increase its size in every pod.

use std::{
    error::Error,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use scaivault_client::Retry;
use scaivault_contract::is_subdomain;
use serde::Deserialize;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::plan::{ExistingSecret, FIELD_MANAGER};
use crate::{config::ApiServer, exit::Exit};

/// The timeout of one request including its connection.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The maximum size of a response in bytes: a Secret of the maximum size in base64, with its
/// metadata.
const ANSWER_MAX_BYTES: usize = 4 * 1024 * 1024;
/// The maximum size of a token or of a CA file in bytes.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// The maximum length of a message of the API server in characters.
const MESSAGE_MAX_CHARS: usize = 500;

/// Problems of the directory with the API server's token and CA.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiFileError {
    #[error(
        "cannot read {}: {source}; mount the service account's token for the API server (automountServiceAccountToken: true), or set SYNC_SECRET_API_DIR to its directory", .file.display()
    )]
    Read { file: PathBuf, source: io::Error },
    #[error("{} has no certificate of an authority; set SYNC_SECRET_API_DIR to the directory of the API server's token", .0.display())]
    Authority(PathBuf),
    #[error("{} has no name of a namespace; set SYNC_SECRET_API_DIR to the directory of the API server's token", .0.display())]
    Namespace(PathBuf),
    #[error("cannot set up TLS for the API server: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error(transparent)]
    File(#[from] ApiFileError),
    #[error(
        "the API server {address} cannot be reached: {source}; check that the pod's network policies allow it"
    )]
    Unreachable { address: String, source: io::Error },
    #[error(
        "the TLS handshake with the API server {address} failed: {source}; ca.crt in SYNC_SECRET_API_DIR must have the authority of its certificate"
    )]
    Tls { address: String, source: io::Error },
    #[error("the API server {address} did not answer within {} s", TIMEOUT.as_secs())]
    Timeout { address: String },
    #[error("the connection to the API server {address} was interrupted: {source}")]
    Broken { address: String, source: hyper::Error },
    #[error(
        "{address} answered status {status} without an object of Kubernetes; check what is at KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT"
    )]
    NotApi { address: String, status: u16 },
    #[error("the API server does not accept the token {} (status 401); it must be a service account's token for the API server", .0.display())]
    Unauthorized(PathBuf),
    #[error(
        "the service account lacks a right: {message}; give it a Role in its namespace with the rule {{apiGroups: [\"\"], resources: [secrets], resourceNames: [{name}], verbs: [get, patch, create]}}, and a RoleBinding"
    )]
    Forbidden { message: String, name: String },
    #[error("another client changed it at the same time: {0}")]
    Conflict(String),
    #[error("the API server refuses it: {message} (status {status})")]
    Refused { status: u16, message: String },
    #[error("the API server is temporarily unable to do it: {message} (status {status})")]
    Busy { status: u16, message: String, retry_after: Option<Duration> },
}

impl ApiError {
    pub(super) fn retry(&self) -> Retry {
        match self {
            Self::Busy { retry_after: Some(after), .. } => Retry::After(*after),
            Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::Timeout { .. }
            | Self::Broken { .. }
            | Self::Conflict(_)
            | Self::Busy { .. } => Retry::Backoff,
            // A Role or a service account that was just created may not be effective yet.
            Self::Unauthorized(_) | Self::Forbidden { .. } => Retry::Once,
            Self::File(_) | Self::NotApi { .. } | Self::Refused { .. } => Retry::Never,
        }
    }

    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Unauthorized(_) => Exit::Authentication,
            Self::Forbidden { .. } => Exit::Denied,
            Self::File(_) | Self::Refused { .. } => Exit::Invalid,
            _ => Exit::Failed,
        }
    }

    /// Transforms the message of the API server.
    pub(super) fn map_message(mut self, change: impl Fn(&str) -> String) -> Self {
        match &mut self {
            Self::Forbidden { message, .. }
            | Self::Conflict(message)
            | Self::Refused { message, .. }
            | Self::Busy { message, .. } => *message = change(message),
            _ => {}
        }
        self
    }
}

/// The response of the API server instead of an object.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    message: String,
}

/// Calls the API server in the pod's namespace.
pub(super) struct Api {
    address: String,
    host: String,
    port: u16,
    token_file: PathBuf,
    namespace: String,
    name: ServerName<'static>,
    tls: TlsConnector,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Api {
    pub(super) fn new(server: &ApiServer) -> Result<Self, ApiFileError> {
        let ApiServer { host, port, directory } = server;
        let namespace_file = directory.join("namespace");
        let namespace = read(&namespace_file)?.trim().to_owned();
        if !is_subdomain(&namespace) {
            return Err(ApiFileError::Namespace(namespace_file));
        }
        Ok(Self {
            address: if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") },
            host: host.clone(),
            port: *port,
            token_file: directory.join("token"),
            namespace,
            name: ServerName::try_from(host.clone()).expect("the configuration has checked it"),
            tls: tls(&directory.join("ca.crt"))?,
        })
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The Secret with this name, if it exists.
    pub(super) async fn read(&self, name: &str) -> Result<Option<ExistingSecret>, ApiError> {
        let answer = self.send(Method::GET, &self.path(name), Bytes::new()).await?;
        match answer.status {
            StatusCode::OK => match serde_json::from_slice(&answer.body) {
                Ok(secret) => Ok(Some(secret)),
                Err(_) => Err(self.not_api(answer.status)),
            },
            StatusCode::NOT_FOUND if Status::parse(&answer).is_some() => Ok(None),
            _ => Err(self.error(name, &answer)),
        }
    }

    /// Server-side apply.
    pub(super) async fn apply(&self, name: &str, body: Vec<u8>, is_forced: bool) -> Result<(), ApiError> {
        let path = format!("{}?fieldManager={FIELD_MANAGER}&force={is_forced}", self.path(name));
        let answer = self.send(Method::PATCH, &path, body.into()).await?;
        if answer.status.is_success() { Ok(()) } else { Err(self.error(name, &answer)) }
    }

    fn path(&self, name: &str) -> String {
        format!("/api/v1/namespaces/{}/secrets/{name}", self.namespace)
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, ApiError> {
        let late = |_| ApiError::Timeout { address: self.address.clone() };
        timeout(TIMEOUT, self.exchange(method, path, body)).await.map_err(late)?
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, ApiError> {
        let broken = |source| ApiError::Broken { address: self.address.clone(), source };
        // Read for each request, because the kubelet replaces it.
        let request = self.request(method, path, body)?;
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Aborted on drop.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let body = match Limited::new(body, ANSWER_MAX_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                return Err(match error.downcast::<hyper::Error>() {
                    Ok(source) => broken(*source),
                    Err(error) => {
                        debug_assert!(error.is::<LengthLimitError>());
                        self.not_api(head.status)
                    }
                });
            }
        };
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, ApiError> {
        let failed = |source: io::Error| {
            let address = self.address.clone();
            // Every other error during the handshake is a connection error.
            let is_tls = source.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>);
            if is_tls { ApiError::Tls { address, source } } else { ApiError::Unreachable { address, source } }
        };
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed)?;
        self.tls.connect(self.name.clone(), stream).await.map_err(failed)
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, ApiError> {
        let token = read(&self.token_file)?;
        let bearer = HeaderValue::try_from(format!("Bearer {}", token.trim()));
        let mut bearer = bearer.map_err(|_| ApiError::Unauthorized(self.token_file.clone()))?;
        bearer.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.address)
            .header(AUTHORIZATION, bearer)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/apply-patch+yaml")
            .header(USER_AGENT, concat!("scaivault-agent/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body));
        Ok(request.expect("a namespace and a name are plain text"))
    }

    fn not_api(&self, status: StatusCode) -> ApiError {
        ApiError::NotApi { address: self.address.clone(), status: status.as_u16() }
    }

    fn error(&self, name: &str, answer: &Answer) -> ApiError {
        let status = answer.status;
        let said = Status::parse(answer);
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            let seconds = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let message = said.map_or_else(|| "no reason is given".to_owned(), |said| said.message);
            let retry_after = seconds.map(Duration::from_secs);
            return ApiError::Busy { status: status.as_u16(), message, retry_after };
        }
        if status == StatusCode::UNAUTHORIZED {
            return ApiError::Unauthorized(self.token_file.clone());
        }
        let Some(Status { message }) = said else { return self.not_api(status) };
        match status {
            // An admission plugin, such as a quota, uses another message.
            StatusCode::FORBIDDEN if message.contains(" cannot ") && message.contains(" resource ") => {
                ApiError::Forbidden { message, name: name.to_owned() }
            }
            StatusCode::CONFLICT => ApiError::Conflict(message),
            _ => ApiError::Refused { status: status.as_u16(), message },
        }
    }
}

impl Status {
    /// `None` if the response is not a Kubernetes object.
    fn parse(answer: &Answer) -> Option<Self> {
        let Self { message } = serde_json::from_slice(&answer.body).ok()?;
        // On one line, because termination messages are displayed on one line.
        let message = message.chars().take(MESSAGE_MAX_CHARS).map(|c| if c.is_control() { ' ' } else { c });
        Some(Self { message: message.collect() })
    }
}

/// Reads a small text file.
fn read(file: &Path) -> Result<String, ApiFileError> {
    let mut text = String::new();
    let done = File::open(file).and_then(|open| open.take(FILE_MAX_BYTES).read_to_string(&mut text));
    done.map(|_| text).map_err(|source| ApiFileError::Read { file: file.to_owned(), source })
}

/// Trusts only the cluster's own CA.
fn tls(file: &Path) -> Result<TlsConnector, ApiFileError> {
    let mut roots = RootCertStore::empty();
    let pem = read(file)?;
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok));
    if roots.is_empty() {
        return Err(ApiFileError::Authority(file.to_owned()));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}
