//! Broken and hostile servers.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use scaivault_client::{
    AnswerFault, Class, Client, DataFault, ErrorKind, Login, Retry, Settings, Timeouts, Token,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::fixture::{DATABASE, PUBLIC, TIMEOUT, path, settings};

/// Answers every request with the same bytes, keeps the connection open, and records the requests.
pub(crate) struct ScriptedServer {
    pub(crate) url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl ScriptedServer {
    pub(crate) async fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&heads);
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let head = read_head(&mut stream).await;
                noted.lock().unwrap().push(head);
                // The client may close the connection before everything is written.
                stream.write_all(&answer).await.ok();
                open.push(stream);
            }
        });
        Self { url, heads }
    }

    /// A server with another URL.
    pub(crate) fn at(url: String) -> Self {
        Self { url, heads: Arc::default() }
    }

    /// A client that is already logged in.
    pub(crate) fn client(&self) -> Client {
        self.client_with(settings(&self.url).timeouts)
    }

    pub(crate) fn client_with(&self, timeouts: Timeouts) -> Client {
        let client = Client::new(Settings { timeouts, ..settings(&self.url) }).unwrap();
        let now = std::time::SystemTime::now();
        let token = Token::restore("swordfish".into(), now, now + Duration::from_mins(10));
        client.resume(token.unwrap());
        client
    }
}

pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { break };
        head.push(byte);
    }
    String::from_utf8(head).unwrap()
}

pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn fault(answer: Vec<u8>) -> ErrorKind {
    let server = ScriptedServer::start(answer).await;
    let error = server.client().read(&path(DATABASE), None).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains("swordfish"), "{text}");
    if let ErrorKind::Answer(fault) = &error.kind {
        // A proxy in front of ScaiVault may answer so during its replacement.
        let may_pass = matches!(fault, AnswerFault::Redirect(_) | AnswerFault::NotHttp | AnswerFault::Json);
        let retry = if may_pass { Retry::Backoff } else { Retry::Never };
        assert_eq!((error.class(), error.retry()), (Class::Unexpected, retry));
    }
    error.kind
}

#[tokio::test]
async fn a_redirect_does_not_carry_the_token_away() {
    let elsewhere = ScriptedServer::start(ok("{}")).await;
    for status in [301, 302, 303, 307, 308] {
        let answer =
            format!("HTTP/1.1 {status} Moved\r\nLocation: {}/\r\nContent-Length: 0\r\n\r\n", elsewhere.url);
        let kind = fault(answer.into_bytes()).await;
        assert!(
            matches!(kind, ErrorKind::Answer(AnswerFault::Redirect(found)) if found == status),
            "{kind:?}"
        );
    }
    assert!(elsewhere.heads.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_body_without_end_is_not_read_to_its_end() {
    let chunk = "x".repeat(64 * 1024);
    let mut announced = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec();
    let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..200 {
        announced.extend_from_slice(chunk.as_bytes());
        chunked.extend_from_slice(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes());
    }
    for answer in [announced, chunked] {
        let kind = fault(answer).await;
        assert!(matches!(kind, ErrorKind::Answer(AnswerFault::TooLarge { .. })), "{kind:?}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_not_read_to_its_end() {
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}", "x".repeat(100 * 1024));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(1000));
    for answer in [long, many] {
        let kind = fault(answer.into_bytes()).await;
        assert!(matches!(kind, ErrorKind::Answer(AnswerFault::TooLarge { .. })), "{kind:?}");
    }
}

#[tokio::test]
async fn unexpected_json_is_not_quoted() {
    for body in [
        "",
        "<html>swordfish</html>",
        "{\"data\":\"swordfish",
        "[]",
        "{\"version\":1}",
        "{\"version\":-1,\"data\":{\"a\":\"swordfish\"}}",
        "\u{feff}{}",
    ] {
        let kind = fault(ok(body)).await;
        assert!(matches!(kind, ErrorKind::Answer(AnswerFault::Json)), "{body}: {kind:?}");
    }
    let kind = fault(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe".to_vec()).await;
    assert!(matches!(kind, ErrorKind::Answer(AnswerFault::Json)), "{kind:?}");
}

#[tokio::test]
async fn data_is_an_object_of_bounded_depth() {
    let deep = format!("{{\"version\":1,\"data\":{}1{}}}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    for (body, expected) in [
        (deep.as_str(), DataFault::TooDeep),
        ("{\"version\":1,\"data\":[\"swordfish\"]}", DataFault::NotAnObject),
        ("{\"version\":1,\"data\":null}", DataFault::NotAnObject),
    ] {
        let kind = fault(ok(body)).await;
        assert!(matches!(kind, ErrorKind::Answer(AnswerFault::Data(found)) if found == expected), "{kind:?}");
    }
    // Deep nesting in a member that is not read.
    let with_data =
        format!("{{\"version\":1,\"data\":{{}},\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let server = ScriptedServer::start(ok(&with_data)).await;
    let read = server.client().read(&path(DATABASE), None).await;
    assert!(read.is_ok_and(|secret| secret.data.json() == "{}"));
}

#[tokio::test]
async fn an_error_without_an_envelope_is_no_answer_of_the_servers() {
    for (status, class, retry) in [
        (401, Class::Authentication, Retry::Never),
        (403, Class::Unexpected, Retry::Backoff),
        (404, Class::Unexpected, Retry::Backoff),
        (418, Class::Unexpected, Retry::Backoff),
        (502, Class::Unavailable, Retry::Backoff),
    ] {
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 9\r\n\r\nswordfish");
        let server = ScriptedServer::start(answer.into_bytes()).await;
        let error = server.client().read(&path(DATABASE), None).await.unwrap_err();
        assert_eq!((error.class(), error.retry()), (class, retry), "{error}");
        assert!(!error.to_string().contains("swordfish"), "{error}");
    }
}

#[tokio::test]
async fn an_error_of_another_form_is_no_answer_of_the_servers() {
    for body in [
        r#"{"error":"Not Found"}"#,
        r#"{"error":"not_found"}"#,
        r#"{"error":{}}"#,
        r#"{"code":"access_denied"}"#,
    ] {
        let answer = format!("HTTP/1.1 404 X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let server = ScriptedServer::start(answer.into_bytes()).await;
        let error = server.client().read(&path(DATABASE), None).await.unwrap_err();
        assert_eq!((error.class(), error.retry()), (Class::Unexpected, Retry::Backoff), "{body}: {error}");
    }
}

#[tokio::test]
async fn an_echoed_request_is_not_repeated_in_errors() {
    let directory = tempfile::tempdir().unwrap();
    let token = format!("eyJhbGciOi.{}.sig-0123456789", "claims".repeat(10));
    for (file, text) in [("token", token.as_str()), ("client_id", "app"), ("client_secret", "sword fish/42")]
    {
        std::fs::write(directory.path().join(file), text).unwrap();
    }
    let quoted = ["swordfish", token.as_str(), &token[5..30], "sword fish/42", "sword%20fish%2F42"];
    let message = quoted.join(" or ");
    for body in [
        format!(r#"{{"error":{{"code":"validation_error","message":"{message}"}}}}"#),
        format!(r#"{{"error":"invalid_client","error_description":"{message}"}}"#),
    ] {
        let answer = format!("HTTP/1.1 400 X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let server = ScriptedServer::start(answer.into_bytes()).await;
        let exchange = Login::Exchange {
            token_file: directory.path().join("token"),
            audience: "scaivault".to_owned(),
            role: None,
        };
        let credentials = Login::ClientCredentials {
            directory: directory.path().to_owned(),
            token_url: settings(&server.url).address,
            trust: PUBLIC,
        };
        let logs_in = |login| Client::new(Settings { login, ..settings(&server.url) }).unwrap();
        let error = logs_in(exchange).login().await.unwrap_err().to_string();
        assert!(!error.contains("eyJh") && !error.contains("claims") && error.contains(" or "), "{error}");
        let error = logs_in(credentials).login().await.unwrap_err().to_string();
        assert!(!error.contains("sword fish") && !error.contains("sword%20"), "{error}");
        let error = server.client().read(&path(DATABASE), None).await.unwrap_err().to_string();
        assert!(!error.contains("swordfish"), "{error}");
    }
}

#[tokio::test]
async fn an_error_message_cannot_break_a_log_line() {
    let message = format!("first\\nsecond \\u001b[31m{}", "x".repeat(10_000));
    let body =
        format!("{{\"error\":{{\"code\":\"a\\nb\",\"message\":\"{message}\",\"request_id\":\"r\\nq\"}}}}");
    let answer = format!("HTTP/1.1 500 X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let server = ScriptedServer::start(answer.into_bytes()).await;
    let error = server.client().read(&path(DATABASE), None).await.unwrap_err();
    let text = error.to_string();
    assert!(!text.contains(char::is_control) && text.len() < 500, "{text}");
}

#[tokio::test]
async fn a_slow_body_and_a_silent_server_have_a_timeout() {
    let timeouts = Timeouts { idle: Duration::from_millis(200), ..settings("http://localhost").timeouts };
    for answer in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"ver"] {
        let server = ScriptedServer::start(answer.as_bytes().to_vec()).await;
        let error = server.client_with(timeouts).read(&path(DATABASE), None).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Timeout { .. }), "{error}");
        assert_eq!((error.class(), error.retry()), (Class::Unavailable, Retry::Backoff));
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_worth_another_try() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{").await.ok();
        }
    });
    let server = ScriptedServer { url, heads: Arc::default() };
    let error = server.client().read(&path(DATABASE), None).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Broken { .. }), "{error}");
    assert_eq!(error.retry(), Retry::Backoff);
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_not_read_further() {
    let kind = fault(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()).await;
    assert!(matches!(kind, ErrorKind::Answer(AnswerFault::NotHttp)), "{kind:?}");
}

#[tokio::test]
async fn a_refused_connection_may_be_retried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let server = ScriptedServer { url, heads: Arc::default() };
    let error = server.client().read(&path(DATABASE), None).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unreachable { .. }), "{error}");
    assert_eq!(error.retry(), Retry::Backoff);
}

#[tokio::test]
async fn a_lease_cannot_be_named_so_that_another_route_is_called() {
    let server = ScriptedServer::start(ok("{\"lease_id\":\"../../secrets/x\",\"data\":{},\"ttl\":60}")).await;
    let dynamic = "engine=postgres-prod role=readonly".parse().unwrap();
    let error = server.client().generate(&dynamic, TIMEOUT).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Answer(AnswerFault::Id(_))), "{error}");
}

/// Answers the first request of each connection, and closes it when the second one has arrived.
/// Counts both.
async fn closing_server() -> (ScriptedServer, Arc<Mutex<[u32; 2]>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new([0, 0]));
    let counted = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                read_head(&mut stream).await;
                counted.lock().unwrap()[0] += 1;
                let answer = ok(r#"{"version":1,"data":{},"lease_id":"lease_1","ttl":60}"#);
                stream.write_all(&answer).await.ok();
                if !read_head(&mut stream).await.is_empty() {
                    counted.lock().unwrap()[1] += 1;
                }
            });
        }
    });
    (ScriptedServer { url, heads: Arc::default() }, requests)
}

#[tokio::test]
async fn a_connection_closed_under_a_read_is_replaced() {
    let (server, requests) = closing_server().await;
    let client = server.client();
    for _ in 0..3 {
        client.read(&path(DATABASE), None).await.unwrap();
    }
    assert_eq!(*requests.lock().unwrap(), [3, 2]);
}

#[tokio::test]
async fn requests_that_create_something_are_not_repeated() {
    let (server, requests) = closing_server().await;
    let client = server.client();
    client.read(&path(DATABASE), None).await.unwrap();
    client.generate(&"engine=postgres-prod role=readonly".parse().unwrap(), TIMEOUT).await.unwrap();
    assert_eq!(*requests.lock().unwrap(), [2, 0], "a new connection at once");
}
