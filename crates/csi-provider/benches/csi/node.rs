//! A node: the provider as a process, a ScaiVault in this process, and the requests of the driver.

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use hyper_util::rt::TokioIo;
use scaivault_devserver::{DevServer, Issuer, Route, Seed, Settings, Tls};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};
use tonic::transport::{Channel, Endpoint};

use crate::{
    Result,
    figures::Sample,
    generated::{MountRequest, csi_driver_provider_client::CsiDriverProviderClient},
};

/// How many pods there are of each kind: as many as a kubelet allows by default.
pub(crate) const PODS: usize = 110;
/// How many calls for a pod of the hostile tenant are under way at once.
pub(crate) const CALLS_OF_HOSTILE_POD: usize = 40;
/// How large the secrets of the hostile tenant are.
const LARGE_BYTES: usize = 1_000_000;
/// How long the provider may take to start.
const START: Duration = Duration::from_secs(30);
const OBJECTS: &str = "[{path: app/database, file: db.json}, {path: app/stripe, file: stripe, field: key}]";

/// The driver's side of the socket.
pub(crate) type Call = CsiDriverProviderClient<Channel>;

pub(crate) struct Node {
    provider: Child,
    server: DevServer,
    issuer: Arc<Issuer>,
    driver: Call,
    ops: String,
    _dir: TempDir,
}

impl Node {
    pub(crate) async fn start(provider: &Path) -> Result<Self> {
        let issuer = Arc::new(Issuer::generate()?);
        let mut settings = Settings::for_tests(Seed::new(&seed())?, &issuer);
        settings.tls = Tls::Generated(vec!["127.0.0.1".to_owned()]);
        let server = DevServer::start(settings).await?;
        let dir = tempfile::tempdir()?;
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("state"))?;
        fs::write(path("ca.crt"), server.ca_pem().ok_or("no authority")?)?;
        let ops = format!("127.0.0.1:{}", free_port()?);
        let child = Command::new(provider)
            .args(["serve", "--no-dynamic-credentials", "--ops-listen", &ops, "--url", &server.url()])
            .arg("--socket")
            .arg(path("scaivault.sock"))
            .arg("--ca-file")
            .arg(path("ca.crt"))
            .arg("--state-dir")
            .arg(path("state"))
            .env_clear()
            .stdin(Stdio::null())
            .stderr(File::create(path("log"))?)
            .spawn()?;
        let driver = connect(&path("scaivault.sock")).await?;
        Ok(Self { provider: child, server, issuer, driver, ops, _dir: dir })
    }

    pub(crate) fn driver(&self) -> Call {
        self.driver.clone()
    }

    /// The call for the volume of a pod.
    pub(crate) fn request(&self, pod: usize, service_account: &str) -> Result<MountRequest> {
        self.request_of("bench", pod, service_account, OBJECTS)
    }

    /// The call for a volume that is as large and takes as much work as a class may ask for.
    pub(crate) fn hostile_request(&self, pod: usize) -> Result<MountRequest> {
        let template =
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ path }}{% endfor %}{% endfor %}";
        let mut objects: Vec<_> = (0..128)
            .map(|file| json!({"path": format!("app/large-{}", file % 64), "file": format!("f-{file}")}))
            .collect();
        objects.extend((0..120).map(|file| {
            json!({"path": "app/stripe", "file": format!("t-{file}"), "template": format!("{template}{}", "x".repeat(1600))})
        }));
        self.request_of("hostile", pod, "web", &Value::from(objects).to_string())
    }

    fn request_of(
        &self,
        namespace: &str,
        pod: usize,
        service_account: &str,
        objects: &str,
    ) -> Result<MountRequest> {
        let (name, uid, now) = (format!("pod-{pod}"), format!("u-{pod}"), jiff::Timestamp::now());
        let token = self.issuer.mint_for_pod(namespace, service_account, "scaivault", now, (&name, &uid))?;
        let tokens = json!({"scaivault": {"token": token, "expirationTimestamp": "2030-01-01T00:00:00Z"}});
        let attributes = json!({
            "csi.storage.k8s.io/pod.name": name,
            "csi.storage.k8s.io/pod.namespace": namespace,
            "csi.storage.k8s.io/pod.uid": uid,
            "csi.storage.k8s.io/serviceAccount.name": service_account,
            "csi.storage.k8s.io/serviceAccount.tokens": tokens.to_string(),
            "csi.storage.k8s.io/ephemeral": "true",
            "secretProviderClass": "bench",
            "objects": objects,
        });
        Ok(MountRequest {
            attributes: attributes.to_string(),
            secrets: "null".to_owned(),
            permission: "420".to_owned(),
            target_path: format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~csi/secrets/mount"),
            ..MountRequest::default()
        })
    }

    /// Anonymous, resident and highest resident memory of the provider, in KiB.
    pub(crate) fn memory(&self) -> Result<[u64; 3]> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.provider.id()))?;
        let read = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            Ok(line.ok_or("no such value")?.trim().trim_end_matches("kB").trim().parse()?)
        };
        Ok([read("RssAnon")?, read("VmRSS")?, read("VmHWM")?])
    }

    /// The requests to ScaiVault, as text.
    pub(crate) fn requests(&self) -> String {
        let vault = self.server.handle();
        format!("{} logins, {} reads", vault.requests(Route::Exchange), vault.requests(Route::Read))
    }

    /// How long the kubelet's probes take.
    pub(crate) async fn probe(&self, number: usize) -> Result<Sample> {
        let mut sample = Sample::default();
        for _ in 0..number {
            let began = Instant::now();
            let mut stream = TcpStream::connect(&self.ops).await?;
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            if !answer.starts_with("HTTP/1.1 200") {
                return Err(format!("a probe fails: {answer}").into());
            }
            sample.push(began.elapsed());
        }
        Ok(sample)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.provider.kill();
        let _ = self.provider.wait();
    }
}

async fn connect(socket: &Path) -> Result<Call> {
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    loop {
        ticks.tick().await;
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        match Endpoint::from_static("http://localhost").connect_with_connector(connector).await {
            Ok(channel) => return Ok(CsiDriverProviderClient::new(channel)),
            Err(error) if began.elapsed() > START => return Err(error.into()),
            Err(_) => {}
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn seed() -> String {
    let mut seed = String::from(
        "policies: {bench: [{path_pattern: 'app/**', permissions: [read]}]}\n\
         identities: [{id: 'sa:bench', service_accounts: ['bench/*', 'hostile/*'], policies: [bench]}]\n\
         rate_limits: {read: 4000000000, batch-read: 4000000000, subscription: 4000000000, poll: 4000000000}\n\
         secrets:\n  app/database: {data: {username: billing, password: not-secret, port: 5432}}\n  app/stripe: {data: {key: not-secret}}\n",
    );
    for secret in 0..64 {
        // Writing to a String cannot fail.
        let _ = writeln!(seed, "  app/large-{secret}: {{data: {{key: {}}}}}", "x".repeat(LARGE_BYTES));
    }
    seed
}
