//! Fixtures that the tests of several modules share.

use std::{io, net::IpAddr, sync::Arc, time::SystemTime};

use scaivault_certs::{Authority, CertResolver, client_config, server_config};
use scaivault_inject::{KubeVersion, Namespace, Settings};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream},
    sync::{mpsc::Receiver, watch},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ServerConfig, pki_types::ServerName},
};

use crate::{
    context::{AdmissionContext, Cluster, Lookup, NoCluster},
    serve::Accept,
};

/// A review of a pod's creation. Each pair in `edit` replaces a text in the review by another.
pub(crate) fn review(edit: &[(&str, &str)]) -> String {
    let review = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u-1",
        "kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},
        "name":"","namespace":"shop","operation":"CREATE","userInfo":{"username":"admin","groups":["a"]},
        "object":{"kind":"Pod","apiVersion":"v1","metadata":{"generateName":"web-","labels":{"app":"web"}},
          "spec":{"containers":[{"name":"app","image":"registry.invalid/app:1"}]},"status":{}},
        "oldObject":null,"dryRun":false,"options":{"kind":"CreateOptions"}}}"#;
    edit.iter().fold(review.to_owned(), |review, (from, to)| {
        assert!(review.contains(from), "{from} is not in the review");
        review.replace(from, to)
    })
}

/// A review of a pod that requests a secret, so that the cluster matters; `edit` as in [`review`].
pub(crate) fn asking(edit: &[(&str, &str)]) -> String {
    const SECRET: &str = r#""annotations":{"scaivault.scailabs.ai/inject-secret-db":"apps/db"},"labels""#;
    let mut edits = vec![(r#""labels""#, SECRET)];
    edits.extend_from_slice(edit);
    review(&edits)
}

/// A cluster with a namespace that is not in the cache and one whose lookup panics.
struct Odd;

impl Cluster for Odd {
    fn namespace(&self, name: &str) -> Lookup<Arc<Namespace>> {
        match name {
            "unknown" => Lookup::Unknown,
            "panic" => panic!("hunter2"),
            _ => NoCluster.namespace(name),
        }
    }

    fn service_account_role(&self, _namespace: &str, service_account: &str) -> Lookup<Option<Arc<str>>> {
        match service_account {
            "unknown" => Lookup::Unknown,
            "billing" => Lookup::Known(Some("billing-role".into())),
            _ => Lookup::Known(None),
        }
    }

    fn changes(&self) -> watch::Receiver<()> {
        NoCluster.changes()
    }
}

/// A context in which the namespaces `unknown` and `panic` and the service account `unknown` behave
/// as named, and the service account `billing` has a role.
pub(crate) fn context() -> Arc<AdmissionContext> {
    Arc::new(AdmissionContext::new(Settings::default(), KubeVersion::OLDEST, Arc::new(Odd)))
}

/// A server configuration for `localhost` and a client that trusts it.
pub(crate) fn tls() -> (Arc<ServerConfig>, TlsConnector) {
    let now = SystemTime::now();
    let day = std::time::Duration::from_hours(24);
    let authority = Authority::new("tests", now, day).unwrap();
    let leaf = authority.issue(&["localhost".into()], now, day).unwrap();
    let resolver = CertResolver::new(leaf.certified_key().unwrap());
    let client = client_config(authority.certificate_pem().as_bytes()).unwrap();
    (server_config(Arc::new(resolver)).unwrap(), client.into())
}

pub(crate) async fn connect(connector: &TlsConnector, stream: DuplexStream) -> TlsStream<DuplexStream> {
    let name = ServerName::try_from("localhost").unwrap();
    connector.connect(name, stream).await.unwrap()
}

/// In-memory connections, so that tests can use tokio's paused clock.
impl Accept for Receiver<(DuplexStream, IpAddr)> {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, IpAddr)> {
        match self.recv().await {
            Some(accepted) => Ok(accepted),
            None => std::future::pending().await,
        }
    }
}

/// The head of a `POST /mutate` with a body of this length.
pub(crate) fn head(length: usize) -> String {
    format!(
        "POST /mutate?timeout=5s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// An HTTP response as received.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Reads one HTTP/1.1 response; `None` if the connection ends before its first byte.
pub(crate) async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> Option<Answer> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) if bytes.is_empty() => return None,
            Err(error) => panic!("cut off: {error}"),
        }
    }
    let head = String::from_utf8(bytes).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    Some(Answer { status: head[9..12].parse().unwrap(), head, body: String::from_utf8(body).unwrap() })
}

/// Sends one review and reads its answer.
pub(crate) async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<Answer> {
    let review = review(&[]);
    let request = head(review.len()) + &review;
    // If the connection was closed meanwhile, reading the answer shows it.
    let _ = stream.write_all(request.as_bytes()).await;
    let _ = stream.flush().await;
    answer(stream).await
}
