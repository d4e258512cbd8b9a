//! A simulated pod: a directory for its volumes, a token, and a ScaiVault that accepts it; and
//! waiting helpers.
#![allow(dead_code, unused_imports, reason = "each test program uses a part")]

use std::{
    env, fs,
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use scaivault_devserver::{DevServer, Handle, Issuer, Route, Seed, Settings};
use scaivault_testkit::eventually;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

mod sidecar;
mod system;

pub(crate) use sidecar::Sidecar;
pub(crate) use system::{PATH, ReloadEndpoint, with_mounts};

/// The built agent.
pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_scaivault-agent");
/// How long a test waits for an expected event. It is long because the machine may be busy, and
/// only reached if the event never happens.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);

const SEED: &str = r#"
policies:
  billing: [{path_pattern: "app/**", permissions: [read]}]
identities:
  - id: sa:billing
    service_accounts: [billing/web]
    policies: [billing]
    dynamic: [postgres/readonly]
secrets:
  app/database: {data: {username: billing, password: "swordfish 'quoted'", port: 5432}}
  app/stripe: {data: {key: "sk-swordfish"}}
  other/secret: {data: {key: "sk-swordfish"}}
engines:
  postgres: {roles: {readonly: {default_ttl: 1h, max_ttl: 24h}}}
"#;

/// The parts of a pod.
pub(crate) struct Pod {
    server: DevServer,
    url: String,
    pub(crate) vault: Handle,
    dir: TempDir,
}

impl Pod {
    pub(crate) async fn new() -> Self {
        Self::with(SEED).await
    }

    /// A pod with another seed, in which it is also `billing/web`.
    pub(crate) async fn with(seed: &str) -> Self {
        let issuer = Arc::new(Issuer::generate().unwrap());
        let server = DevServer::start(Settings::for_tests(Seed::new(seed).unwrap(), &issuer)).await.unwrap();
        // In memory, like a pod's volumes, if the machine has such a directory.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let token = issuer.mint("billing", "web", "scaivault", jiff::Timestamp::now(), 3600).unwrap();
        fs::write(dir.path().join("token"), token).unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        Self { url: server.url(), vault: server.handle(), server, dir }
    }

    /// The address of its ScaiVault.
    pub(crate) fn server(&self) -> SocketAddr {
        self.server.address()
    }

    /// A path in the pod's directory.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Lines of a mapping: the source, and a file below the secrets directory with its options.
    pub(crate) fn mapping(&self, entries: &[(&str, &str)]) -> String {
        let line = |(source, target): &(&str, &str)| {
            format!("{source} -> {}/{target}\n", self.path("secrets").display())
        };
        entries.iter().map(line).collect()
    }

    /// The agent with these variables in addition to those of every pod.
    pub(crate) fn agent(&self, command: &str, variables: &[(&str, &str)]) -> Command {
        self.agent_at(Path::new(AGENT), command, variables)
    }

    /// The same with a copy of the agent.
    pub(crate) fn agent_at(&self, program: &Path, command: &str, variables: &[(&str, &str)]) -> Command {
        let mut agent = Command::new(program);
        agent
            .arg(command)
            .env_clear()
            .env("SCAIVAULT_URL", &self.url)
            .env("SCAIVAULT_TOKEN_FILE", self.path("token"))
            .env("SCAIVAULT_REVOKE_DELAY", "0s")
            .envs(variables.iter().copied())
            .kill_on_drop(true);
        agent
    }

    /// Runs the agent until it exits.
    pub(crate) async fn run(&self, command: &str, variables: &[(&str, &str)]) -> RunResult {
        let output = within(self.agent(command, variables).output()).await.unwrap();
        RunResult::from_output(&output)
    }

    /// The text of a file in the secrets directory; `None` if it does not exist.
    pub(crate) fn secret(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.path("secrets").join(file)).ok()
    }

    pub(crate) async fn requested(&self, route: Route, count: u64) {
        within(self.vault.requested(route, count)).await;
    }

    pub(crate) fn live_leases(&self) -> usize {
        self.vault.live_leases()
    }
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct RunResult {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
}

impl RunResult {
    /// Asserts that the log contains no value of the seeds' secrets.
    pub(crate) fn new(code: Option<i32>, log: String) -> Self {
        assert!(!log.contains("swordfish"), "a value in the log: {log}");
        Self { code, log }
    }

    fn from_output(output: &Output) -> Self {
        assert!(output.stdout.is_empty(), "nothing is printed");
        Self::new(output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    #[track_caller]
    pub(crate) fn check(&self, code: i32, said: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.log);
        for said in said {
            assert!(self.log.contains(said), "{said}: {}", self.log);
        }
    }
}

/// A file of a lease, a file of a secret, and a state directory.
pub(crate) struct Outputs {
    dynamic: String,
    watch: String,
    state: String,
}

impl Outputs {
    pub(crate) fn new(pod: &Pod, lease: &str) -> Self {
        Self {
            dynamic: pod.mapping(&[(lease, "db.json")]),
            watch: pod.mapping(&[("app/stripe#key", "key")]),
            state: pod.path("state").to_str().unwrap().to_owned(),
        }
    }

    /// The variables of a sidecar, and `others`.
    pub(crate) fn variables<'a>(&'a self, others: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let Self { dynamic, watch, state } = self;
        let own = [("DYNAMIC", &**dynamic), ("WATCH_PATHS", watch), ("SCAIVAULT_STATE_DIR", state)];
        [&own, others].concat()
    }
}

/// A secret's data with one field `key`.
pub(crate) fn data(value: &str) -> Map<String, Value> {
    json!({ "key": value }).as_object().unwrap().clone()
}

/// Starts the agent; its log is available after its exit.
pub(crate) fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for an event, with the timeout.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, future).await.expect("it takes too long")
}

/// Polls until a condition is true.
#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    eventually(TIMEOUT, "this condition", async move || is_so().then_some(()))
}

pub(crate) async fn until_exists(file: &Path) {
    until(|| file.exists()).await;
}

/// Sends SIGTERM and waits for the exit.
pub(crate) async fn terminate(child: Child) -> RunResult {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    ended(child).await
}

/// Waits for the exit.
pub(crate) async fn ended(child: Child) -> RunResult {
    RunResult::from_output(&within(child.wait_with_output()).await.unwrap())
}

/// Reports that a test cannot run here. With `CI=true`, where all tests must run, it fails.
pub(crate) fn skipped(why: &str) {
    #[expect(clippy::disallowed_methods, reason = "the environment is set by CI")]
    let is_ci = env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!is_ci, "{why}");
    // Not by the macro, whose output the test harness captures for a passing test.
    io::stderr().write_all(format!("skipped: {why}\n").as_bytes()).unwrap();
}
