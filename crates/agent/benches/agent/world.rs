//! A ScaiVault in this process, over TLS on loopback, and simulated pods: directories with a token,
//! in which the built agent runs as a process.

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use scaivault_contract::SecretPath;
use scaivault_devserver::{Category, DevServer, Handle, Issuer, Route, Seed, Settings, Tls};
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::Result;

/// The number of secrets.
pub(crate) const SECRETS: usize = 50;
/// The constant part of every secret: with its name about 200 bytes, as for typical credentials.
const NOTE_BYTES: usize = 120;
/// The timeout of every wait.
const TIMEOUT: Duration = Duration::from_mins(2);

/// The request rate limits of the server for all pods together, which share one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limits {
    /// As published for the managed service.
    Published,
    /// Practically unlimited, to measure the agent only.
    Off,
}

/// The server and the directory of the pods.
pub(crate) struct World {
    runtime: Runtime,
    server: DevServer,
    issuer: Arc<Issuer>,
    dir: TempDir,
    agent: PathBuf,
    pods: AtomicUsize,
}

impl World {
    pub(crate) fn new(agent: &Path, limits: Limits, is_https: bool) -> Result<Self> {
        // The server's threads. The measuring thread is not one of them, so it may block.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let issuer = Arc::new(Issuer::generate()?);
        let mut settings = Settings::for_tests(Seed::new(&seed(limits))?, &issuer);
        if is_https {
            settings.tls = Tls::Generated(vec!["127.0.0.1".to_owned()]);
        }
        let server = runtime.block_on(DevServer::start(settings))?;
        let dir = tempfile::tempdir()?;
        if let Some(pem) = server.ca_pem() {
            fs::write(dir.path().join("ca.crt"), pem)?;
        }
        Ok(Self { runtime, server, issuer, dir, agent: agent.to_owned(), pods: AtomicUsize::new(0) })
    }

    pub(crate) fn vault(&self) -> Handle {
        self.server.handle()
    }

    /// Waits until a route has had this many requests.
    pub(crate) fn requested(&self, route: Route, count: u64) -> Result<()> {
        let vault = self.vault();
        let requested = self
            .runtime
            .block_on(async { tokio::time::timeout(TIMEOUT, vault.requested(route, count)).await });
        requested.map_err(|_| format!("{route:?} is not requested {count} times").into())
    }

    /// Writes the next version of a secret, as a rotation does.
    pub(crate) fn rotate(&self, secret: usize, value: usize) -> Result<()> {
        self.vault().rotate(&path(secret).parse::<SecretPath>()?, data(value));
        Ok(())
    }

    /// A new pod with a token.
    pub(crate) fn pod(&self) -> Result<Pod> {
        let number = self.pods.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir.path().join(format!("pod-{number}"));
        fs::create_dir_all(dir.join("state"))?;
        let token = self.issuer.mint("bench", "web", "scaivault", jiff::Timestamp::now(), 7200)?;
        fs::write(dir.join("token"), token)?;
        Ok(Pod { dir })
    }

    /// The agent in a pod, configured for the first `secrets` secrets.
    pub(crate) fn agent(
        &self,
        pod: &Pod,
        subcommand: &str,
        secrets: usize,
        variables: &[(&str, &str)],
    ) -> Result<Command> {
        let mut command = Command::new(&self.agent);
        command
            .arg(subcommand)
            .env_clear()
            .env("SCAIVAULT_URL", self.server.url())
            .env("SCAIVAULT_TOKEN_FILE", pod.dir.join("token"))
            .env("SCAIVAULT_REVOKE_DELAY", "0s")
            .env("SECRETS", pod.mapping(secrets)?)
            .env("WATCH_PATHS", pod.mapping(secrets)?)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(pod.log())?);
        if self.server.ca_pem().is_some() {
            command.env("SCAIVAULT_CA_FILE", self.dir.path().join("ca.crt"));
        }
        Ok(command)
    }

    /// The number of requests rejected by rate limits, by category, as text.
    pub(crate) fn refused(&self) -> String {
        let vault = self.vault();
        let categories = [Category::Read, Category::BatchRead, Category::Subscription, Category::Poll];
        categories.map(|category| format!("{category:?} {}", vault.rate_limited(category))).join(", ")
    }
}

/// A simulated pod.
pub(crate) struct Pod {
    dir: PathBuf,
}

impl Pod {
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The value in a secret's file; `None` if the file does not exist.
    pub(crate) fn value(&self, secret: usize) -> Option<usize> {
        fs::read_to_string(self.file(secret)).ok()?.parse().ok()
    }

    /// Removes all files, as at the start of a new pod.
    pub(crate) fn empty(&self) -> Result<()> {
        let files = self.dir.join("secrets");
        if files.exists() {
            fs::remove_dir_all(files)?;
        }
        Ok(())
    }

    fn file(&self, secret: usize) -> PathBuf {
        self.dir.join("secrets").join(format!("secret-{secret}"))
    }

    fn mapping(&self, secrets: usize) -> Result<String> {
        let mut mapping = String::new();
        for secret in 0..secrets {
            writeln!(mapping, "{}#value -> {}", path(secret), self.file(secret).display())?;
        }
        Ok(mapping)
    }
}

/// A running agent; killed on drop.
pub(crate) struct Agent {
    child: Child,
}

impl Agent {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        Ok(Self { child: command.spawn()? })
    }

    /// A value in kibibytes from the kernel's status of the process, such as `VmRSS`.
    pub(crate) fn kibibytes(&self, name: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.ok_or_else(|| format!("no {name}"))?.trim().trim_end_matches("kB").trim();
        Ok(number.parse()?)
    }

    /// Sends SIGTERM and waits for the exit.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().try_into()?).ok_or("no process")?;
        kill_process(pid, Signal::TERM)?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the agent ended with {status}").into()) }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls a condition after each `tick`.
pub(crate) fn until(tick: Duration, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    while !is_so() {
        if Instant::now() > deadline {
            return Err("the expected state was not reached".into());
        }
        pause(tick);
    }
    Ok(())
}

/// Sleeps; the measured work happens in other processes.
pub(crate) fn pause(time: Duration) {
    if time.is_zero() {
        std::thread::yield_now();
    } else {
        std::thread::park_timeout(time);
    }
}

fn path(secret: usize) -> String {
    format!("app/secret-{secret}")
}

fn data(value: usize) -> Map<String, Value> {
    let mut data = Map::new();
    data.insert("value".to_owned(), value.to_string().into());
    data.insert("note".to_owned(), "n".repeat(NOTE_BYTES).into());
    data
}

fn seed(limits: Limits) -> String {
    let mut seed = String::from(
        "policies: {bench: [{path_pattern: 'app/**', permissions: [read]}]}\n\
         identities: [{id: 'sa:bench', service_accounts: ['bench/*'], policies: [bench]}]\n",
    );
    if limits == Limits::Off {
        seed.push_str("rate_limits: {read: 4000000000, batch-read: 4000000000, subscription: 4000000000, poll: 4000000000}\n");
    }
    seed.push_str("secrets:\n");
    for secret in 0..SECRETS {
        let data = Value::Object(data(0));
        seed += &["  ", &path(secret), ": {data: ", &data.to_string(), "}\n"].concat();
    }
    seed
}
