//! The agent as a process among others: whom it notifies, which signals it obeys, and what others see of it.

use std::{
    fs,
    io::{self, Write as _},
    net::{TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command as StdCommand, Stdio, id},
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use scaivault_devserver::{Effect, Fault, Route};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    process::{Child, Command},
};

use crate::support::{AGENT, Pod, Sidecar, data, ended, skipped, start, terminate, until, within};

/// Where shells find what they start.
const PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// An application with an endpoint that reloads it.
struct Endpoint {
    url: String,
    calls: Arc<AtomicUsize>,
    status: Arc<AtomicU16>,
}

impl Endpoint {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/-/reload", listener.local_addr().unwrap().port());
        let (calls, status) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU16::new(status)));
        let endpoint = Self { url, calls: Arc::clone(&calls), status: Arc::clone(&status) };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") && stream.read_buf(&mut asked).await.unwrap() > 0 {}
                assert!(asked.starts_with(b"POST /-/reload HTTP/1.1\r\n"));
                calls.fetch_add(1, Ordering::Relaxed);
                let status = status.load(Ordering::Relaxed);
                let answer = format!("HTTP/1.1 {status} Answer\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        endpoint
    }

    /// The variables of a sidecar that calls it.
    fn variables<'v>(&'v self, mapping: &'v str, lines: &'v str) -> [(&'v str, &'v str); 4] {
        [
            (mapping, lines),
            ("REFRESH_INTERVAL", "1s"),
            ("RELOAD_URL", self.url.as_str()),
            ("SCAIVAULT_METRICS_LISTEN", "127.0.0.1:0"),
        ]
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }
}

fn write(pod: &Pod, value: &str) {
    pod.vault.write(&"app/stripe".parse().unwrap(), data(value));
}

async fn wait_for_value(pod: &Pod, value: &str) {
    until(|| pod.secret("key").as_deref() == Some(value)).await;
}

/// An application of this name, which writes a line for each SIGHUP. It is a copy of a shell: the kernel's name is its own, too.
async fn start_application(pod: &Pod, name: &str) -> Child {
    let (program, report) = (pod.path(name), pod.path(&format!("{name}.report")));
    fs::copy("/bin/sh", &program).unwrap();
    let script = format!(
        "trap 'echo hangup >> {0}' HUP; echo ready > {0}; while :; do sleep 1 & wait; done",
        report.display()
    );
    let application = Command::new(&program).args(["-c", &script]).kill_on_drop(true).spawn().unwrap();
    until(|| fs::read_to_string(&report).is_ok_and(|text| text == "ready\n")).await;
    application
}

fn hangups(pod: &Pod, name: &str) -> usize {
    fs::read_to_string(pod.path(&format!("{name}.report"))).unwrap().matches("hangup").count()
}

#[tokio::test]
async fn a_process_whose_name_begins_alike_is_not_signalled() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let [web, worker] = ["web", "worker"].map(|end| format!("billing-service-{end}-{}", id()));
    let _web = start_application(&pod, &web).await;
    let variables = [
        ("WATCH_PATHS", watch.as_str()),
        ("REFRESH_INTERVAL", "1s"),
        ("RELOAD_SIGNAL", "SIGHUP"),
        ("RELOAD_TARGET", worker.as_str()),
    ];
    let sidecar = Sidecar::start(&pod, &variables);
    wait_for_value(&pod, "sk-swordfish").await;
    write(&pod, "new");
    let line = sidecar.line("application not notified").await;
    let error = line["error"].as_str().unwrap();
    assert!(error.starts_with(&format!("no process of the pod is called {worker}")), "{error}");
    let _worker = start_application(&pod, &worker).await;
    until(|| hangups(&pod, &worker) == 1).await;
    assert_eq!(hangups(&pod, &web), 0);
    sidecar.end().await.check(0, &["application signalled"]);
}

#[tokio::test]
async fn an_endpoint_is_called_until_it_accepts() {
    let (pod, endpoint) = (Pod::new().await, Endpoint::start(503).await);
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let sidecar = Sidecar::start(&pod, &endpoint.variables("WATCH_PATHS", &watch));
    wait_for_value(&pod, "sk-swordfish").await;
    let metrics = metrics(&sidecar).await;
    write(&pod, "new");
    until(|| endpoint.calls() == 1).await;
    until(|| metrics().contains("scaivault_agent_signals_total{outcome=\"failed\"} 1\n")).await;
    assert!(metrics().contains("scaivault_agent_reload_owed 1\n"));
    endpoint.answer(204);
    sidecar.line("application notified").await;
    assert_eq!(endpoint.calls(), 2);
    until(|| metrics().contains("scaivault_agent_reload_owed 0\n")).await;
    sidecar.end().await.check(0, &["status 503"]);
}

#[tokio::test]
async fn a_silent_endpoint_holds_nothing_up() {
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
async fn a_notification_that_is_owed_survives_a_crash() {
    let (pod, endpoint) = (Pod::new().await, Endpoint::start(503).await);
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let variables = endpoint.variables("WATCH_PATHS", &watch);
    let sidecar = Sidecar::start(&pod, &variables);
    wait_for_value(&pod, "sk-swordfish").await;
    write(&pod, "new");
    until(|| endpoint.calls() == 1).await;
    sidecar.kill_after(Duration::ZERO).await;
    endpoint.answer(200);
    let sidecar = Sidecar::start(&pod, &variables);
    until(|| endpoint.calls() == 2).await;
    let owes = metrics(&sidecar).await;
    until(|| owes().contains("scaivault_agent_reload_owed 0\n")).await;
    sidecar.kill_after(Duration::ZERO).await;
    // It knows now: the next start has nothing to tell before the next change.
    let sidecar = Sidecar::start(&pod, &variables);
    sidecar.line("keeping them fresh").await;
    write(&pod, "newest");
    sidecar.line("application notified").await;
    assert_eq!((endpoint.calls(), pod.secret("key").as_deref()), (3, Some("newest")));
    sidecar.end().await.check(0, &[]);
}

#[tokio::test]
async fn an_application_with_dynamic_secrets_alone_hears_of_a_restart() {
    let (pod, endpoint) = (Pod::new().await, Endpoint::start(200).await);
    let dynamic = pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
    let variables = endpoint.variables("DYNAMIC", &dynamic);
    let sidecar = Sidecar::start(&pod, &variables);
    sidecar.line("secrets written").await;
    let before = pod.secret("db.json").unwrap();
    sidecar.end().await.check(0, &[]);
    assert_eq!(endpoint.calls(), 0, "the application reads the first files at its start");
    let sidecar = Sidecar::start(&pod, &variables);
    sidecar.line("application notified").await;
    assert_eq!(endpoint.calls(), 1, "once, when the new credentials are there");
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
    sidecar.end().await.check(0, &["refreshing at SIGHUP"]);

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

/// The command, with these mounts made first in a mount namespace of its own; none where that is not possible here.
fn with_mounts(mounts: &str, command: &Command) -> Option<Command> {
    let mut unshare = StdCommand::new("unshare");
    let tried = unshare.args(["--mount", "sh", "-ec", mounts]).stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        skipped("only root can make a mount namespace, with unshare of util-linux");
        return None;
    }
    let command = command.as_std();
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--mount", "sh", "-ec", &format!("{mounts}\nexec \"$0\" \"$@\"")]);
    wrapped.arg(command.get_program()).args(command.get_args()).kill_on_drop(true);
    wrapped
        .env_clear()
        .env("PATH", PATH)
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(wrapped)
}

#[tokio::test]
async fn the_end_does_not_wait_for_name_servers() {
    // It takes the questions and answers none.
    let Ok(_silent) = UdpSocket::bind("127.98.76.54:53") else {
        return skipped("only root can be a name server");
    };
    let pod = Pod::new().await;
    let configuration = pod.path("resolv.conf");
    fs::write(&configuration, "nameserver 127.98.76.54\noptions timeout:30 attempts:5\n").unwrap();
    let mounts = format!("mount --bind {} /etc/resolv.conf", configuration.display());
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let variables = [
        ("SECRETS", watch.as_str()),
        ("SCAIVAULT_URL", "https://scaivault.example"),
        ("FETCH_TIMEOUT", "2s"),
    ];
    let Some(mut init) = with_mounts(&mounts, &pod.agent("init", &variables)) else { return };
    let started = Instant::now();
    ended(start(&mut init)).await.check(1, &["not answered in time"]);
    // The lookup itself takes 150 s.
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_termination_message_is_there_before_leases_are_given_back() {
    for (command, mapping) in [("init", "SECRETS"), ("sidecar", "WATCH_PATHS")] {
        let pod = Pod::new().await;
        let (message, old) = (pod.path("message"), tempfile::tempdir().unwrap());
        fs::write(&message, "").unwrap();
        // A `/dev` with the file, as in a container. The pod's own directory may be below the real one.
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

/// What a neighbour of the same user does that wants to look into the agent: it starts agents, so that it is at each from its
/// first moment. The agent's name is looked at first: before, the process is the neighbour's own.
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
async fn a_neighbour_of_the_same_user_sees_nothing_of_the_agent() {
    if !geteuid().is_root() || !Path::new("/usr/bin/setpriv").exists() {
        return skipped("only root can start an agent with few capabilities, by setpriv of util-linux");
    }
    let pod = Pod::new().await;
    // As in the image: nobody may read the program, not even its owner.
    let program = pod.path("scaivault-agent");
    fs::copy(AGENT, &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o111)).unwrap();
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
