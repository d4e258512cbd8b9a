//! Generation of credentials by a slow engine with occasional malformed responses. When all agents
//! have exited, the only remaining users are those that an init container has handed to its
//! application.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::process::ExitStatusExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use scaivault_devserver::LeaseState;
use scaivault_testkit::{
    SplitMix,
    world::{Calls, Chance, Misbehaviour},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{timeout, timeout_at},
};

use crate::{
    answers::shuffle,
    site::{Site, number, seed, soak_for},
};

/// The minimum number of generations. If this variable is set, latencies are not shortened.
const GENERATIONS: &str = "GENERATIONS";
const DEFAULT_GENERATIONS: usize = 40;
/// The maximum latency of the engine.
const LATENCY: Duration = Duration::from_secs(40);
/// The same in the short run.
const SHORT_LATENCY: Duration = Duration::from_secs(3);
/// The percentage of malformed responses.
const MALFORMED: u64 = 35;
/// The number of concurrent agents.
const AGENTS: usize = 100;
const SHORT_AGENTS: usize = 12;
/// How long an agent may take to exit, in addition to the engine's latency.
const END: Duration = Duration::from_mins(2);

/// The term of the first agent's first lease, in seconds.
const TERM: u64 = 7200;

/// Applies one of several malformations. All keep the identifier of the lease.
fn malform(value: &mut Value, random: &mut SplitMix) {
    let object = value.as_object_mut().unwrap();
    let odd = [
        Value::Null,
        json!(5),
        json!(-1),
        json!("soon"),
        json!([]),
        json!({ "x": 1 }),
        json!(true),
        json!(f64::MAX),
        json!(""),
    ];
    match random.below(10_u32) {
        0 => drop(object.remove("data")),
        1..=3 => drop(object.insert("data".to_owned(), odd[random.below(odd.len())].clone())),
        4..=6 => {
            let member = ["ttl", "ttl_seconds", "expires_at", "renewable", "max_ttl_seconds"];
            object
                .insert(member[random.below(member.len())].to_owned(), odd[random.below(odd.len())].clone());
        }
        7 => {
            object.retain(|name, _| name == "lease_id");
        }
        8 => drop(object.insert("data".to_owned(), json!({}))),
        _ => shuffle(value, random),
    }
}

/// The agents, and their results.
struct Run {
    site: Site,
    latency: Duration,
    wanted: usize,
    started: AtomicU64,
    seed: u64,
}

/// The results of one worker's agents.
#[derive(Default)]
struct Outcome {
    /// Users in the file of a successful `init`, which its application uses.
    handed_over: BTreeSet<String>,
    ended: [usize; 2],
    terminated: usize,
    unexpected: Vec<String>,
    /// The logs, by the number of the agent.
    logs: BTreeMap<u64, String>,
}

impl Run {
    fn generations(&self) -> usize {
        self.site.world.seen(Calls::GENERATE).len()
    }

    /// Starts agents, one after the other, until there are enough generations.
    async fn work(self: Arc<Self>) -> Outcome {
        let mut outcome = Outcome::default();
        while self.generations() < self.wanted {
            let number = self.started.fetch_add(1, Ordering::Relaxed);
            let mut random = SplitMix::new(self.seed.wrapping_add(number));
            self.one(number, &mut random, &mut outcome).await;
        }
        outcome
    }

    async fn one(&self, number: u64, random: &mut SplitMix, outcome: &mut Outcome) {
        let dir = tempfile::tempdir_in(self.site.pod.path("")).unwrap();
        let is_init = random.below(2) == 0;
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let mut agent = self.agent(number, &dir, is_init, random);
        let mut agent = agent.stderr(log).spawn().unwrap();
        let millis = u64::try_from(self.latency.as_millis()).unwrap();
        let life = Duration::from_millis(random.below(millis * 3 / 2));
        let has_signal = !is_init || random.below(2) == 0;
        let mut signal = "no signal".to_owned();
        if has_signal && timeout(life, agent.wait()).await.is_err() {
            terminate(&agent);
            outcome.terminated += 1;
            signal = format!("SIGTERM at {}", jiff::Timestamp::now());
        }
        let Ok(status) = timeout(self.latency * 2 + END, agent.wait()).await else {
            outcome.unexpected.push(format!("it does not end: {}", read(&dir, "log")));
            return;
        };
        let status = status.unwrap();
        let code = status.code();
        let log = read(&dir, "log");
        let kind = if is_init { "init" } else { "sidecar" };
        let log = format!("{kind}, {signal}, ended with {code:?} at {}:\n{log}", jiff::Timestamp::now());
        outcome.logs.insert(number, log);
        outcome.ended[usize::from(code != Some(0))] += 1;
        // The signal may arrive before the agent handles it; then it has not done anything yet.
        let has_not_begun = status.signal() == Some(Signal::TERM.as_raw()) && read(&dir, "log").is_empty();
        if !matches!(code, Some(0 | 1 | 4 | 5)) && !has_not_begun {
            outcome.unexpected.push(format!("{status}: {}", read(&dir, "log")));
        }
        if is_init && code == Some(0) {
            outcome.handed_over.extend(["a", "b"].map(|file| read(&dir, &format!("secrets/{file}"))));
        }
    }

    /// The terms of its leases identify the agent.
    fn agent(&self, number: u64, dir: &TempDir, is_init: bool, random: &mut SplitMix) -> Command {
        let target = |file: &str| {
            let secrets = dir.path().join("secrets").join(file);
            format!("{} template=\"{{{{ data.username }}}}\"", secrets.display())
        };
        let ttl = TERM + 2 * number;
        let line = |ttl: u64, file| format!("engine=postgres role=readonly ttl={ttl}s -> {}\n", target(file));
        let mut dynamic = line(ttl, "a");
        if random.below(3) == 0 {
            dynamic = [dynamic, line(ttl + 1, "b")].concat();
        }
        // As long as the default relative to the latency, shorter, or longer.
        let patience = self.latency.as_secs() * [3, 2, 6][random.below(3)] / 2;
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        let mut agent = self.site.agent(if is_init { "init" } else { "sidecar" }, &[("DYNAMIC", &dynamic)]);
        agent.env("FETCH_TIMEOUT", format!("{}s", patience.max(1)));
        if random.below(2) == 0 {
            agent.env("SCAIVAULT_STATE_DIR", state);
        }
        agent
    }
}

/// Information about remaining leases: the response that contained each, and its agent's log.
fn explain(run: &Run, left: &[&LeaseState], logs: &BTreeMap<u64, String>) -> String {
    let seen = run.site.world.seen(Calls::GENERATE);
    let explain = |lease: &&LeaseState| {
        let Some(seen) = seen.iter().find(|seen| seen.answer.as_ref().is_some_and(|a| a.contains(&lease.id)))
        else {
            return format!("{}: its answer is not seen", lease.id);
        };
        let answer: Value = serde_json::from_str(seen.answer.as_ref().unwrap()).unwrap();
        let number = (answer["ttl_seconds"].as_u64().unwrap() - TERM) / 2;
        let log = logs.get(&number).map_or("it has not ended", String::as_str);
        let took = seen.to.duration_since(seen.from).as_secs_f32();
        format!(
            "{}: answered after {took:.1} s, delivered: {}, agent {number}, {log}",
            lease.id, seen.is_delivered
        )
    };
    left.iter().map(explain).collect::<Vec<_>>().join("\n")
}

fn terminate(agent: &Child) {
    // It may have exited meanwhile.
    if let Some(pid) = agent.id().and_then(|pid| Pid::from_raw(pid.try_into().unwrap())) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn read(dir: &TempDir, file: &str) -> String {
    fs::read_to_string(dir.path().join(file)).unwrap_or_default()
}

const SEED: &str = r#"
identities: [{id: "sa:billing", service_accounts: [billing/web], dynamic: ["postgres/*"]}]
engines: {postgres: {roles: {readonly: {default_ttl: 6h, max_ttl: 24h}}}}
rate_limits: {dynamic: 4000000000, lease: 4000000000}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_users_are_dropped() {
    let wanted = number(GENERATIONS);
    let (latency, agents) = match wanted {
        Some(_) => (LATENCY, AGENTS),
        None => (SHORT_LATENCY, SHORT_AGENTS),
    };
    let wanted = wanted.unwrap_or(DEFAULT_GENERATIONS);
    let site = Site::with(SEED).await;
    site.world.add(Calls::GENERATE, Chance::Always, Misbehaviour::Slow(Duration::ZERO, latency));
    site.world.add(Calls::GENERATE, Chance::Percent(MALFORMED), Misbehaviour::Reshape(malform));
    let (began, seed) = (Instant::now(), seed());
    let run = Arc::new(Run { site, latency, wanted, started: AtomicU64::new(0), seed });
    let workers: Vec<_> = (0..agents).map(|_| tokio::spawn(Arc::clone(&run).work())).collect();
    let mut all = Outcome::default();
    for worker in workers {
        let Outcome { handed_over, ended, terminated, unexpected, logs } = worker.await.unwrap();
        all.logs.extend(logs);
        all.handed_over.extend(handed_over);
        all.ended = [all.ended[0] + ended[0], all.ended[1] + ended[1]];
        all.terminated += terminated;
        all.unexpected.extend(unexpected);
    }
    // Generations that the engine still processes without a client would create users, too.
    let deadline = tokio::time::Instant::now() + latency * 2;
    let asked = || run.site.pod.vault.leases().len();
    let mut before = asked();
    while timeout_at(deadline, soak_for(latency)).await.is_ok() && asked() != before {
        before = asked();
    }
    let live = run.site.pod.vault.leases().into_iter();
    let live: Vec<_> = live.filter(|lease| lease.seconds_left > 0 && !lease.is_revoked).collect();
    let left: Vec<_> = live.iter().filter(|lease| !all.handed_over.contains(&lease.username)).collect();
    println!(
        "| generations | agents | ended with 0, with an error | after SIGTERM | handed to an application | users left | seconds |\n\
         |---:|---:|---:|---:|---:|---:|---:|\n| {} | {} | {}, {} | {} | {} | {} | {} |",
        run.generations(),
        run.started.load(Ordering::Relaxed),
        all.ended[0],
        all.ended[1],
        all.terminated,
        live.len() - left.len(),
        left.len(),
        began.elapsed().as_secs(),
    );
    assert!(all.unexpected.is_empty(), "seed {seed}: {:?}", all.unexpected);
    assert!(left.is_empty(), "seed {seed}: {}", explain(&run, &left, &all.logs));
}
