//! The agents of the soak, each with its files and its application.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use scaivault_devserver::{DevServer, Handle, Issuer, Seed, Settings};
use scaivault_testkit::world::{Calls, World};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{
    application::{Application, SIGNAL},
    site::{project, soak_for},
    support::{AGENT, ReloadEndpoint, within},
};

/// The number of secrets. An agent watches some of them.
pub(super) const SECRETS: usize = 24;
/// Every fifth agent has many secrets, which it reads one by one.
const MANY: usize = 12;
const FEW: usize = 3;
/// How long after the server's response an agent may still be killed before it has stored it.
const UNWRITTEN: Duration = Duration::from_secs(2);

/// A server, a world, and the directory of the agents' files.
pub(super) struct Fleet {
    pub(super) world: World,
    pub(super) vault: Handle,
    pub(super) dir: TempDir,
    server: DevServer,
    issuer: Arc<Issuer>,
    size: usize,
    versions: Mutex<Vec<u64>>,
    /// With two concurrent restarts, the second would try to listen on a used port.
    restarting: tokio::sync::Mutex<()>,
    restarts: AtomicU64,
}

impl Fleet {
    pub(super) async fn new(size: usize, seed: u64) -> Self {
        let issuer = Arc::new(Issuer::generate().unwrap());
        let settings = Settings::for_tests(Seed::new(&seed_text(size)).unwrap(), &issuer);
        let server = DevServer::start(settings).await.unwrap();
        let (world, pem) = World::start_tls(server.address(), seed, &["localhost"]).unwrap();
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        project(&dir.path().join("ca"), "ca.crt", &pem);
        let vault = server.handle();
        let versions = Mutex::new(vec![1; SECRETS]);
        let restarting = tokio::sync::Mutex::default();
        Self { world, vault, dir, server, issuer, size, versions, restarting, restarts: AtomicU64::new(0) }
    }

    /// The secrets that an agent watches.
    fn secrets(number: usize) -> impl Iterator<Item = usize> {
        let count = if number.is_multiple_of(5) { MANY } else { FEW };
        (0..count).map(move |index| (number + index * 5) % SECRETS)
    }

    /// All files of secrets, with the secret's number.
    pub(super) fn files(&self) -> impl Iterator<Item = (usize, PathBuf)> {
        (0..self.size).flat_map(|number| self.files_of(number))
    }

    fn files_of(&self, number: usize) -> impl Iterator<Item = (usize, PathBuf)> {
        let dir = self.dir_of(number).join("secrets");
        Self::secrets(number).map(move |secret| (secret, dir.join(format!("s{secret}"))))
    }

    fn dir_of(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("agent-{number}"))
    }

    /// Files that differ from the server's secrets.
    pub(super) fn late(&self) -> Vec<String> {
        let versions = self.versions.lock().unwrap().clone();
        let late = self.files().filter_map(|(secret, file)| {
            let text = fs::read_to_string(&file).unwrap_or_default();
            (text != versions[secret].to_string())
                .then(|| format!("{} has {text:?}, not {}", file.display(), versions[secret]))
        });
        late.collect()
    }

    pub(super) fn write(&self, secret: usize, by_rotation: bool) {
        let mut versions = self.versions.lock().unwrap();
        versions[secret] += 1;
        let path = format!("app/s{secret}").parse().unwrap();
        let data = serde_json::json!({ "value": versions[secret].to_string() });
        let data = data.as_object().unwrap().clone();
        let version =
            if by_rotation { self.vault.rotate(&path, data) } else { self.vault.write(&path, data) };
        assert_eq!(version, versions[secret]);
    }

    pub(super) fn written(&self) -> u64 {
        self.versions.lock().unwrap().iter().map(|version| version - 1).sum()
    }

    /// Stops the server for a while.
    pub(super) async fn restart(&self, away: Duration) {
        let _alone = self.restarting.lock().await;
        self.restarts.fetch_add(1, Ordering::Relaxed);
        self.world.stop().await;
        soak_for(away).await;
        self.world.resume().unwrap();
    }

    pub(super) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Leases that are active although all agents have exited: first those that their agents knew,
    /// then those that no agent could know. The latter are those whose response was lost,
    /// truncated, delayed forever or replaced, or whose agent was killed during the generation or
    /// up to [`UNWRITTEN`] after it. They end by their TTL.
    pub(super) fn live_leases(&self, agents: &[Agent]) -> [Vec<String>; 2] {
        let generations: BTreeMap<String, _> = self
            .world
            .seen(Calls::GENERATE)
            .into_iter()
            .filter_map(|seen| {
                let answer: serde_json::Value = serde_json::from_str(seen.answer.as_deref()?).ok()?;
                Some((answer["lease_id"].as_str()?.to_owned(), seen))
            })
            .collect();
        let live =
            self.vault.leases().into_iter().filter(|lease| lease.seconds_left > 0 && !lease.is_revoked);
        let (known, unknown): (Vec<_>, Vec<_>) = live.partition(|lease| {
            let Some(seen) = generations.get(&lease.id).filter(|seen| seen.is_delivered) else {
                return false;
            };
            let number: usize = lease.owner.strip_prefix("sa:agent-").unwrap().parse().unwrap();
            let killed = |at: &Instant| (seen.from..seen.to + UNWRITTEN).contains(at);
            !agents[number].killed.iter().any(killed)
        });
        [known, unknown].map(|leases| {
            leases.into_iter().map(|lease| format!("{} of {}", lease.id, lease.owner)).collect()
        })
    }
}

fn seed_text(size: usize) -> String {
    let identity = |n| {
        format!(
            "  - {{id: 'sa:agent-{n}', service_accounts: ['soak/agent-{n}'], policies: [all], dynamic: ['postgres/*']}}\n"
        )
    };
    let identities = (0..size).map(identity).collect::<Vec<_>>().concat();
    let secrets = (0..SECRETS).map(|n| format!("  app/s{n}: {{data: {{value: \"1\"}}}}\n"));
    let secrets = secrets.collect::<Vec<_>>().concat();
    format!(
        "token_seconds: 120\n\
         policies: {{all: [{{path_pattern: 'app/**', permissions: [read]}}]}}\n\
         engines: {{postgres: {{roles: {{readonly: {{default_ttl: 1h, max_ttl: 1h}}, short: {{default_ttl: 40s, max_ttl: 2m}}}}}}}}\n\
         identities:\n{identities}secrets:\n{secrets}"
    )
}

/// An agent and its application.
pub(super) struct Agent {
    fleet: Arc<Fleet>,
    number: usize,
    child: Child,
    ear: Ear,
    killed: Vec<Instant>,
}

/// How the application is notified of changes.
enum Ear {
    Signals(Box<Application>),
    Requests(Listener),
}

/// The notifications of an application that reloads on request.
struct Listener {
    endpoint: ReloadEndpoint,
    heard: Arc<Mutex<(u32, String)>>,
}

impl Listener {
    /// Reads the files on each request, and rejects some requests.
    async fn start(files: Vec<PathBuf>) -> Self {
        let heard = Arc::new(Mutex::new((0, read(&files))));
        let (record, mut count) = (Arc::clone(&heard), 0_u64);
        let endpoint = ReloadEndpoint::start(move || {
            count += 1;
            if count.is_multiple_of(7) {
                return 503;
            }
            let mut record = record.lock().unwrap();
            *record = (record.0 + 1, read(&files));
            200
        });
        Self { endpoint: endpoint.await, heard }
    }
}

fn read(files: &[PathBuf]) -> String {
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap_or_default());
    texts.collect::<Vec<_>>().join(" ")
}

impl Agent {
    pub(super) async fn start(fleet: &Arc<Fleet>, number: usize) -> Self {
        let dir = fleet.dir_of(number);
        fs::create_dir_all(dir.join("state")).unwrap();
        let account = format!("agent-{number}");
        let now = jiff::Timestamp::now();
        let token = fleet.issuer.mint("soak", &account, "scaivault", now, 24 * 3600).unwrap();
        fs::write(dir.join("token"), token).unwrap();
        let files: Vec<_> = fleet.files_of(number).map(|(_, file)| file).collect();
        let ear = if number.is_multiple_of(3) {
            Ear::Requests(Listener::start(files).await)
        } else {
            let files: Vec<_> = files.iter().map(PathBuf::as_path).collect();
            Ear::Signals(Box::new(Application::start(&files).await))
        };
        let child = command(fleet, number, &ear).spawn().unwrap();
        Self { fleet: Arc::clone(fleet), number, child, ear, killed: Vec::new() }
    }

    /// Sends SIGKILL, and restarts the agent like the kubelet.
    pub(super) async fn kill_and_restart(&mut self, pause: Duration) {
        self.killed.push(Instant::now());
        self.child.kill().await.unwrap();
        // Until its last moment it could store what it knew.
        soak_for(pause).await;
        self.child = command(&self.fleet, self.number, &self.ear).spawn().unwrap();
    }

    /// Whether the application has read the content of the files.
    pub(super) fn is_notified(&self) -> bool {
        let files: Vec<_> = self.fleet.files_of(self.number).map(|(_, file)| file).collect();
        self.has_read() == read(&files)
    }

    fn has_read(&self) -> String {
        match &self.ear {
            Ear::Signals(application) => application.read(),
            Ear::Requests(listener) => listener.heard.lock().unwrap().1.clone(),
        }
    }

    pub(super) fn describe(&self) -> String {
        let log = fs::read_to_string(self.fleet.dir_of(self.number).join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(8).collect();
        format!("agent {}: has read {:?}; its log ends: {lines:?}", self.number, self.has_read())
    }

    /// How often the application was notified of a change.
    pub(super) fn news(&self) -> u32 {
        match &self.ear {
            Ear::Signals(application) => application.signals(),
            Ear::Requests(listener) => listener.heard.lock().unwrap().0,
        }
    }

    pub(super) fn kills(&self) -> usize {
        self.killed.len()
    }

    /// A part of the paths of its files.
    pub(super) fn name(&self) -> String {
        format!("/agent-{}/", self.number)
    }

    pub(super) fn terminate(&self) {
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid.try_into().unwrap())) {
            kill_process(pid, Signal::TERM).unwrap();
        }
    }

    /// Waits for its exit; returns the exit code.
    pub(super) async fn ended(&mut self) -> Option<i32> {
        within(self.child.wait()).await.unwrap().code()
    }
}

fn command(fleet: &Fleet, number: usize, ear: &Ear) -> Command {
    let dir = fleet.dir_of(number);
    let watch: Vec<_> = fleet
        .files_of(number)
        .map(|(secret, file)| format!("app/s{secret}#value -> {}", file.display()))
        .collect();
    // Some leases outlive the test, others are renewed and replaced all the time.
    let lease = if number.is_multiple_of(2) { "role=readonly" } else { "role=short ttl=20s" };
    let dynamic = format!("engine=postgres {lease} -> {}", dir.join("secrets/db.json").display());
    let mut command = Command::new(AGENT);
    command
        .arg("sidecar")
        .env_clear()
        .env("SCAIVAULT_URL", fleet.world.url())
        .env("SCAIVAULT_CA_FILE", fleet.dir.path().join("ca/ca.crt"))
        .env("SCAIVAULT_TOKEN_FILE", dir.join("token"))
        .env("SCAIVAULT_STATE_DIR", dir.join("state"))
        .env("SCAIVAULT_POD", format!("agent-{number}"))
        .env("SCAIVAULT_REVOKE_DELAY", "0s")
        .env("REFRESH_INTERVAL", if number.is_multiple_of(4) { "2s" } else { "10s" })
        .env("REFRESH_ON_EVENT", (!number.is_multiple_of(4)).to_string())
        .env("WATCH_PATHS", watch.join("\n"))
        .env("DYNAMIC", dynamic);
    match ear {
        Ear::Signals(application) => {
            command.env("RELOAD_SIGNAL", SIGNAL).env("RELOAD_TARGET", application.name());
        }
        Ear::Requests(listener) => {
            command.env("RELOAD_URL", listener.endpoint.url());
        }
    }
    let log = fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    command
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Kept alive until here, because it answers requests while the agents stop.
        let _ = &self.server;
    }
}
