use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode, body::Bytes, client, server, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use scaivault_certs::{Authority, CertResolver, server_config};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    DevServer, Issuer, Keys, Seed, Settings,
    keys::tests::{rsa_key, signed},
};

const SEED: &str = "identities: [{id: 'sa:web', service_accounts: [billing/web]}]";
const API_SERVER: &str = "https://kubernetes.default.svc";

/// The keys that an API server publishes, and the requests for them.
#[derive(Default)]
struct FakeIssuer {
    /// `None` while it is unavailable.
    jwks: Mutex<Option<Value>>,
    /// The `Authorization` headers of the requests so far.
    asked: Mutex<Vec<Option<String>>>,
}

impl FakeIssuer {
    fn show(&self, jwks: Option<Value>) {
        *self.jwks.lock().unwrap_or_else(PoisonError::into_inner) = jwks;
    }

    fn asked(&self) -> Vec<Option<String>> {
        self.asked.lock().unwrap().clone()
    }

    fn answer(&self, authorization: Option<&str>) -> Response<Full<Bytes>> {
        self.asked.lock().unwrap().push(authorization.map(str::to_owned));
        let jwks = self.jwks.lock().unwrap().clone();
        let mut response = Response::new(Full::from(jwks.as_ref().map(Value::to_string).unwrap_or_default()));
        if jwks.is_none() {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }

    /// Serves until the runtime ends; returns the address.
    async fn serve(self: &Arc<Self>, tls: Option<TlsAcceptor>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let published = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = service_fn(async |request: Request<_>| {
                    let _: &hyper::body::Incoming = request.body();
                    let authorization = request.headers().get("authorization");
                    let text = authorization.map(|value| value.to_str().unwrap());
                    Ok::<_, std::convert::Infallible>(published.answer(text))
                });
                let http = server::conn::http1::Builder::new();
                match &tls {
                    None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            drop(http.serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                }
            }
        });
        address
    }
}

fn pair() -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()
}

fn token(kid: &str, pair: &KeyPair) -> String {
    let now = Timestamp::now().as_second();
    let claims = json!({
        "iss": API_SERVER, "aud": ["scaivault"], "sub": "system:serviceaccount:billing:web", "exp": now + 3600,
    });
    signed(&json!({"alg": "RS256", "kid": kid}), &claims, pair)
}

async fn server(url: JwksUrl) -> DevServer {
    let keys = Keys::fetch(url).await.unwrap().of_issuer(API_SERVER);
    let issuer = Arc::new(Issuer::generate().unwrap());
    let settings = Settings { keys, issuer: None, ..Settings::for_tests(Seed::new(SEED).unwrap(), &issuer) };
    DevServer::start(settings).await.unwrap()
}

/// The code of the answer's error; `ok` for a success.
async fn login(server: &DevServer, token: &str) -> String {
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let body = json!({ "subject_token": token }).to_string();
    let request = Request::post("/v1/auth/exchange").header("host", "dev").body(Full::<Bytes>::from(body));
    let response = sender.send_request(request.unwrap()).await.unwrap();
    let answer = response.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    answer["error"]["code"].as_str().unwrap_or("ok").to_owned()
}

#[tokio::test]
async fn an_unknown_key_is_fetched_once() {
    let (first, second) = (pair(), pair());
    let published = Arc::new(FakeIssuer::default());
    published.show(Some(json!({"keys": [rsa_key(&first, "first")]})));
    let address = published.serve(None).await;
    let url = JwksUrl::new(&format!("http://{address}/openid/v1/jwks"), None, None).unwrap();
    let server = server(url).await;
    assert_eq!(login(&server, &token("first", &first)).await, "ok");
    assert_eq!(published.asked(), [None]);

    published.show(Some(json!({"keys": [rsa_key(&first, "first"), rsa_key(&second, "second")]})));
    assert_eq!(login(&server, &token("second", &second)).await, "ok");
    assert_eq!(login(&server, &token("first", &first)).await, "ok");
    assert_eq!(published.asked().len(), 2);
    for _ in 0..5 {
        assert_eq!(login(&server, &token("third", &first)).await, "token_invalid");
    }
    assert_eq!(published.asked().len(), 2, "it was fetched a moment ago");
    server.handle().advance(Duration::from_secs(10));
    assert_eq!(login(&server, &token("third", &first)).await, "token_invalid");
    assert_eq!(published.asked().len(), 3);
}

#[tokio::test]
async fn an_issuer_that_is_down_is_no_fault_of_the_token() {
    let (first, second) = (pair(), pair());
    let published = Arc::new(FakeIssuer::default());
    published.show(Some(json!({"keys": [rsa_key(&first, "first")]})));
    let address = published.serve(None).await;
    let url = JwksUrl::new(&format!("http://{address}/"), None, None).unwrap();
    let server = server(url).await;
    published.show(None);
    assert_eq!(login(&server, &token("second", &second)).await, "service_unavailable");
    assert_eq!(login(&server, &token("second", &second)).await, "service_unavailable");
    assert_eq!(published.asked().len(), 2);
    assert_eq!(login(&server, &token("first", &first)).await, "ok", "known keys stay valid");
    published.show(Some(json!({"keys": [rsa_key(&second, "second")]})));
    server.handle().advance(Duration::from_secs(10));
    assert_eq!(login(&server, &token("second", &second)).await, "ok");
    assert_eq!(login(&server, &token("first", &first)).await, "token_invalid", "it is no longer published");
}

#[tokio::test]
async fn the_issuer_is_verified_and_gets_the_current_token() {
    let authority = Authority::new("cluster", SystemTime::now(), Duration::from_hours(1)).unwrap();
    let names = ["127.0.0.1".to_owned()];
    let leaf = authority.issue(&names, SystemTime::now(), Duration::from_hours(1)).unwrap();
    let resolver = Arc::new(CertResolver::new(leaf.certified_key().unwrap()));
    let published = Arc::new(FakeIssuer::default());
    let (first, second) = (pair(), pair());
    published.show(Some(json!({"keys": [rsa_key(&first, "first")]})));
    let address = published.serve(Some(server_config(resolver).unwrap().into())).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "one\n").unwrap();
    let url = |ca: &str| {
        JwksUrl::new(&format!("https://{address}/"), Some(ca.as_bytes()), Some(file.clone())).unwrap()
    };

    let stranger = Authority::new("other", SystemTime::now(), Duration::from_hours(1)).unwrap();
    let error = Keys::fetch(url(stranger.certificate_pem())).await.err().unwrap().to_string();
    assert!(error.contains("certificate"), "{error}");
    assert!(published.asked().is_empty());

    let server = server(url(authority.certificate_pem())).await;
    std::fs::write(&file, "two").unwrap();
    published.show(Some(json!({"keys": [rsa_key(&second, "second")]})));
    assert_eq!(login(&server, &token("second", &second)).await, "ok");
    assert_eq!(published.asked(), [Some("Bearer one".to_owned()), Some("Bearer two".to_owned())]);
}
