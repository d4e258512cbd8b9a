//! The server over HTTP in the parts that this project's client does not use: requests of other
//! clients, and the admin port.
#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

mod support;

use std::{net::SocketAddr, sync::Arc};

use hyper::Request;
use scaivault_devserver::{DevServer, Issuer, Route, Seed, Settings, StartError, Tls};
use serde_json::{Value, json};

use support::{Answer, send};

const SEED: &str = r#"
policies:
  all: [{path_pattern: "app/**", permissions: [admin]}]
identities:
  - id: sa:web
    service_accounts: ["billing/*"]
    scopes: [secrets:read, secrets:write, secrets:delete]
    policies: [all]
secrets:
  app/db: {data: {password: example}}
"#;

async fn server() -> DevServer {
    let issuer = Arc::new(Issuer::generate().unwrap());
    let admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let settings = Settings { admin, ..Settings::for_tests(Seed::new(SEED).unwrap(), &issuer) };
    DevServer::start(settings).await.unwrap()
}

async fn admin(server: &DevServer, method: &str, path: &str, body: Value) -> Answer {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    send(server.admin_address().unwrap(), request, &body.to_string()).await
}

/// A token of the server, obtained like in a pod.
async fn token(server: &DevServer) -> String {
    let wanted = json!({"namespace": "billing", "service_account": "web"});
    let subject = admin(server, "POST", "/tokens", wanted).await.body;
    let form = format!("subject_token={}&extra=1", subject.as_str().unwrap());
    let request =
        Request::post("/v1/auth/exchange").header("content-type", "application/x-www-form-urlencoded");
    let answered = send(server.address(), request, &form).await;
    assert_eq!(answered.status, 200, "{}", answered.body);
    format!("Bearer {}", answered.body["access_token"].as_str().unwrap())
}

#[tokio::test]
async fn an_error_has_the_published_envelope() {
    let server = server().await;
    let answered = send(server.address(), Request::get("/v1/secrets/app/db"), "").await;
    assert_eq!(answered.status, 401);
    let error = &answered.body["error"];
    assert_eq!(error["code"], "authentication_required");
    assert_eq!(error["request_id"], answered.headers["x-request-id"].to_str().unwrap());

    let token = token(&server).await;
    let request = Request::get("/v1/secrets/app/none").header("authorization", &token);
    let answered = send(server.address(), request, "").await;
    assert_eq!(answered.status, 404);
    assert_eq!(answered.body["error"]["details"], json!({"path": "app/none"}));
    for header in ["x-request-id", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"] {
        assert!(answered.headers.contains_key(header), "{header}");
    }
    let request = Request::get("/v1/secrets/app/Upper").header("authorization", &token);
    let answered = send(server.address(), request, "").await;
    assert_eq!((answered.status, &answered.body["error"]["code"]), (400, &json!("invalid_path")));
    let request = Request::get("/v1/secrets").header("authorization", &token);
    let answered = send(server.address(), request, "").await;
    assert_eq!((answered.status, &answered.body["error"]["code"]), (403, &json!("insufficient_scope")));
}

#[tokio::test]
async fn a_deleted_secret_keeps_its_path() {
    let server = server().await;
    let token = token(&server).await;
    let send = async |method: &str, path: &str, body: &str| {
        let request = Request::builder().method(method).uri(path).header("authorization", &token);
        let answered = send(server.address(), request, body).await;
        (answered.status, answered.body["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let body = r#"{"data":{"password":"new"}}"#;
    assert_eq!(send("PUT", "/v1/secrets/app/new", body).await.0, 201);
    assert_eq!(send("PUT", "/v1/secrets/app/new", body).await.0, 200);
    assert_eq!(send("DELETE", "/v1/secrets/app/new", "").await.0, 204);
    assert_eq!(send("GET", "/v1/secrets/app/new", "").await, (404, "secret_not_found".to_owned()));
    assert_eq!(send("PUT", "/v1/secrets/app/new", body).await, (409, "secret_exists".to_owned()));
    assert_eq!(send("PUT", "/v1/secrets/other/new", body).await, (403, "access_denied".to_owned()));
}

#[tokio::test]
async fn the_admin_port_and_the_handle_set_the_same_faults() {
    let server = server().await;
    let token = token(&server).await;
    let read = async || {
        let request = Request::get("/v1/secrets/app/db").header("authorization", &token);
        send(server.address(), request, "").await
    };
    let fault = json!({"route": "read", "effect": {"refuse": {"code": "rate_limited", "retry_after": 3}}, "times": 1});
    assert_eq!(admin(&server, "POST", "/faults", fault.clone()).await.status, 204);
    assert_eq!(admin(&server, "GET", "/faults", json!(null)).await.body, json!([fault]));
    let answered = read().await;
    assert_eq!((answered.status, answered.headers["retry-after"].to_str().unwrap()), (429, "3"));
    assert_eq!(read().await.status, 200);

    assert_eq!(admin(&server, "PUT", "/secrets/app/db", json!({"password": "b"})).await.body, json!(2));
    assert_eq!(read().await.body["data"], json!({"password": "b"}));
    assert_eq!(admin(&server, "DELETE", "/secrets/app/db?permanent=true", json!(null)).await.status, 204);
    assert_eq!(admin(&server, "PUT", "/secrets/app/db", json!({"password": "c"})).await.body, json!(1));
    assert_eq!(admin(&server, "GET", "/leases/live", json!(null)).await.body, json!(0));
    assert_eq!(admin(&server, "PUT", "/ready", json!(false)).await.status, 204);
    assert_eq!(send(server.address(), Request::get("/v1/health/ready"), "").await.status, 503);
    assert_eq!(admin(&server, "POST", "/clock/advance", json!({"seconds": 3600})).await.status, 204);
    assert_eq!(read().await.body["error"]["code"], "token_expired");
    let requests = admin(&server, "GET", "/requests", json!(null)).await.body;
    assert_eq!((&requests["read"], &requests["exchange"]), (&json!(4), &json!(1)));
    assert_eq!(server.handle().requests(Route::Read), 4);
}

#[tokio::test]
async fn unprotected_ports_only_listen_on_loopback() {
    let issuer = Arc::new(Issuer::generate().unwrap());
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let base = || Settings::for_tests(Seed::default(), &issuer);
    let refused = [
        Settings { listen: everywhere, ..base() },
        Settings { admin: Some(everywhere), tls: Tls::Generated(vec!["localhost".to_owned()]), ..base() },
    ];
    for settings in refused {
        let error = DevServer::start(settings).await.err();
        assert!(matches!(error, Some(StartError::NotLoopback { .. })), "{error:?}");
    }
}
