//! A pod of the page on this machine: its volumes, its containers, and its ScaiVault.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use rustix::process::{Pid, Signal, kill_process};
use scaivault_contract::names::{AGENT_BINARY, CA_DIR, CA_FILE};
use scaivault_devserver::{DevServer, Handle, Issuer, Route, Seed, Settings, Tls};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{
    page::{Container, Page},
    sandbox::Sandbox,
    support::{RunResult, within},
};

/// The namespace of the page's pods.
const NAMESPACE: &str = "billing";
/// The server's seed.
const SEED: &str = r#"
policies:
  billing: [{path_pattern: "environments/production/billing/**", permissions: [read]}]
identities:
  - id: sa:billing-prod
    service_accounts: [billing/billing-prod]
    policies: [billing]
    dynamic: [postgres-prod/readonly]
secrets:
  environments/production/billing/database: {data: {username: billing, password: swordfish, port: 5432}}
  environments/production/billing/stripe: {data: {secret_key: sk-swordfish}}
engines:
  postgres-prod: {roles: {readonly: {default_ttl: 1h, max_ttl: 24h}}}
"#;
/// `db.json` according to the page: the secret's data as JSON.
pub(crate) const DATABASE: &str = r#"{"password":"swordfish","port":5432,"username":"billing"}"#;
/// `stripe.json`.
pub(crate) const STRIPE: &str = r#"{"secret_key":"sk-swordfish"}"#;
/// The volume that the API server adds to each container of a pod, and its mount path.
const SERVICE_ACCOUNT: (&str, &str) = ("service-account", "/var/run/secrets/kubernetes.io/serviceaccount");
/// The volume with the CA of the server in this process.
const CA: &str = "ca";

/// What `/var/run` is in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VarRun {
    /// A directory, as in images from scratch, including the agent's.
    Directory,
    /// A link to `/run`, as in images of Debian and most others.
    Linked,
}

/// A running pod. All its processes are killed on drop.
pub(crate) struct Pod {
    page: Page,
    sandbox: Sandbox,
    url: String,
    server: Option<DevServer>,
    pub(crate) vault: Handle,
    pause: Child,
    dir: TempDir,
}

impl Pod {
    /// The pod of a manifest, without running containers; `None` if this machine does not allow
    /// private namespaces.
    pub(crate) async fn start(manifest: &str) -> Option<Self> {
        let sandbox = Sandbox::find()?;
        let page = Page::read(manifest);
        let issuer = Arc::new(Issuer::generate().unwrap());
        let tls = Tls::Generated(vec!["127.0.0.1".to_owned()]);
        let settings = Settings { tls, ..Settings::for_tests(Seed::new(SEED).unwrap(), &issuer) };
        let server = DevServer::start(settings).await.unwrap();

        let dir = tempfile::tempdir().unwrap();
        // The image's user needs access to the program.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let pod = dir.path();
        let volume = |name: &str| pod.join("volumes").join(name);
        fs::create_dir(pod.join("termination")).unwrap();
        fs::write(pod.join("scaivault-agent"), "").unwrap();
        fs::write(pod.join("billing"), include_str!("billing.sh")).unwrap();
        fs::set_permissions(pod.join("billing"), Permissions::from_mode(0o755)).unwrap();
        for (name, token) in page.token_volumes() {
            fs::create_dir_all(volume(&name)).unwrap();
            let account = page.service_account();
            let now = jiff::Timestamp::now();
            let minted = issuer.mint(NAMESPACE, &account, &token.audience, now, token.seconds).unwrap();
            fs::write(volume(&name).join(token.file), minted).unwrap();
        }
        fs::create_dir_all(volume(SERVICE_ACCOUNT.0)).unwrap();
        fs::create_dir(volume(CA)).unwrap();
        fs::write(volume(CA).join(CA_FILE), server.ca_pem().unwrap()).unwrap();
        let in_memory = page.memory_volumes();
        for name in &in_memory {
            fs::create_dir(volume(name)).unwrap();
        }
        let pause = pause(sandbox, pod, &in_memory).await;
        Some(Self {
            page,
            sandbox,
            url: server.url(),
            vault: server.handle(),
            server: Some(server),
            pause,
            dir,
        })
    }

    pub(crate) fn container(&self, name: &str) -> Container {
        self.page.container(name)
    }

    /// Starts the agent of the container, with variables that the test replaces or adds.
    pub(crate) fn start_agent(
        &self,
        container: &Container,
        var_run: VarRun,
        others: &[(&str, &str)],
    ) -> RunningContainer {
        let ca_file = format!("{CA_DIR}/{CA_FILE}");
        let mut env = container.env.clone();
        for (name, value) in
            [("SCAIVAULT_URL", self.url.as_str()), ("SCAIVAULT_CA_FILE", &ca_file)].iter().chain(others)
        {
            env.retain(|(there, _)| there != name);
            env.push(((*name).to_owned(), (*value).to_owned()));
        }
        let mut program = vec![format!("/tmp{AGENT_BINARY}")];
        program.extend(container.arguments.iter().cloned());
        self.start_process(container, var_run, &[(CA, CA_DIR)], &env, &program)
    }

    /// Runs the agent until it exits.
    pub(crate) async fn run_agent(&self, container: &Container, others: &[(&str, &str)]) -> RunResult {
        self.start_agent(container, VarRun::Directory, others).ended().await
    }

    /// Starts the application's container with this program, in a typical image.
    pub(crate) fn start_app(&self, program: &[&str]) -> RunningContainer {
        let program: Vec<_> = program.iter().map(ToString::to_string).collect();
        let path = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        self.start_process(&self.container("app"), VarRun::Linked, &[], &path, &program)
    }

    /// Stops the server, so that its port is closed.
    pub(crate) fn stop_server(&mut self) {
        self.server = None;
    }

    /// The termination message of a container, as in `kubectl describe pod`.
    pub(crate) fn termination_message(&self, container: &Container) -> String {
        fs::read_to_string(self.termination_log(&container.name)).unwrap()
    }

    /// A file in the secrets volume, read from outside the pod; `None` if it does not exist.
    pub(crate) fn secret(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.secrets().join(file)).ok()
    }

    /// The path of the secrets volume from outside the pod.
    pub(crate) fn secrets(&self) -> PathBuf {
        let root = format!("/proc/{}/root", self.pause.id().unwrap());
        Path::new(&root).join(self.dir.path().strip_prefix("/").unwrap()).join("volumes/secrets")
    }

    /// What the application has read, one line per read.
    pub(crate) fn read_by_billing(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("read-by-billing")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) async fn requested(&self, route: Route, count: u64) {
        within(self.vault.requested(route, count)).await;
    }

    fn termination_log(&self, container: &str) -> PathBuf {
        self.dir.path().join("termination").join(container)
    }

    fn start_process(
        &self,
        container: &Container,
        var_run: VarRun,
        others: &[(&str, &str)],
        env: &[(String, String)],
        program: &[String],
    ) -> RunningContainer {
        let Container { name, mounts, uid, .. } = container;
        let termination_log = self.termination_log(name);
        fs::write(&termination_log, "").unwrap();
        fs::set_permissions(&termination_log, Permissions::from_mode(0o666)).unwrap();
        let log = self.dir.path().join(format!("{name}.log"));
        let mut mounts: Vec<_> = mounts
            .iter()
            .map(|mount| (mount.volume.as_str(), mount.path.as_str(), mount.is_read_only))
            .collect();
        mounts.extend([SERVICE_ACCOUNT].iter().chain(others).map(|(volume, path)| (*volume, *path, true)));
        // In the order of container runtimes, so that a mount inside another one comes later.
        mounts.sort_by_key(|(_, path, _)| path.matches('/').count());

        let pause = self.pause.id().unwrap().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &pause, "--mount", &format!("--pid=/proc/{pause}/ns/pid_for_children")]);
        command.args(self.sandbox.user_flags().1).args(["unshare", "--mount"]);
        if !self.page.shares_processes() {
            command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        }
        command.args(["sh", "-c", include_str!("container.sh"), "container.sh"]).arg(self.dir.path());
        command.arg(match var_run {
            VarRun::Directory => "directory",
            VarRun::Linked => "linked",
        });
        command.arg(name).arg(self.sandbox.uid(*uid).to_string());
        for (volume, path, is_read_only) in mounts {
            command.arg(format!("{volume}:{path}:{}", if is_read_only { "ro" } else { "rw" }));
        }
        command.arg("--").args(env.iter().map(|(name, value)| format!("{name}={value}"))).args(program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        RunningContainer { child: command.kill_on_drop(true).spawn().unwrap(), log }
    }
}

/// Starts the pod's first process, and returns when the volumes exist.
async fn pause(sandbox: Sandbox, pod: &Path, volumes: &[String]) -> Child {
    let mut command = Command::new("unshare");
    command.args(sandbox.user_flags().0).args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["sh", "-c", include_str!("pod.sh"), "pod.sh"]);
    command.arg(pod).arg(env!("CARGO_BIN_EXE_scaivault-agent")).args(volumes);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut pause = command.spawn().unwrap();
    let mut lines = BufReader::new(pause.stdout.take().unwrap()).lines();
    let ready = within(lines.next_line()).await.unwrap();
    assert_eq!(ready.as_deref(), Some("ready"), "the pod's volumes cannot be made");
    pause
}

/// A running container.
pub(crate) struct RunningContainer {
    child: Child,
    log: PathBuf,
}

impl RunningContainer {
    /// Its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for its exit.
    pub(crate) async fn ended(mut self) -> RunResult {
        let code = within(self.child.wait()).await.unwrap().code();
        RunResult::new(code, self.log())
    }

    /// Waits for an application's exit; its output may contain secret values.
    pub(crate) async fn output(mut self) -> String {
        within(self.child.wait()).await.unwrap();
        self.log()
    }

    /// Sends SIGTERM to the agent, as the kubelet does when the pod is deleted.
    pub(crate) fn terminate(&self) {
        let mut pids = vec![i32::try_from(self.child.id().unwrap()).unwrap()];
        let mut seen = 0;
        while let Some(pid) = pids.get(seen).copied() {
            pids.extend(children(pid));
            seen += 1;
        }
        let is_agent = |pid: &i32| stat(*pid).is_some_and(|(comm, _)| format!("/{comm}") == AGENT_BINARY);
        let agent = pids.into_iter().find(is_agent).expect("the agent runs");
        kill_process(Pid::from_raw(agent).unwrap(), Signal::TERM).unwrap();
    }
}

fn children(parent: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

/// The kernel's name of a process, and its parent.
fn stat(pid: i32) -> Option<(String, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = text.rsplit_once(')')?;
    let (_, comm) = before.split_once('(')?;
    Some((comm.to_owned(), after.split_whitespace().nth(1)?.parse().ok()?))
}
