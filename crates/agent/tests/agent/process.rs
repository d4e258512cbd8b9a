//! The agent and other processes: which one it notifies, which signals it handles, and what others
//! can read of it.

use std::{
    fs,
    io::{self, Write as _},
    net::TcpStream,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Instant,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use scaivault_devserver::{Effect, Fault, Route};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};

use crate::support::{
    AGENT, PATH, Pod, ReloadEndpoint, Sidecar, data, ended, skipped, start, terminate, until, with_mounts,
    within,
};

/// The variables of a sidecar that calls an endpoint.
fn variables<'v>(endpoint: &'v ReloadEndpoint, mapping: &'v str, lines: &'v str) -> [(&'v str, &'v str); 4] {
    [
        (mapping, lines),
        ("REFRESH_INTERVAL", "1s"),
        ("RELOAD_URL", endpoint.url()),
        ("SCAIVAULT_METRICS_LISTEN", "127.0.0.1:0"),
    ]
}

fn write(pod: &Pod, value: &str) {
    pod.vault.write(&"app/stripe".parse().unwrap(), data(value));
}

async fn wait_for_value(pod: &Pod, value: &str) {
    until(|| pod.secret("key").as_deref() == Some(value)).await;
}

#[tokio::test]
async fn an_endpoint_is_called_until_it_accepts() {
    let status = Arc::new(AtomicU16::new(503));
    let answer = Arc::clone(&status);
    let endpoint = ReloadEndpoint::start(move || answer.load(Ordering::Relaxed)).await;
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let sidecar = Sidecar::start(&pod, &variables(&endpoint, "WATCH_PATHS", &watch));
    wait_for_value(&pod, "sk-swordfish").await;
    let metrics = metrics(&sidecar).await;
    write(&pod, "new");
    until(|| endpoint.calls() == 1).await;
    until(|| metrics().contains("scaivault_agent_signals_total{outcome=\"failed\"} 1\n")).await;
    assert!(metrics().contains("scaivault_agent_reload_owed 1\n"));
    status.store(204, Ordering::Relaxed);
    sidecar.line("application notified").await;
    assert_eq!(endpoint.calls(), 2);
    until(|| metrics().contains("scaivault_agent_reload_owed 0\n")).await;
    sidecar.end().await.check(0, &["status 503"]);
}

#[tokio::test]
async fn a_silent_endpoint_delays_nothing() {
    let pod = Pod::new().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let variables =
        [("WATCH_PATHS", watch.as_str()), ("REFRESH_ON_EVENT", "true"), ("RELOAD_URL", url.as_str())];
    let sidecar = Sidecar::start(&pod, &variables);
    pod.requested(Route::Poll, 1).await;
    let started = Instant::now();
    write(&pod, "first");
    let _call = within(silent.accept()).await.unwrap();
    write(&pod, "second");
    wait_for_value(&pod, "second").await;
    assert_eq!(sidecar.said("application not notified"), 0, "after {:?}", started.elapsed());
    sidecar.end().await.check(0, &[]);
}

/// Reads the metrics of a sidecar.
async fn metrics(sidecar: &Sidecar) -> impl Fn() -> String + use<> {
    let address = sidecar.line("showing metrics").await["address"].as_str().unwrap().to_owned();
    move || {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        io::read_to_string(stream).unwrap()
    }
}

#[tokio::test]
async fn an_application_with_only_leases_is_notified_of_a_restart() {
    let (pod, endpoint) = (Pod::new().await, ReloadEndpoint::start(|| 200).await);
    let dynamic = pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
    let variables = variables(&endpoint, "DYNAMIC", &dynamic);
    let sidecar = Sidecar::start(&pod, &variables);
    sidecar.line("secrets written").await;
    let before = pod.secret("db.json").unwrap();
    sidecar.end().await.check(0, &[]);
    assert_eq!(endpoint.calls(), 0, "the application reads the first files at its start");
    let sidecar = Sidecar::start(&pod, &variables);
    sidecar.line("application notified").await;
    assert_eq!(endpoint.calls(), 1, "once, with the new credentials");
    assert_ne!(pod.secret("db.json").unwrap(), before);
    sidecar.end().await.check(0, &[]);
}

#[tokio::test]
async fn a_hangup_refreshes_the_sidecar_and_ends_nothing() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let sidecar = Sidecar::start(&pod, &[("WATCH_PATHS", &watch), ("REFRESH_INTERVAL", "1d")]);
    sidecar.line("secrets written").await;
    write(&pod, "new");
    kill_process(Pid::from_raw(sidecar.pid()).unwrap(), Signal::HUP).unwrap();
    wait_for_value(&pod, "new").await;
    sidecar.end().await.check(0, &["refreshing on SIGHUP"]);

    pod.vault.add_fault(Fault::hang(Route::Read));
    let before = pod.vault.requests(Route::Read);
    let init = start(&mut pod.agent("init", &[("SECRETS", &watch)]));
    pod.requested(Route::Read, before + 1).await;
    kill_process(pid(&init), Signal::HUP).unwrap();
    terminate(init).await.check(1, &["stopped by SIGTERM"]);
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap()
}

#[tokio::test]
async fn the_termination_message_precedes_revocations() {
    for (command, mapping) in [("init", "SECRETS"), ("sidecar", "WATCH_PATHS")] {
        let pod = Pod::new().await;
        let (message, old) = (pod.path("message"), tempfile::tempdir().unwrap());
        fs::write(&message, "").unwrap();
        // A `/dev` with the file, as in a container. The pod's own directory may be below the real
        // `/dev`.
        let mounts = format!(
            "mount --rbind /dev {0}; mount -t tmpfs none /dev; mkdir /dev/shm; mount --rbind {0}/shm /dev/shm; \
             for file in null urandom; do : > /dev/$file; mount --bind {0}/$file /dev/$file; done; \
             : > /dev/termination-log; mount --bind {1} /dev/termination-log",
            old.path().display(),
            message.display()
        );
        let dynamic = pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
        let watch = pod.mapping(&[("app/stripe#key", "key")]);
        let variables = [("DYNAMIC", dynamic.as_str()), (mapping, watch.as_str()), ("FAIL_OPEN", "true")];
        pod.vault.add_fault(Fault::hang(Route::Read));
        pod.vault.add_fault(Fault::on(Route::Revoke, Effect::Delay { milliseconds: 3000 }));
        let Some(mut agent) = with_mounts(&mounts, &pod.agent(command, &variables)) else { return };
        let agent = start(&mut agent);
        until(|| pod.live_leases() == 1).await;
        pod.requested(Route::Read, 1).await;
        kill_process(pid(&agent), Signal::TERM).unwrap();
        until(|| fs::read_to_string(&message).unwrap().contains("stopped by SIGTERM")).await;
        assert_eq!(pod.live_leases(), 1, "{command}: it is given back afterwards");
        ended(agent).await.check(1, &["lease revoked"]);
        assert_eq!(pod.live_leases(), 0);
    }
}

/// A process of the same user tries to read the agent's data. It starts agents itself, so that it
/// can observe each from its start. It checks the agent's name first, because until then the
/// process is its own.
const NEIGHBOUR: &str = r#"
for round in $(seq 20); do
  setpriv --bounding-set=-all,+kill --inh-caps=-all sh -c 'exec "$0" sidecar' "$0" 2> /dev/null &
  while read name < /proc/$!/comm; do
    [ "$name" = scaivault-agent ] || continue
    for file in mem environ maps root/etc/passwd fd/0; do
      if true < /proc/$!/$file; then echo "$file of $(cat /proc/$!/comm)"; fi
    done
    [ "$round" -gt 1 ] && break
    # Of the first agent also what it is later: until it is logged in and has its secrets.
    [ -e "$FILE" ] && break
  done
  kill $!
  wait $!
done 2> /dev/null
echo done
"#;

#[tokio::test]
async fn a_process_of_the_same_user_cannot_read_the_agent() {
    if !geteuid().is_root() || !Path::new("/usr/bin/setpriv").exists() {
        return skipped("only root can start an agent with few capabilities, by setpriv of util-linux");
    }
    let pod = Pod::new().await;
    // As in the image: no user may read the program, not even its owner.
    let program = pod.path("scaivault-agent");
    scaivault_testkit::copy_program(Path::new(AGENT), &program, 0o111);
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let agent = pod.agent_at(&program, "sidecar", &[("WATCH_PATHS", &watch)]);
    // The capabilities that container runtimes give root by default.
    let capabilities = "--bounding-set=-all,+audit_write,+chown,+dac_override,+fowner,+fsetid,+kill,+mknod,+net_bind_service,\
                        +net_raw,+setfcap,+setgid,+setpcap,+setuid,+sys_chroot";
    let mut neighbour = Command::new("setpriv");
    neighbour.args([capabilities, "--inh-caps=-all", "sh", "-c", NEIGHBOUR]);
    neighbour.arg(&program).kill_on_drop(true);
    neighbour
        .env_clear()
        .env("PATH", PATH)
        .env("FILE", pod.path("secrets/key"))
        .envs(agent.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let seen = within(neighbour.stdin(Stdio::null()).output()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "done\n");
}
