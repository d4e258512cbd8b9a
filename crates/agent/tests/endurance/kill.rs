//! SIGKILL at random moments.

use std::{env, fs, path::Path, time::Duration};

use scaivault_devserver::{Category, Handle, Route};
use scaivault_testkit::SplitMix;
use serde_json::Value;

use crate::{
    readers::{self, content, generations, has_any, is_unfinished, mapping, secret},
    support::{Pod, Sidecar, until},
};

/// The seed of the random moments. A failure prints it, and setting it repeats them.
const SEED: &str = "KILL_SEED";
/// The number of pods, and of kills in each; the first kills happen during the first fetch.
const PODS: u32 = 5;
const KILLS: u32 = 10;

#[tokio::test]
async fn a_kill_leaves_complete_files_and_one_lease() {
    let seed = seed();
    let mut random = SplitMix::new(seed);
    let (mut orphans, mut early, mut unfinished) = (0, 0, 0);
    for _ in 0..PODS {
        let pod = Pod::new().await;
        for category in [Category::Read, Category::Poll, Category::Subscription] {
            pod.vault.set_rate_limit(category, u32::MAX);
        }
        let root = pod.path("secrets");
        let rotator = tokio::spawn(rotate_after_each_read(pod.vault.clone()));
        let files = mapping();
        let watch = pod.mapping(&files.each_ref().map(|(source, file)| (*source, file.as_str())));
        let lease = pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
        let state = pod.path("state");
        let variables = [
            ("WATCH_PATHS", watch.as_str()),
            ("DYNAMIC", lease.as_str()),
            ("SCAIVAULT_STATE_DIR", state.to_str().unwrap()),
            ("REFRESH_INTERVAL", "1s"),
            ("REFRESH_ON_EVENT", "true"),
        ];
        for _ in 0..KILLS {
            forget_pauses(&state);
            let kept = kept_lease(&state);
            let generated = pod.vault.leases().len();
            let reads = pod.vault.requests(Route::Read);
            let sidecar = Sidecar::start(&pod, &variables);
            let moment = random.below(if kept.is_none() { 4_u32 } else { 5 });
            match moment {
                // At a random time after the start.
                0 => sidecar.kill_after(Duration::from_millis(random.below(40))).await,
                1 => {
                    let root = root.clone();
                    sidecar.kill_when(move || is_unfinished(&root)).await;
                }
                // Between the server's response and the write to disk.
                2 if kept.is_none() => {
                    let vault = pod.vault.clone();
                    sidecar.kill_when(move || vault.leases().len() > generated).await;
                }
                // Right after the first files appear.
                3 if kept.is_none() => {
                    let data = root.join("..data");
                    sidecar.kill_when(move || data.exists()).await;
                }
                // During the refresh at start, or the refresh caused by an event.
                _ => {
                    let reads = reads + if moment == 4 { 3 } else { 1 } + random.below(2);
                    pod.requested(Route::Read, reads).await;
                    sidecar.kill_after(Duration::from_millis(random.below(6))).await;
                }
            }

            if let Some(kept) = kept {
                assert_eq!(kept_lease(&state), Some(kept), "seed {seed}");
                assert_eq!(pod.vault.leases().len(), generated, "a second lease; seed {seed}");
            } else {
                early += 1;
                assert!(pod.vault.leases().len() <= generated + 1, "seed {seed}");
            }
            if root.join("..data").exists() {
                assert!(readers::generation(&root).is_some(), "a file is missing; seed {seed}");
                assert!(root.join("db.json").exists(), "seed {seed}");
                assert!(kept_lease(&state).is_some(), "credentials of a lost lease; seed {seed}");
            } else {
                assert!(!has_any(&root), "a file before all are complete; seed {seed}");
            }
            let generations = generations(&root);
            assert!(generations.len() <= 2, "{generations:?}; seed {seed}");
            unfinished += u32::from(is_unfinished(&root));
        }
        // Pauses that the last kill has caused do not matter here.
        forget_pauses(&state);
        let sidecar = Sidecar::start(&pod, &variables);
        until(|| kept_lease(&state).is_some() && readers::generation(&root).is_some()).await;
        let polls = pod.vault.requests(Route::Poll);
        pod.requested(Route::Poll, polls + 1).await;
        sidecar.end().await.check(0, &["stopped"]);
        rotator.abort();
        // Leases lost between response and disk expire by themselves.
        let alive = pod.live_leases();
        assert_eq!(alive, pod.vault.leases().len() - 1, "seed {seed}");
        orphans += alive;
    }
    println!(
        "seed {seed}: {} kills, {early} of them before a lease was on disk, {unfinished} inside a change; {orphans} lost leases",
        PODS * KILLS
    );
    assert!(orphans <= early, "seed {seed}");
}

/// Writes both secrets after each read, so that each read returns a change.
async fn rotate_after_each_read(vault: Handle) {
    for number in 1.. {
        vault.rotate(&secret(0), content(number));
        vault.rotate(&secret(1), content(number));
        vault.requested(Route::Read, vault.requests(Route::Read) + 1).await;
    }
}

/// The lease in the agent's stored state; `None` if the state is incomplete.
fn kept_lease(dir: &Path) -> Option<String> {
    let state = fs::read(dir.join("state.json")).ok()?;
    let state: Value = serde_json::from_slice(&state).unwrap();
    let leases = state["leases"].as_array().unwrap();
    assert!(leases.len() <= 1, "{}", leases.len());
    Some(leases.first()?["id"].as_str().unwrap().to_owned())
}

/// A killed generation delays the next one by up to minutes, which other tests check.
fn forget_pauses(dir: &Path) {
    let file = dir.join("state.json");
    if let Ok(state) = fs::read(&file) {
        let mut state: Value = serde_json::from_slice(&state).unwrap();
        state["generations"] = Value::Array(Vec::new());
        fs::write(file, state.to_string()).unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no command line")]
fn seed() -> u64 {
    env::var(SEED)
        .map_or_else(|_| jiff::Timestamp::now().as_millisecond().unsigned_abs(), |seed| seed.parse().unwrap())
}
