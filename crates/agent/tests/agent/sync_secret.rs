//! `sync-secret` with an API server that fails in ways that a real one rarely does.
//! `tests/sync_secret` uses a real one.

use std::{
    collections::VecDeque,
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use scaivault_devserver::{Fault, Route};
use scaivault_testkit::world::{Door, World};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Command,
};

use crate::support::{Pod, RunResult, ended, start, terminate};

const SECRETS: &str = "app/stripe#key -> STRIPE_KEY";

/// An API server with scripted answers, over TLS.
struct Api {
    world: World,
    authority: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Api {
    /// Sends these answers in order: status and body.
    async fn start(answers: impl IntoIterator<Item = (u16, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let mut answers: VecDeque<_> = answers.into_iter().collect();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answers.pop_front().unwrap_or((500, "{}".to_owned()));
                serve(stream, &answer, &seen).await;
            }
        });
        let (world, authority) = World::start_tls(address, 1, &["127.0.0.1"]).unwrap();
        Self { world, authority, requests }
    }

    /// Each request: its first line, and its body.
    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn agent(&self, pod: &Pod, variables: &[(&str, &str)]) -> Command {
        let directory = pod.path("api");
        if !directory.exists() {
            fs::create_dir(&directory).unwrap();
            for (file, text) in [("token", "token"), ("ca.crt", &self.authority), ("namespace", "shop")] {
                fs::write(directory.join(file), text).unwrap();
            }
        }
        let port = self.world.address().port().to_string();
        let mut all = vec![
            ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
            ("KUBERNETES_SERVICE_PORT", &port),
            ("SYNC_SECRET_API_DIR", directory.to_str().unwrap()),
            ("SYNC_SECRET_NAME", "billing"),
            ("SECRETS", SECRETS),
        ];
        all.extend_from_slice(variables);
        pod.agent("sync-secret", &all)
    }

    async fn sync(&self, pod: &Pod, variables: &[(&str, &str)]) -> RunResult {
        ended(start(&mut self.agent(pod, variables))).await
    }
}

async fn serve(mut stream: TcpStream, (status, body): &(u16, String), seen: &Mutex<Vec<String>>) {
    let mut bytes = Vec::new();
    let request = loop {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        if body.len() == length.parse::<usize>().unwrap() {
            break format!("{} {body}", head.lines().next().unwrap());
        }
    };
    seen.lock().unwrap().push(request);
    let head =
        format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
}

fn status(code: u16, reason: &str, message: &str) -> (u16, String) {
    (code, json!({"kind": "Status", "reason": reason, "message": message}).to_string())
}

fn absent() -> (u16, String) {
    status(404, "NotFound", "secrets \"billing\" not found")
}

fn existing(resource_version: &str) -> (u16, String) {
    let labels = json!({"scaivault.scailabs.ai/managed-by": "sync-secret"});
    let metadata = json!({"name": "billing", "resourceVersion": resource_version, "labels": labels});
    (200, json!({"kind": "Secret", "type": "Opaque", "metadata": metadata}).to_string())
}

fn done() -> (u16, String) {
    (200, "{}".to_owned())
}

#[tokio::test]
async fn temporary_failures_are_retried() {
    let (pod, busy) = (Pod::new().await, status(429, "TooManyRequests", "slow down"));
    let broken = (502, "<html>Bad Gateway</html>".to_owned());
    let conflict = status(409, "Conflict", "the object has been modified");
    let answers =
        [broken, absent(), busy, absent(), conflict.clone(), existing("7"), conflict, existing("8"), done()];
    let api = Api::start(answers).await;
    api.sync(&pod, &[]).await.check(0, &["trying again", "slow down", "at the same time", "secret written"]);
    let requests = api.requests();
    let patches: Vec<_> = requests.iter().filter_map(|request| request.split_once("force=")).collect();
    // Another client created it in between and then changed it: each apply is based on the last
    // read, and never unconditional.
    let forced: Vec<_> = patches.iter().map(|(_, rest)| rest.split(' ').next().unwrap()).collect();
    assert_eq!(forced, ["false", "true", "true"]);
    let versions: Vec<_> =
        patches.iter().map(|(_, rest)| body(rest)["metadata"]["resourceVersion"].clone()).collect();
    assert_eq!(versions, [Value::Null, json!("7"), json!("8")]);
    assert_eq!(pod.vault.requests(Route::Read), 1);
}

fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("HTTP/1.1 ").unwrap().1).unwrap()
}

#[tokio::test]
async fn an_api_server_that_is_away_ends_the_job_in_time() {
    let timeout = ("FETCH_TIMEOUT", "5s");
    for (door, said) in [
        (Door::Closed, "cannot be reached"),
        (Door::Silent, "the API server did not answer in time"),
        (Door::alert(80), "the TLS handshake with the API server"),
    ] {
        let (pod, api) = (Pod::new().await, Api::start([]).await);
        api.world.set_door(door);
        api.sync(&pod, &[timeout]).await.check(1, &["the Secret shop/billing", said]);
        assert_eq!(pod.vault.requests(Route::Read), 0, "no secret is read for it");
    }
    let (pod, api) = (Pod::new().await, Api::start([]).await);
    api.world.stop().await;
    api.sync(&pod, &[timeout]).await.check(1, &["cannot be reached", "refused", "network policies"]);
    let (pod, api) = (Pod::new().await, Api::start([]).await);
    api.world.new_authority().unwrap();
    let said = ["invalid peer certificate", "ca.crt in SYNC_SECRET_API_DIR must have the authority"];
    api.sync(&pod, &[timeout]).await.check(1, &said);
}

#[tokio::test]
async fn a_refusal_that_quotes_a_value_is_shown_without_it() {
    let (pod, message) = (Pod::new().await, "denied: sk-swordfish\nand c2stc3dvcmRmaXNo");
    let api = Api::start([absent(), absent(), status(422, "Invalid", message)]).await;
    let refused = api.sync(&pod, &[]).await;
    assert!(!refused.log.contains("c2stc3dvcmRmaXNo"), "{}", refused.log);
    refused.check(5, &["the API server refuses it: denied: … and … (status 422)"]);
}

#[tokio::test]
async fn answers_of_no_api_server_are_errors() {
    for answer in [(200, "<html>".to_owned()), (404, "not here".to_owned()), (302, String::new())] {
        let (pod, api) = (Pod::new().await, Api::start([answer]).await);
        let ended = api.sync(&pod, &[]).await;
        ended.check(1, &["without an object of Kubernetes"]);
        assert!(api.requests().iter().all(|request| request.starts_with("GET ")));
    }
    // Larger than any Secret.
    let (pod, api) = (Pod::new().await, Api::start([(200, " ".repeat(5 << 20))]).await);
    let ended = api.sync(&pod, &[]).await;
    ended.check(1, &["without an object of Kubernetes"]);
}

#[tokio::test]
async fn a_directory_without_its_files_is_named() {
    let pod = Pod::new().await;
    for (file, text, said) in [
        ("namespace", Some("../kube-system"), "has no name of a namespace"),
        ("ca.crt", Some("-----BEGIN NONSENSE-----"), "has no certificate of an authority"),
        ("ca.crt", None, "automountServiceAccountToken: true"),
        ("token", None, "cannot read"),
    ] {
        let (pod, api) = (Pod::new().await, Api::start([absent(), absent()]).await);
        api.sync(&pod, &[("SECRETS", "")]).await.check(5, &["no key is configured"]);
        let path = pod.path("api").join(file);
        match text {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        api.sync(&pod, &[]).await.check(5, &[path.to_str().unwrap(), said, "SYNC_SECRET_API_DIR"]);
        assert!(api.requests().is_empty());
    }
    pod.run("sync-secret", &[]).await.check(
        5,
        &["SYNC_SECRET_NAME: no Secret is named", "SECRETS: no key", "KUBERNETES_SERVICE_HOST: with"],
    );
}

#[tokio::test]
async fn an_outage_of_scaivault_is_waited_for_and_writes_nothing() {
    let pod = Pod::new().await;
    let api = Api::start([absent(), absent(), done()]).await;
    pod.vault.add_fault(Fault::refuse(Route::Exchange, "service_unavailable", 1));
    pod.vault.add_fault(Fault::refuse(Route::Read, "rate_limited", 1));
    api.sync(&pod, &[]).await.check(0, &["trying again", "secret written"]);

    let (pod, api) = (Pod::new().await, Api::start([absent()]).await);
    pod.vault.add_fault(Fault::hang(Route::Read));
    api.sync(&pod, &[("FETCH_TIMEOUT", "3s")]).await.check(1, &["app/stripe: it was not answered in time"]);
    assert_eq!(api.requests().len(), 1, "{:?}", api.requests());
}

#[tokio::test]
async fn sigterm_ends_it_and_writes_nothing() {
    let (pod, api) = (Pod::new().await, Api::start([absent()]).await);
    pod.vault.add_fault(Fault::hang(Route::Read));
    let agent = start(&mut api.agent(&pod, &[]));
    pod.requested(Route::Read, 1).await;
    terminate(agent).await.check(1, &["stopped by SIGTERM"]);
    assert_eq!(api.requests().len(), 1);
}

/// The total size of these values exceeds what is held in memory at once.
#[tokio::test]
async fn values_of_several_large_secrets_are_written_one_by_one() {
    let (pod, api) = (Pod::new().await, Api::start([absent(), absent(), done()]).await);
    let large = json!({"key": "k", "rest": "x".repeat(1_000_000)});
    for number in 0..12 {
        pod.vault.write(&format!("app/large{number}").parse().unwrap(), large.as_object().unwrap().clone());
    }
    // The first secrets of all values are read before the second ones, and all values share the
    // last one.
    let line = |number: usize| {
        let other = (number + 6) % 12;
        format!(
            "a=app/large{number} b=app/large{other} c=app/stripe -> KEY{number} template=\"{{{{ secrets.a.data.key }}}}{{{{ secrets.b.data.key }}}}{{{{ secrets.c.version }}}}\"\n"
        )
    };
    let secrets: String = (0..12).map(line).collect();
    api.sync(&pod, &[("SECRETS", &secrets)]).await.check(0, &["secret written"]);
    let requests = api.requests();
    let data = body(requests.last().unwrap())["data"].as_object().unwrap().clone();
    assert_eq!(data.len(), 12);
    assert!(data.values().all(|value| value == "a2sx"), "kk1: {data:?}");
}
