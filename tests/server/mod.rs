//! The program in its own process, and a client that trusts its authority: the API server's side of
//! the connection.

#![allow(dead_code, reason = "each test program uses its part of this module")]

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use scaivault_certs::client_config;
use serde_json::Value;
use tempfile::TempDir;

/// Far longer than a start or an answer takes; only a hanging test waits this long.
const TIMEOUT: Duration = Duration::from_secs(20);

/// `scaivault-injector serve` without a cluster; killed on drop.
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
    ops_address: Option<SocketAddr>,
    log: Log,
    authority: PathBuf,
    _directory: TempDir,
}

impl Server {
    /// Starts the program and waits until it listens.
    pub(crate) fn start() -> Self {
        Self::start_with([""; 0])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = directory.path().join("ca.crt");
        let mut process =
            command(&authority, (Ipv4Addr::LOCALHOST, 0).into(), (Ipv4Addr::LOCALHOST, 0).into())
                .args(arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
        let (sender, lines) = mpsc::channel();
        follow(process.stdout.take().unwrap(), sender.clone());
        follow(process.stderr.take().unwrap(), sender);
        let mut log = Log { lines, text: String::new() };
        let Some(listening) = log.wait_for(|event| event["message"] == "listening") else {
            // Otherwise a server that never listens would outlive the test.
            let _ = process.kill();
            let _ = process.wait();
            panic!("the server does not listen; its log:\n{}", log.text)
        };
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        Self {
            process,
            address: address("address"),
            ops_address: Some(address("ops_address")),
            log,
            authority,
            _directory: directory,
        }
    }

    /// Starts the program with a standard error that is not read here, and waits until it accepts
    /// connections.
    pub(crate) fn start_unread(log: impl Into<Stdio>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = directory.path().join("ca.crt");
        // Without the log the chosen port is unknown, so a free one is selected before the start. A
        // separate address is used, so that servers of other tests do not take the port meanwhile.
        let loopback = Ipv4Addr::new(127, 0, 0, 2);
        let free = || TcpListener::bind((loopback, 0)).unwrap().local_addr().unwrap();
        let (address, ops_address) = (free(), free());
        let process =
            command(&authority, address, ops_address).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let (_, lines) = mpsc::channel();
        let log = Log { lines, text: String::new() };
        let known = Some(ops_address);
        let mut server = Self { process, address, ops_address: known, log, authority, _directory: directory };
        let started = Instant::now();
        while [server.address, ops_address].iter().any(|port| TcpStream::connect(port).is_err()) {
            assert_eq!(server.process.try_wait().unwrap(), None, "the server has ended");
            assert!(started.elapsed() < TIMEOUT, "the server does not listen");
            thread::yield_now();
        }
        server
    }

    /// The CA certificate of its server certificate, PEM.
    pub(crate) fn authority_pem(&self) -> Vec<u8> {
        fs::read(&self.authority).unwrap()
    }

    /// A new connection over TLS.
    pub(crate) fn connect(&self) -> Connection {
        let stream = self.connect_as(client_config(&self.authority_pem()).unwrap());
        Connection { stream: BufReader::new(stream) }
    }

    /// A new connection with the client's own TLS configuration.
    pub(crate) fn connect_as(&self, config: Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
        let session = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
        StreamOwned::new(session, self.connect_plain())
    }

    /// A new TCP connection on which nothing has been sent.
    pub(crate) fn connect_plain(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    /// The metrics as Prometheus reads them.
    pub(crate) fn metrics(&self) -> String {
        let mut ops = TcpStream::connect(self.ops_address.unwrap()).unwrap();
        ops.write_all(b"GET /metrics HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        ops.read_to_string(&mut text).unwrap();
        text
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}:\n{text}")).parse().unwrap()
    }

    /// Polls until a metric without labels has this value.
    pub(crate) fn wait_for_metric(&self, name: &str, value: f64) {
        let started = Instant::now();
        while (self.metric(name) - value).abs() > 0.5 {
            assert!(started.elapsed() < TIMEOUT, "{name} is {}, not {value}", self.metric(name));
        }
    }

    /// Waits for an event in the log.
    pub(crate) fn wait_for_event(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        self.log.wait_for(is_it).unwrap_or_else(|| panic!("not in the log:\n{}", self.log.text))
    }

    /// Resident anonymous memory in MiB.
    pub(crate) fn resident_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        // Not VmRSS, which includes the pages of the program's file: those of a test build are many
        // times larger than those of a release build.
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() / 1024
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let sent = Command::new("kill").arg("-TERM").arg(self.process.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the program's exit status.
    pub(crate) fn ended(mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program without arguments.
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_scaivault-injector"))
}

fn command(authority: &Path, address: SocketAddr, ops_address: SocketAddr) -> Command {
    let mut command = program();
    command
        .args(["serve", "--drain-delay", "0s", "--tls-self-signed"])
        .args(["--listen", &address.to_string(), "--ops-listen", &ops_address.to_string()])
        .arg("--ca-out")
        .arg(authority)
        .env("LOG_FORMAT", "json")
        .env_remove("LOG_LEVEL")
        .env_remove("RUST_LOG")
        .env_remove("KUBECONFIG")
        .stdin(Stdio::null());
    command
}

/// The program's log.
struct Log {
    lines: mpsc::Receiver<String>,
    text: String,
}

impl Log {
    /// The next matching event; `None` if it does not arrive, and then `text` is the whole log.
    fn wait_for(&mut self, is_it: impl Fn(&Value) -> bool) -> Option<Value> {
        while let Ok(line) = self.lines.recv_timeout(TIMEOUT) {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            self.text.push_str(&line);
            self.text.push('\n');
            if is_it(&event) {
                return Some(event);
            }
        }
        None
    }
}

/// Reads a pipe to its end, so that the program never blocks on its log.
fn follow(pipe: impl Read + Send + 'static, lines: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
}

/// The head of a request with a body of this length.
pub(crate) fn head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// A connection that is reused, as the API server does.
pub(crate) struct Connection {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether the server closes the connection after it.
    pub(crate) is_last: bool,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    /// Posts a review and reads the answered review.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> Value {
        self.send((head(path, body.len()) + body).as_bytes());
        self.answer().review()
    }

    /// Sends unmodified bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).unwrap();
        stream.flush().unwrap();
    }

    /// Reads one answer.
    pub(crate) fn answer(&mut self) -> Answer {
        let status = self.line();
        let status = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let (mut length, mut is_last) = (0, false);
        loop {
            let line = self.line().to_ascii_lowercase();
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("connection", value)) => is_last = value == "close",
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        Answer { status: status.unwrap(), is_last, body }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Answer {
    /// The review in an answer with status 200.
    pub(crate) fn review(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).unwrap()
    }
}
