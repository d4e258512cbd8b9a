//! Addresses, name servers and log pipes that do not respond, and slow responses.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::fs::OFlags;
use scaivault_devserver::Route;
use scaivault_testkit::world::{Answer, Calls, Chance, Misbehaviour};
use tokio::{
    net::{TcpSocket, TcpStream},
    process::Command,
};

use crate::{
    site::Site,
    support::{AGENT, Pod, RunResult, data, ended, skipped, start, terminate, until, with_mounts, within},
};

/// The address of the world, sorted after the dead addresses: the C library prefers those with more
/// leading bits in common with 127.0.0.1.
const LIVE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);

/// The command with another file as `/etc/NAME`; `None` if that is not possible.
fn with_etc(name: &str, file: &Path, command: &Command) -> Option<Command> {
    with_mounts(&format!("mount --bind '{}' /etc/{name}", file.display()), command)
}

/// An address where connections are neither accepted nor refused, because the queue is full.
async fn dead(address: SocketAddr) -> Vec<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(0).unwrap().into_std().unwrap();
    // Kept open without accepting.
    std::mem::forget(listener);
    let mut connections = Vec::new();
    while let Ok(Ok(connection)) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        connections.push(connection);
    }
    connections
}

#[tokio::test]
async fn one_dead_address_does_not_make_a_host_unreachable() {
    for others in [&[2][..], &[2, 3], &[4, 2]] {
        let site = Site::new().await;
        let port = site.world.address().port();
        site.world.listen_at(LIVE).await.unwrap();
        let mut queues = Vec::new();
        // At the fourth address nothing listens.
        for last in others.iter().filter(|last| **last != 4) {
            queues.push(dead((Ipv4Addr::new(127, 0, 0, *last), port).into()).await);
        }
        let lines = others.iter().map(|last| format!("127.0.0.{last} vault.test\n"));
        let hosts = site.pod.path("hosts");
        fs::write(&hosts, lines.collect::<String>() + &format!("{LIVE} vault.test\n127.0.0.1 localhost\n"))
            .unwrap();
        let secrets = site.pod.mapping(&[("app/stripe#key", "key")]);
        let url = format!("http://vault.test:{port}");
        let variables = [
            ("SECRETS", secrets.as_str()),
            ("SCAIVAULT_URL", url.as_str()),
            ("SCAIVAULT_ALLOW_HTTP", "true"),
        ];
        let began = Instant::now();
        let Some(mut agent) = with_etc("hosts", &hosts, &site.agent("init", &variables)) else { return };
        let ended = ended(start(&mut agent)).await;
        ended.check(0, &[]);
        assert!(began.elapsed() < Duration::from_secs(10), "{others:?}: {:?}", began.elapsed());
    }
}

/// An address that stops responding while the sidecar runs: the next connection uses the other one.
#[tokio::test]
async fn an_address_that_fails_later_is_replaced() {
    let site = Site::new().await;
    let port = site.world.address().port();
    site.world.listen_at(LIVE).await.unwrap();
    let hosts = site.pod.path("hosts");
    fs::write(&hosts, format!("127.0.0.5 vault.test\n{LIVE} vault.test\n")).unwrap();
    let watch = site.pod.mapping(&[("app/stripe#key", "key")]);
    let url = format!("http://vault.test:{port}");
    let variables = [
        ("WATCH_PATHS", watch.as_str()),
        ("SCAIVAULT_URL", url.as_str()),
        ("SCAIVAULT_ALLOW_HTTP", "true"),
        ("REFRESH_INTERVAL", "1s"),
    ];
    let Some(mut agent) = with_etc("hosts", &hosts, &site.agent("sidecar", &variables)) else { return };
    let sidecar = start(&mut agent);
    until(|| site.pod.secret("key").is_some()).await;
    let _queue = dead((Ipv4Addr::new(127, 0, 0, 5), port).into()).await;
    site.world.stop().await;
    site.world.listen_at(LIVE).await.unwrap();
    site.pod.vault.write(&"app/stripe".parse().unwrap(), data("new"));
    until(|| site.pod.secret("key").as_deref() == Some("new")).await;
    terminate(sidecar).await.check(0, &[]);
}

/// The C library waits for each name server and each search domain, here for 120 s or more, which
/// is longer than the tests wait.
#[tokio::test]
async fn the_end_does_not_wait_for_name_servers() {
    // An address that only this process uses, so that two runs do not collide. Nothing responds
    // there.
    let [.., high, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 98, high, low);
    let Ok(server) = UdpSocket::bind((ip, 53)) else {
        return skipped("only root can be a name server");
    };
    let pod = Pod::new().await;
    let file = pod.path("resolv.conf");
    let search = "search ns.svc.cluster.local svc.cluster.local cluster.local";
    fs::write(&file, format!("nameserver {ip}\n{search}\noptions ndots:5 timeout:30 attempts:5\n")).unwrap();
    let secrets = pod.mapping(&[("app/stripe#key", "key")]);
    let variables = [
        ("SECRETS", secrets.as_str()),
        ("WATCH_PATHS", secrets.as_str()),
        ("SCAIVAULT_URL", "https://scaivault.example"),
    ];
    let mut init = pod.agent("init", &variables);
    let Some(mut init) = with_etc("resolv.conf", &file, init.env("FETCH_TIMEOUT", "2s")) else { return };
    ended(start(&mut init)).await.check(1, &["not answered in time"]);

    // Clears the earlier requests.
    let mut packet = [0; 512];
    server.set_nonblocking(true).unwrap();
    while server.recv(&mut packet).is_ok() {}
    server.set_nonblocking(false).unwrap();
    let Some(mut sidecar) = with_etc("resolv.conf", &file, &pod.agent("sidecar", &variables)) else { return };
    let sidecar = start(&mut sidecar);
    // Waits for a request.
    let asked = tokio::task::spawn_blocking(move || server.recv(&mut packet).map(|_| server));
    let _server = within(asked).await.unwrap().unwrap();
    terminate(sidecar).await.check(1, &["SIGTERM"]);
}

/// A full pipe for a log that is not read.
struct StuckPipe {
    end: File,
    path: std::path::PathBuf,
}

impl StuckPipe {
    async fn new(pod: &Pod) -> Self {
        let path = pod.path("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().await.unwrap().success());
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let end = File::options().read(true).write(true).custom_flags(flags).open(&path).unwrap();
        let mut pipe = Self { end, path };
        for size in [4096, 1] {
            let bytes = vec![b'\n'; size];
            while pipe.end.write(&bytes).is_ok() {}
        }
        pipe
    }

    /// A writing end for a program, as a separate open file, so that only the program blocks.
    fn writer(&self) -> File {
        File::options().write(true).open(&self.path).unwrap()
    }

    /// Reads its current content.
    fn drain(&mut self) -> String {
        let (mut text, mut bytes) = (Vec::new(), [0; 4096]);
        loop {
            match self.end.read(&mut bytes) {
                Ok(count) => text.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        String::from_utf8(text).unwrap().trim_start_matches('\n').to_owned()
    }
}

#[tokio::test]
async fn a_full_log_pipe_delays_nothing() {
    let site = Site::new().await;
    let mut pipe = StuckPipe::new(&site.pod).await;
    let watch = site.pod.mapping(&[("app/stripe#key", "key")]);
    let dynamic = site.pod.mapping(&[("engine=postgres role=readonly ttl=9s", "db.json")]);
    let variables = [
        ("WATCH_PATHS", watch.as_str()),
        ("DYNAMIC", dynamic.as_str()),
        ("REFRESH_INTERVAL", "1s"),
        ("LOG_LEVEL", "debug"),
    ];
    let mut agent = site.agent("sidecar", &variables);
    let sidecar = agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(pipe.writer()).spawn().unwrap();
    until(|| site.pod.secret("key").is_some() && site.pod.secret("db.json").is_some()).await;
    site.pod.vault.write(&"app/stripe".parse().unwrap(), data("new"));
    until(|| site.pod.secret("key").as_deref() == Some("new")).await;
    site.pod.requested(Route::Renew, 1).await;
    // When there is room, complete lines are written again.
    pipe.drain();
    let mut text = String::new();
    let mut number = 0;
    until(|| {
        number += 1;
        site.pod.vault.write(&"app/stripe".parse().unwrap(), data(&format!("again {number}")));
        text += &pipe.drain();
        text.matches('\n').count() > 2
    })
    .await;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    assert!(!whole.is_empty(), "nothing is logged any more");
    for line in whole.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "torn: {line}");
    }
    while pipe.end.write(b"\n").is_ok() {}
    let began = Instant::now();
    let ended = terminate(sidecar).await;
    assert_eq!((ended.code, site.pod.live_leases()), (Some(0), 0));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// The same for the short runs of `init` and `healthz`.
#[tokio::test]
async fn a_full_log_pipe_does_not_stop_a_start() {
    let site = Site::new().await;
    let pipe = StuckPipe::new(&site.pod).await;
    let secrets = site.pod.mapping(&[("app/stripe#key", "key")]);
    for (command, code) in [("healthz", 1), ("init", 0), ("healthz", 0)] {
        let variables =
            [("SECRETS", secrets.as_str()), ("WATCH_PATHS", secrets.as_str()), ("LOG_LEVEL", "trace")];
        let mut agent = site.agent(command, &variables);
        let mut agent = agent.stdin(Stdio::null()).stderr(pipe.writer()).spawn().unwrap();
        assert_eq!(within(agent.wait()).await.unwrap().code(), Some(code), "{command}");
    }
}

/// Longer than a reasonable timeout of a complete request, but without long gaps between progress.
#[tokio::test]
async fn a_slow_answer_that_makes_progress_arrives() {
    let site = Site::new().await;
    site.world.add(Calls::READ, Chance::First(1), Misbehaviour::Trickle(Duration::from_millis(1400)));
    let secrets = site.pod.mapping(&[("app/stripe#key", "key")]);
    site.run("init", &[("SECRETS", &secrets), ("FETCH_TIMEOUT", "50s")]).await.check(0, &[]);
    assert_eq!(site.pod.vault.requests(Route::Read), 1, "it was read at the first try");
}

#[tokio::test]
async fn an_endless_answer_is_requested_again() {
    for misbehaviour in [Misbehaviour::Hang, Misbehaviour::WrongLength(7)] {
        let site = Site::new().await;
        site.world.add(Calls::READ, Chance::First(1), misbehaviour);
        let secrets = site.pod.mapping(&[("app/stripe#key", "key")]);
        site.run("init", &[("SECRETS", &secrets), ("FETCH_TIMEOUT", "55s")]).await.check(0, &[]);
    }
}

/// A request to one server is never sent to another.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (site, other) = (Site::new().await, Site::new().await);
    for status in [301, 302, 307, 308] {
        let location = format!("{}/v1/secrets/app/stripe", other.world.url());
        let redirect = Answer::json(status, "{}").header("Location", &location);
        site.world.add(Calls::ALL, Chance::First(1), Misbehaviour::Answer(redirect));
        let secrets = site.pod.mapping(&[("app/stripe#key", "key")]);
        let ended = site.run("init", &[("SECRETS", &secrets), ("FETCH_TIMEOUT", "2s")]).await;
        assert_eq!(other.world.connections(), 0, "{status}: {}", ended.log);
        site.world.clear();
    }
}

#[tokio::test]
async fn an_empty_address_is_a_mistake() {
    let pod = Pod::new().await;
    let secrets = pod.mapping(&[("app/stripe#key", "key")]);
    let mut agent = pod.agent_at(Path::new(AGENT), "init", &[("SECRETS", &secrets), ("SCAIVAULT_URL", "")]);
    let output = within(agent.output()).await.unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    RunResult::new(output.status.code(), log).check(5, &["SCAIVAULT_URL"]);
}
