//! The program in a process of its own, and a client that trusts its authority: the API server's side of the wire.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tempfile::TempDir;

/// Far more than a start or an answer takes; only a hanging test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// `scaivault-injector serve` without a cluster; ends with the value.
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
    authority: PathBuf,
    _directory: TempDir,
}

impl Server {
    /// Starts the program and waits until it listens.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = directory.path().join("ca.crt");
        let mut process = Command::new(env!("CARGO_BIN_EXE_scaivault-injector"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--ops-listen",
                "127.0.0.1:0",
                "--tls-self-signed",
                "--ca-out",
            ])
            .arg(&authority)
            .env("LOG_FORMAT", "json")
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        follow(process.stdout.take().unwrap(), sender.clone());
        follow(process.stderr.take().unwrap(), sender);
        let address = wait_for_address(&lines).unwrap_or_else(|log| {
            // Without this a server that never listens would outlive the test.
            let _ = process.kill();
            let _ = process.wait();
            panic!("the server does not listen; its log:\n{log}")
        });
        Self { process, address, authority, _directory: directory }
    }

    /// A new connection over TLS.
    pub(crate) fn connect(&self) -> Connection {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&self.authority).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let session =
            ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Connection { stream: BufReader::new(StreamOwned::new(session, socket)) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
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

/// The address in the line `listening`; the log so far where it does not come.
fn wait_for_address(lines: &mpsc::Receiver<String>) -> Result<SocketAddr, String> {
    let mut log = String::new();
    while let Ok(line) = lines.recv_timeout(PATIENCE) {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        // The facts of an event stand below `fields`, unless the log is flat.
        let fields = event.get("fields").unwrap_or(&event);
        if fields["message"] == "listening"
            && let Some(address) = fields["address"].as_str()
        {
            return Ok(address.parse().unwrap());
        }
        log.push_str(&line);
        log.push('\n');
    }
    Err(log)
}

/// One connection that is kept and used again, as the API server does.
pub(crate) struct Connection {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl Connection {
    /// Posts a review and reads the review that comes back.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> Value {
        let stream = self.stream.get_mut();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        stream.flush().unwrap();

        let status = self.line();
        let mut length = 0;
        loop {
            let line = self.line();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).unwrap();
        assert!(status.starts_with("HTTP/1.1 200"), "{status}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}
