//! The sidecar's memory with 50 secrets: idle, and after many refreshes.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;

use crate::{
    Result,
    figures::mebibytes,
    world::{Agent, Limits, SECRETS, World, pause, until},
};

/// A row is printed after this many refreshes. The target applies to the first 10,000; the rest
/// shows whether memory grows.
const ROWS: [usize; 6] = [1, 1_000, 5_000, 10_000, 20_000, 30_000];
/// One in this many refreshes changes all secrets, the others change one.
const ALL_EACH: usize = 10;
/// How long the agent is idle before a row.
const IDLE: Duration = Duration::from_secs(2);

pub(crate) fn measure(agent: &Path) -> Result<()> {
    println!("\nThe program: {} bytes.", fs::metadata(agent)?.len());
    let world = World::new(agent, Limits::Off, true)?;
    let pod = world.pod()?;
    let variables = [
        ("REFRESH_INTERVAL", "1d"),
        ("REFRESH_ON_EVENT", "true"),
        ("SCAIVAULT_METRICS_LISTEN", "127.0.0.1:0"),
    ];
    let sidecar = Agent::start(&mut world.agent(&pod, "sidecar", SECRETS, &variables)?)?;
    until(Duration::from_millis(5), || (0..SECRETS).all(|secret| pod.value(secret) == Some(0)))?;
    println!("\n| {SECRETS} secrets, MiB | anonymous | resident | highest |\n|---|---:|---:|---:|");
    let row = |name: &str| -> Result<()> {
        pause(IDLE);
        let [anonymous, resident, highest] =
            ["RssAnon", "VmRSS", "VmHWM"].map(|name| sidecar.kibibytes(name).map(mebibytes));
        println!("| {name} | {} | {} | {} |", anonymous?, resident?, highest?);
        Ok(())
    };
    row("idle after the start")?;
    for refresh in 1..=ROWS[ROWS.len() - 1] {
        let changed =
            if refresh % ALL_EACH == 0 { 0..SECRETS } else { refresh % SECRETS..refresh % SECRETS + 1 };
        for secret in changed.clone() {
            world.rotate(secret, refresh)?;
        }
        until(Duration::ZERO, || changed.clone().all(|secret| pod.value(secret) == Some(refresh)))?;
        if ROWS.contains(&refresh) {
            row(&format!("after {refresh} refreshes"))?;
        }
    }
    println!("\nThe agent counts: {}", refreshes(&pod.log())?);
    sidecar.stop()
}

/// The agent's own count of refreshes.
fn refreshes(log: &Path) -> Result<String> {
    use std::io::{Write as _, read_to_string};
    let log = fs::read_to_string(log)?;
    let line = log.lines().find(|line| line.contains("showing metrics")).ok_or("no metrics")?;
    let line: Value = serde_json::from_str(line)?;
    let mut stream = std::net::TcpStream::connect(line["address"].as_str().ok_or("no address")?)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n")?;
    let text = read_to_string(stream)?;
    let lines = text.lines().filter(|line| line.starts_with("scaivault_agent_refreshes_total"));
    Ok(lines.collect::<Vec<_>>().join(", "))
}
