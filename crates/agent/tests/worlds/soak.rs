//! Many agents for a long time: a server that is restarted, lags and returns arbitrary responses,
//! CAs that change, agents that are killed, applications that are notified by signal or by request.

mod agents;
mod readers;
mod weather;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use scaivault_testkit::{SplitMix, world::Calls};

use crate::{
    site::{number, project, seed, soak_for},
    support::until,
};

use agents::{Agent, Fleet};
use readers::Readers;

/// The duration. Without the variable it is short, with fewer agents.
const MINUTES: &str = "SOAK_MINUTES";
const SHORT: Duration = Duration::from_secs(25);
const AGENTS: usize = 50;
const SHORT_AGENTS: usize = 12;
/// How soon everything has to be up to date after the faults end.
const CALM: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_are_up_to_date_after_any_weather() {
    let minutes: Option<f64> = number(MINUTES);
    let lasts = minutes.map_or(SHORT, |minutes| Duration::from_secs_f64(minutes * 60.0));
    let size = if minutes.is_some() { AGENTS } else { SHORT_AGENTS };
    let seed = seed();
    println!("soak with seed {seed}");
    let fleet = Arc::new(Fleet::new(size, seed).await);
    let mut agents: Vec<_> = futures(size, &fleet).await;
    let readers = Readers::start(&fleet);
    until(|| fleet.files().all(|(_, file)| file.exists())).await;

    let began = Instant::now();
    let deadline = began + lasts;
    let helpers = [
        tokio::spawn(weather::change(Arc::clone(&fleet), deadline, SplitMix::new(seed))),
        tokio::spawn(weather::write(Arc::clone(&fleet), deadline, SplitMix::new(seed ^ 1))),
        tokio::spawn(weather::rotate_authorities(Arc::clone(&fleet), began, lasts)),
    ];
    let mut random = SplitMix::new(seed ^ 2);
    while Instant::now() < deadline {
        let which = random.below(agents.len());
        agents[which].kill_and_restart(Duration::from_millis(random.below(1000))).await;
        soak_for(Duration::from_millis(500 + random.below(1500))).await;
    }
    for helper in helpers {
        helper.await.unwrap();
    }
    fleet.world.clear();

    let calm = Instant::now();
    while !fleet.late().is_empty() && calm.elapsed() < CALM {
        soak_for(Duration::from_millis(100)).await;
    }
    let late = fleet.late();
    let settled = calm.elapsed();
    // Notifications follow the files.
    until(|| calm.elapsed() > CALM || agents.iter().all(Agent::is_notified)).await;
    let unnotified: Vec<_> =
        agents.iter().filter(|agent| !agent.is_notified()).map(Agent::describe).collect();
    let read = readers.end();
    let news: u32 = agents.iter().map(Agent::news).sum();
    let kills: usize = agents.iter().map(Agent::kills).sum();
    agents.iter().for_each(Agent::terminate);
    let mut codes = Vec::new();
    for agent in &mut agents {
        codes.push(agent.ended().await);
    }
    // Of the leases that no agent could know, only the number is printed: they end by their TTL.
    let [left, unknown] = fleet.live_leases(&agents);

    println!("\n| figure | |\n|---|---:|");
    for (name, figure) in [
        ("agents", size.to_string()),
        ("minutes", format!("{:.1}", lasts.as_secs_f64() / 60.0)),
        ("versions written", fleet.written().to_string()),
        ("changes seen by readers", read.changes.to_string()),
        ("signals and requests heard", news.to_string()),
        ("agents killed", kills.to_string()),
        ("times the server was away", fleet.restarts().to_string()),
        ("authorities", "3".to_owned()),
        ("requests that were carried out", fleet.world.seen(Calls::ALL).len().to_string()),
        ("leases generated", fleet.vault.leases().len().to_string()),
        ("versions that went backwards", read.backwards.len().to_string()),
        ("times a file was absent", read.absent.to_string()),
        ("files late after a minute of calm", late.len().to_string()),
        ("seconds of calm until all were up to date", format!("{:.1}", settled.as_secs_f64())),
        ("applications not notified of the last change", unnotified.len().to_string()),
        ("leases left after SIGTERM", left.len().to_string()),
        ("live leases that no agent could know of", unknown.len().to_string()),
    ] {
        println!("| {name} | {figure} |");
    }
    assert_eq!(read.backwards, [] as [String; 0], "seed {seed}");
    let logs = agents.iter().filter(|agent| late.iter().any(|file| file.contains(&agent.name())));
    let logs: Vec<_> = logs.map(Agent::describe).collect();
    assert!(late.is_empty(), "seed {seed}: late: {late:?}\n{}", logs.join("\n"));
    assert!(unnotified.is_empty(), "seed {seed}: not notified: {unnotified:?}");
    assert!(left.is_empty(), "seed {seed}: leases: {left:?}");
    assert!(codes.iter().all(|code| *code == Some(0)), "seed {seed}: {codes:?}");
    assert_eq!(read.absent, 0, "seed {seed}");
}

async fn futures(size: usize, fleet: &Arc<Fleet>) -> Vec<Agent> {
    let mut agents = Vec::new();
    for number in 0..size {
        agents.push(Agent::start(fleet, number).await);
    }
    agents
}

/// The kubelet updates the ConfigMap with a delay.
fn publish(fleet: &Fleet, bundle: &str) {
    project(&fleet.dir.path().join("ca"), "ca.crt", bundle);
}
