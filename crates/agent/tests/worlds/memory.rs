//! The memory limit that the injector sets: a cgroup limit that includes the files of the volume.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio, id},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use scaivault_devserver::Handle;
use serde_json::{Map, Value};

use crate::{
    site::Site,
    support::{AGENT, Sidecar, skipped, until},
};

/// The injector's defaults: a volume of 8 MiB, and this much more for the agent.
const DEFAULT_VOLUME: u64 = 8;
const AGENT_MEBIBYTES: u64 = 24;
/// The limit of the sidecar's own memory with fifty secrets.
const ANONYMOUS_LIMIT_KIB: u64 = 4096;

/// A group of processes with a memory limit, in either version of cgroups.
struct Cgroup {
    dir: PathBuf,
    is_v2: bool,
}

impl Cgroup {
    fn new(mebibytes: u64) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("scaivault-test-{}-{}", id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let root = Path::new("/sys/fs/cgroup");
        let (dir, is_v2) = if root.join("memory").is_dir() {
            (root.join("memory").join(name), false)
        } else {
            let delegated = fs::read_to_string(root.join("cgroup.subtree_control"));
            let delegated = delegated.map_err(|error| format!("cgroup.subtree_control: {error}"))?;
            if !delegated.split_whitespace().any(|controller| controller == "memory") {
                return Err(format!("no memory controller in {}/cgroup.subtree_control", root.display()));
            }
            (root.join(name), true)
        };
        fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let group = Self { dir, is_v2 };
        let limit = (mebibytes << 20).to_string();
        group.write(if is_v2 { "memory.max" } else { "memory.limit_in_bytes" }, &limit)?;
        // Without swap, as on most nodes. If there is no swap, the file does not exist.
        let _: Result<(), String> = group.write("memory.swap.max", "0");
        let _: Result<(), String> = group.write("memory.memsw.limit_in_bytes", &limit);
        Ok(group)
    }

    fn write(&self, file: &str, text: &str) -> Result<(), String> {
        fs::write(self.dir.join(file), text).map_err(|error| format!("{file}: {error}"))
    }

    /// How often the kernel has killed a process in it.
    fn kills(&self) -> u64 {
        let file = if self.is_v2 { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.dir.join(file)).unwrap();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.unwrap().parse().unwrap()
    }

    fn peak_kib(&self) -> u64 {
        let file = if self.is_v2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
        let text = fs::read_to_string(self.dir.join(file)).unwrap_or_else(|_| "0".to_owned());
        text.trim().parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // It can only be removed after its processes have exited, which takes a moment.
        for _ in 0..500 {
            if fs::remove_dir(&self.dir).is_ok() {
                return;
            }
            let processes = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
            for pid in processes.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
                let _ = kill_process(pid, Signal::KILL);
            }
            thread::park_timeout(Duration::from_millis(10));
        }
    }
}

/// A pod whose volume is a separate file system that is removed with it, and whose agent has a
/// memory limit.
struct LimitedPod {
    site: Site,
    group: Cgroup,
    /// Keeps the mount namespace.
    holder: Child,
}

impl LimitedPod {
    /// `None` if this is not possible on this machine.
    async fn new(volume: u64, limit: u64, seed: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped("only root can limit memory");
            return None;
        }
        let group = match Cgroup::new(limit) {
            Ok(group) => group,
            Err(error) => {
                skipped(&format!("memory cannot be limited here: {error}"));
                return None;
            }
        };
        let site = Site::with(seed).await;
        fs::create_dir(site.pod.path("secrets")).unwrap();
        let script =
            format!("mount -t tmpfs -o size={volume}m,mode=0777 none \"$1\" && echo ready && read -r _");
        let mut holder = Command::new("unshare");
        holder.args(["--mount", "sh", "-c", &script, "sh"]).arg(site.pod.path("secrets"));
        let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n");
        Some(Self { site, group, holder })
    }

    fn agent(&self, command: &str, variables: &[(&str, &str)]) -> tokio::process::Command {
        let mut agent = self.site.agent_at(Path::new("nsenter"), "--no-fork", variables);
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        let script = "echo $$ > \"$1\" && shift && exec \"$@\"";
        agent.args([&namespace, "sh", "-c", script, "sh"]).arg(self.group.dir.join("cgroup.procs"));
        agent.args([AGENT, command]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        agent
    }

    fn secret(&self, file: &str) -> Option<String> {
        let path = self.site.pod.path("secrets").join(file);
        let path = format!("/proc/{}/root{}", self.holder.id(), path.display());
        fs::read_to_string(path).ok()
    }

    /// The mapping to the volume, without the secrets directory.
    fn mapping(&self, secrets: usize) -> String {
        let entries: Vec<_> = (0..secrets).map(|n| (format!("app/s{n}"), format!("s{n}.json"))).collect();
        let entries: Vec<_> = entries.iter().map(|(s, t)| (s.as_str(), t.as_str())).collect();
        self.site.pod.mapping(&entries)
    }
}

impl Drop for LimitedPod {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn seed(secrets: usize) -> String {
    let secrets = (0..secrets).map(|n| format!("  app/s{n}: {{data: {{blob: 'small'}}}}\n"));
    let secrets = secrets.collect::<Vec<_>>().concat();
    format!(
        "policies: {{billing: [{{path_pattern: 'app/**', permissions: [read]}}]}}\n\
         identities: [{{id: 'sa:billing', service_accounts: ['billing/web'], policies: [billing], dynamic: ['postgres/*']}}]\n\
         engines: {{postgres: {{roles: {{readonly: {{default_ttl: 1h, max_ttl: 24h}}}}}}}}\n\
         secrets:\n{secrets}"
    )
}

/// This many bytes of one letter.
fn blob(letter: char, bytes: usize) -> Map<String, Value> {
    let mut data = Map::new();
    data.insert("blob".to_owned(), Value::String(letter.to_string().repeat(bytes)));
    data
}

fn fill(vault: &Handle, secrets: usize, letter: char, bytes: usize) {
    for n in 0..secrets {
        vault.write(&format!("app/s{n}").parse().unwrap(), blob(letter, bytes));
    }
}

fn ends_with(text: Option<String>, letter: char) -> bool {
    text.is_some_and(|text| text.trim_end_matches(['"', '}']).ends_with(letter))
}

/// Nine secrets grow to a megabyte each while a sidecar with a lease runs. All changes arrive if
/// the volume is large enough; otherwise the log reports that it is not. In no case is a process
/// killed.
async fn secrets_grow(volume: u64, bytes: usize, fits: bool) {
    const SECRETS: usize = 9;
    let Some(confined) = LimitedPod::new(volume, volume + AGENT_MEBIBYTES, &seed(SECRETS)).await else {
        return;
    };
    let site = &confined.site;
    let watch = confined.mapping(SECRETS);
    let dynamic = site.pod.mapping(&[("engine=postgres role=readonly ttl=20s", "db.json")]);
    let state = site.state();
    let variables = [
        ("WATCH_PATHS", watch.as_str()),
        ("DYNAMIC", dynamic.as_str()),
        ("REFRESH_INTERVAL", "1s"),
        ("SCAIVAULT_STATE_DIR", state.as_str()),
    ];
    let sidecar = Sidecar::run(&site.pod, &mut confined.agent("sidecar", &variables));
    until(|| confined.secret("s8.json").is_some() && confined.secret("db.json").is_some()).await;
    for letter in ['a', 'b', 'c'] {
        let said = sidecar.said("not refreshed");
        fill(&site.pod.vault, SECRETS, letter, bytes);
        let arrived = || (0..SECRETS).all(|n| ends_with(confined.secret(&format!("s{n}.json")), letter));
        if fits {
            until(|| arrived() || confined.group.kills() > 0).await;
        } else {
            until(|| sidecar.said("not refreshed") > said || confined.group.kills() > 0).await;
        }
    }
    assert_eq!(confined.group.kills(), 0, "killed for its memory");
    assert!(fits || sidecar.said("full") + sidecar.said("space") > 0, "the log does not say why");
    // A lease that takes the place of another one is generated before that one is revoked.
    until(|| site.pod.live_leases() == 1).await;
    sidecar.end().await.check(0, &[]);
    assert_eq!(site.pod.live_leases(), 0);
}

#[tokio::test]
async fn oversized_secrets_do_not_kill_the_agent() {
    secrets_grow(DEFAULT_VOLUME, 1_000_000, false).await;
}

#[tokio::test]
async fn secrets_of_the_maximum_size_do_not_kill_the_agent() {
    secrets_grow(DEFAULT_VOLUME, (1 << 20) - 32, false).await;
}

#[tokio::test]
async fn secrets_that_fit_arrive_within_the_limit() {
    secrets_grow(20, 1_000_000, true).await;
}

/// Their total size exceeds the limit of one response, whether they are requested at once or one by
/// one.
#[tokio::test]
async fn many_secrets_of_a_middling_size_arrive() {
    const SECRETS: usize = 30;
    let Some(confined) = LimitedPod::new(20, 20 + AGENT_MEBIBYTES, &seed(SECRETS)).await else { return };
    let watch = confined.mapping(SECRETS);
    let variables = [("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1s")];
    let sidecar = Sidecar::run(&confined.site.pod, &mut confined.agent("sidecar", &variables));
    until(|| confined.secret("s29.json").is_some()).await;
    for letter in ['a', 'b', 'c'] {
        fill(&confined.site.pod.vault, SECRETS, letter, 200_000);
        let arrived = || (0..SECRETS).all(|n| ends_with(confined.secret(&format!("s{n}.json")), letter));
        until(|| arrived() || confined.group.kills() > 0).await;
    }
    assert_eq!(confined.group.kills(), 0, "killed for its memory");
    sidecar.end().await.check(0, &[]);
}

/// Half of the default volume, which is the limit for all files.
#[tokio::test]
async fn half_of_the_default_volume_can_be_used() {
    secrets_grow(DEFAULT_VOLUME, 440_000, true).await;
}

/// At start: an init container that is killed would be restarted forever.
#[tokio::test]
async fn init_reports_secrets_that_do_not_fit() {
    for (volume, secrets, fits) in [(DEFAULT_VOLUME, 9, false), (20, 9, true), (DEFAULT_VOLUME, 20, false)] {
        let Some(confined) = LimitedPod::new(volume, volume + AGENT_MEBIBYTES, &seed(secrets)).await else {
            return;
        };
        fill(&confined.site.pod.vault, secrets, 'x', 1_000_000);
        let watch = confined.mapping(secrets);
        let variables = [("SECRETS", watch.as_str()), ("FETCH_TIMEOUT", "55s")];
        let ended =
            crate::support::ended(crate::support::start(&mut confined.agent("init", &variables))).await;
        assert_eq!(confined.group.kills(), 0, "{volume} MiB: {}", ended.log);
        assert_eq!(ended.code, Some(i32::from(!fits)), "{volume} MiB: {}", ended.log);
        assert!(fits || ended.log.contains("full") || ended.log.contains("space"), "{}", ended.log);
        println!("init, {secrets} secrets, volume of {volume} MiB: peak {} KiB", confined.group.peak_kib());
    }
}

/// Its own memory, without the program and the files.
#[tokio::test]
async fn fifty_secrets_need_little_memory() {
    const SECRETS: usize = 50;
    let Some(confined) =
        LimitedPod::new(DEFAULT_VOLUME, DEFAULT_VOLUME + AGENT_MEBIBYTES, &seed(SECRETS)).await
    else {
        return;
    };
    let pod = &confined.site.pod;
    let watch = confined.mapping(SECRETS);
    let variables = [("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1s")];
    let sidecar = Sidecar::run(pod, &mut confined.agent("sidecar", &variables));
    for letter in ['a', 'b', 'c', 'd'] {
        fill(&pod.vault, SECRETS, letter, 200);
        until(|| (0..SECRETS).all(|n| ends_with(confined.secret(&format!("s{n}.json")), letter))).await;
    }
    let status = fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let anonymous: u64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    println!("fifty secrets: {anonymous} KiB anonymous, peak of all {} KiB", confined.group.peak_kib());
    // A build with debug assertions has larger futures and stacks.
    let limit = if cfg!(debug_assertions) { 2 * ANONYMOUS_LIMIT_KIB } else { ANONYMOUS_LIMIT_KIB };
    assert!(anonymous <= limit, "{anonymous} KiB");
    sidecar.end().await.check(0, &[]);
}
