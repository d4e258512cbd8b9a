//! A pod that reaches its ScaiVault through a world that misbehaves.

use std::{
    env, fs,
    future::pending,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use scaivault_testkit::world::World;
use tokio::{process::Command, time::timeout};

use crate::support::{AGENT, Pod, RunResult, Sidecar, within};

pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) pod: Pod,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with_pod(Pod::new().await)
    }

    pub(crate) async fn with(seed: &str) -> Self {
        Self::with_pod(Pod::with(seed).await)
    }

    fn with_pod(pod: Pod) -> Self {
        Self { world: World::start(pod.server(), seed()).unwrap(), pod }
    }

    /// With TLS. The CA is in the file `ca/ca.crt` below the pod's directory, as the kubelet
    /// projects it.
    pub(crate) async fn tls() -> Self {
        let pod = Pod::new().await;
        let (world, pem) = World::start_tls(pod.server(), seed(), &["localhost"]).unwrap();
        project(&pod.path("ca"), "ca.crt", &pem);
        Self { world, pod }
    }

    pub(crate) fn agent(&self, command: &str, variables: &[(&str, &str)]) -> Command {
        self.agent_at(Path::new(AGENT), command, variables)
    }

    pub(crate) fn agent_at(&self, program: &Path, command: &str, variables: &[(&str, &str)]) -> Command {
        let mut agent = self.pod.agent_at(program, command, &[]);
        agent.env("SCAIVAULT_URL", self.world.url());
        let ca = self.pod.path("ca/ca.crt");
        if ca.exists() {
            agent.env("SCAIVAULT_CA_FILE", ca);
        }
        agent.envs(variables.iter().copied());
        agent
    }

    pub(crate) async fn run(&self, command: &str, variables: &[(&str, &str)]) -> RunResult {
        let output = within(self.agent(command, variables).output()).await.unwrap();
        RunResult::new(output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub(crate) fn sidecar(&self, variables: &[(&str, &str)]) -> Sidecar {
        Sidecar::run(&self.pod, &mut self.agent("sidecar", variables))
    }

    /// The state directory, in which leases survive a restart.
    pub(crate) fn state(&self) -> String {
        self.pod.path("state").to_str().unwrap().to_owned()
    }
}

/// Writes a file to a volume as the kubelet does: all files of the volume change with one rename.
pub(crate) fn project(volume: &Path, file: &str, content: &str) {
    let number = fs::read_dir(volume).map_or(0, Iterator::count);
    let generation = format!("..{number}");
    fs::create_dir_all(volume.join(&generation)).unwrap();
    fs::write(volume.join(&generation).join(file), content).unwrap();
    symlink(&generation, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    let link = volume.join(file);
    if !link.exists() {
        symlink(Path::new("..data").join(file), link).unwrap();
    }
}

/// Waits for a fixed time: a soak test spreads its load over time, and the absence of further work
/// of an engine is not an event. Only `soak` and `generations` may use it; all other tests wait for
/// events.
pub(crate) async fn soak_for(time: Duration) {
    let _: Result<(), _> = timeout(time, pending()).await;
}

/// The random seed: the variable `WORLD_SEED`, else the time.
pub(crate) fn seed() -> u64 {
    number("WORLD_SEED").unwrap_or_else(|| jiff::Timestamp::now().as_millisecond().unsigned_abs())
}

/// A number from an environment variable.
#[expect(clippy::disallowed_methods, reason = "a test has no command line")]
pub(crate) fn number<N: std::str::FromStr>(variable: &str) -> Option<N> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}: must be a number")))
}

/// The target of a directory's `..data` link, which changes with each write.
pub(crate) fn generation(root: &Path) -> Option<PathBuf> {
    let direct = fs::read_link(root.join("..data")).ok();
    direct.or_else(|| {
        let entries = fs::read_dir(root).ok()?;
        let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.filter_map(|link| fs::canonicalize(root.join(link)).ok()?.parent().map(Path::to_owned)).max()
    })
}
