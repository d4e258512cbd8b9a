//! Remains of secrets in the agent's memory. With TLS, whose buffers are the largest part.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    process::Stdio,
    sync::Arc,
};

use rustix::process::{Pid, Signal, kill_process};
use scaivault_devserver::{DevServer, Issuer, Seed, Settings, Tls};
use tokio::process::Command;

use crate::support::{AGENT, data, ended, skipped, until};

const SEED: &str = r#"
policies:
  billing: [{path_pattern: "app/**", permissions: [read]}]
identities:
  - {id: "sa:billing", service_accounts: [billing/web], policies: [billing], dynamic: [postgres/readonly]}
secrets:
  app/stripe: {data: {key: "sturgeon-and-more"}}
engines:
  postgres: {roles: {readonly: {default_ttl: 1h, max_ttl: 24h}}}
"#;

/// How often a text occurs in a process's writable memory; `None` if this process may not read it.
fn copies(pid: i32, text: &str) -> Option<usize> {
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut count = 0;
    for line in fs::read_to_string(format!("/proc/{pid}/maps")).ok()?.lines() {
        let Some((range, _)) = line.split_once(' ').filter(|(_, rest)| rest.starts_with("rw")) else {
            continue;
        };
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // Regions that were unmapped meanwhile are skipped.
        if memory.read_exact_at(&mut bytes, start).is_ok() {
            let first = text.as_bytes()[0];
            let places = bytes.iter().enumerate().filter(|(_, byte)| **byte == first);
            count += places.filter(|(at, _)| bytes[*at..].starts_with(text.as_bytes())).count();
        }
    }
    Some(count)
}

#[tokio::test]
async fn secrets_are_wiped_once_they_are_written() {
    let issuer = Arc::new(Issuer::generate().unwrap());
    let tls = Tls::Generated(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let settings = Settings { tls, ..Settings::for_tests(Seed::new(SEED).unwrap(), &issuer) };
    let server = DevServer::start(settings).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = |file: &str| dir.path().join(file);
    let token = issuer.mint("billing", "web", "scaivault", jiff::Timestamp::now(), 3600).unwrap();
    fs::write(path("token"), &token).unwrap();
    fs::write(path("ca.crt"), server.ca_pem().unwrap()).unwrap();
    let secrets = path("secrets");
    let agent = Command::new(AGENT)
        .arg("sidecar")
        .env_clear()
        .env("SCAIVAULT_URL", server.url())
        .env("SCAIVAULT_TOKEN_FILE", path("token"))
        .env("SCAIVAULT_CA_FILE", path("ca.crt"))
        .env("SCAIVAULT_REVOKE_DELAY", "0s")
        .env(
            "WATCH_PATHS",
            format!("app/stripe#key -> {0}/key\napp/stripe -> {0}/all.yaml format=yaml", secrets.display()),
        )
        .env("DYNAMIC", format!("engine=postgres role=readonly -> {}/db.json", secrets.display()))
        .env("REFRESH_INTERVAL", "1d")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = i32::try_from(agent.id().unwrap()).unwrap();
    until(|| secrets.join("db.json").exists()).await;
    if copies(pid, "sturgeon").is_none() {
        return skipped("only root can look into the agent's memory");
    }
    server.handle().write(&"app/stripe".parse().unwrap(), data("mackerel-and-more"));
    kill_process(Pid::from_raw(pid).unwrap(), Signal::HUP).unwrap();
    until(|| fs::read_to_string(secrets.join("key")).is_ok_and(|key| key == "mackerel-and-more")).await;
    // The old and the new value, and the exchanged token without its header, which all tokens of an
    // issuer share.
    let (_, claims) = token.split_once('.').unwrap();
    for text in ["sturgeon", "mackerel", claims] {
        until(|| copies(pid, text) == Some(0)).await;
    }
    // The agent needs a lease's credentials while it holds the lease.
    let password = fs::read_to_string(secrets.join("db.json")).unwrap();
    let password = password.split("\"password\":\"").nth(1).unwrap().split('"').next().unwrap();
    until(|| copies(pid, password) == Some(1)).await;
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    ended(agent).await.check(0, &[]);
}
