//! Measures an ordinary client and the kubelet's probes while 64 clients continuously send
//! expensive reviews.
//!
//! The hostile clients run in a separate process with the lowest priority, so that the measurement
//! shows the server and not the competition between the clients. They share both cores with the
//! server.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::pki_types::ServerName;
use scaivault_certs::client_config;
use scaivault_testkit::{SplitMix, hostile::random_review};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
    time::interval,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{REVIEW, Result, process::Server};

/// The first argument of the process with the hostile clients.
pub(crate) const MODE: &str = "hostile";
/// The argument that selects only this measurement.
pub(crate) const ONLY: &str = "--hostile";

const CLIENTS: usize = 64;
/// The number of different reviews, with sizes up to the limit of a body.
const REVIEWS: usize = 400;
const LONGEST: usize = 7 * 1024 * 1024 - 1024;
/// How long the hostile clients run before and during the measurement.
const WARM_UP: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(30);
/// The interval of the ordinary client and of the probes.
const REVIEW_PERIOD: Duration = Duration::from_millis(10);
const PROBE_PERIOD: Duration = Duration::from_millis(50);

/// Measures the latencies of both, without and with hostile clients.
pub(crate) fn measure(out: &mut impl std::io::Write, directory: &Path) -> Result<()> {
    let server = Server::with_ops(directory)?;
    let ops = server.ops.ok_or("the server has no operations port")?;
    writeln!(
        out,
        "\n| with {CLIENTS} hostile clients, ms | number | p50 | p99 | max |\n|---|---:|---:|---:|---:|"
    )?;
    let quiet = latencies(&server, ops, MEASURED / 6)?;
    let mut hostile = Command::new("nice")
        .args(["-n", "19"])
        .arg(std::env::current_exe()?)
        .arg(MODE)
        .arg(server.address.to_string())
        .arg(&server.ca)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let loaded = latencies(&server, ops, MEASURED);
    let _ = hostile.kill();
    let said = hostile.wait_with_output()?.stdout;
    let Latencies { reviews, probes } = loaded?;
    row(out, "an ordinary review, alone", quiet.reviews)?;
    row(out, "`/livez`, alone", quiet.probes)?;
    row(out, "an ordinary review", reviews)?;
    row(out, "`/livez`", probes)?;
    writeln!(out, "\nhostile answers: {}", String::from_utf8_lossy(&said).lines().last().unwrap_or("none"))?;
    writeln!(out, "resident memory behind it: {} MiB", server.resident_kib()? / 1024)?;
    Ok(())
}

struct Latencies {
    reviews: Vec<Duration>,
    probes: Vec<Duration>,
}

fn latencies(server: &Server, ops: SocketAddr, measured: Duration) -> Result<Latencies> {
    let tls = TlsConnector::from(client_config(&fs::read(&server.ca)?)?);
    let request = request("/mutate", REVIEW);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let begin = Instant::now() + WARM_UP;
        let end = begin + measured;
        let reviews = async {
            let (mut times, mut ticks) = (Vec::new(), interval(REVIEW_PERIOD));
            let mut stream = connect(&tls, server.address).await?;
            while Instant::now() < end {
                ticks.tick().await;
                let asked = Instant::now();
                let status = ask(&mut stream, &request).await?;
                if asked >= begin {
                    times.push(asked.elapsed());
                }
                if status != 200 {
                    return Err(format!("an ordinary review is answered {status}").into());
                }
            }
            Result::Ok(times)
        };
        let probes = async {
            let (mut times, mut ticks) = (Vec::new(), interval(PROBE_PERIOD));
            while Instant::now() < end {
                ticks.tick().await;
                let asked = Instant::now();
                let mut stream = TcpStream::connect(ops).await?;
                let status = ask(&mut stream, b"GET /livez HTTP/1.1\r\nHost: ops\r\n\r\n").await?;
                if asked >= begin {
                    times.push(asked.elapsed());
                }
                if status != 200 {
                    return Err(format!("/livez is answered {status}").into());
                }
            }
            Result::Ok(times)
        };
        let (reviews, probes) = tokio::join!(reviews, probes);
        Ok(Latencies { reviews: reviews?, probes: probes? })
    })
}

/// Runs the hostile clients until they are killed. Arguments: address, CA.
pub(crate) fn attack(args: &[String]) -> Result<()> {
    let [address, ca] = args else { return Err("usage: ADDRESS CA".into()) };
    let (address, ca): (SocketAddr, PathBuf) = (address.parse()?, ca.into());
    let tls = TlsConnector::from(client_config(&fs::read(ca)?)?);
    let mut random = SplitMix::new(7);
    let requests: Vec<Vec<u8>> = (0..REVIEWS)
        .map(|_| {
            let (review, path) = random_review(&mut random, LONGEST);
            request(path, &review)
        })
        .collect();
    let requests = Arc::new(requests);
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let (report, mut answers) = tokio::sync::mpsc::channel(1024);
        for client in 0..CLIENTS {
            let (tls, requests, report) = (tls.clone(), Arc::clone(&requests), report.clone());
            tokio::spawn(async move {
                let mut next = client * 31;
                loop {
                    let Ok(mut stream) = connect(&tls, address).await else { continue };
                    while let Ok(status) = ask(&mut stream, &requests[next % REVIEWS]).await {
                        next += 1;
                        let _ = report.send(status).await;
                    }
                    next += 1;
                }
            });
        }
        let mut counts = std::collections::BTreeMap::<u16, usize>::new();
        while let Some(status) = answers.recv().await {
            *counts.entry(status).or_default() += 1;
            if counts.values().sum::<usize>().is_multiple_of(100) {
                use std::io::Write as _;
                writeln!(std::io::stdout(), "{counts:?}")?;
            }
        }
        Ok(())
    })
}

fn request(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path}?timeout=5s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn connect(tls: &TlsConnector, address: SocketAddr) -> Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(tls.connect(ServerName::try_from("localhost")?, stream).await?)
}

/// Sends a request, reads the complete answer, and returns its status.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> std::io::Result<u16> {
    let broken = std::io::Error::other;
    stream.write_all(request).await?;
    stream.flush().await?;
    let (mut answer, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Err(broken("the server closed the connection"));
        }
        answer.extend_from_slice(&buffer[..read]);
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        if answer.len() >= end + 4 + length.ok_or_else(|| broken("no Content-Length"))? {
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
            return status.ok_or_else(|| broken("no status"));
        }
    }
}

fn row(out: &mut impl std::io::Write, name: &str, mut times: Vec<Duration>) -> Result<()> {
    times.sort_unstable();
    let last = times.len().checked_sub(1).ok_or("nothing was measured")?;
    let millis = |index: usize| times[index.min(last)].as_secs_f64() * 1e3;
    writeln!(
        out,
        "| {name} | {} | {:.2} | {:.2} | {:.2} |",
        times.len(),
        millis(last / 2),
        millis(last * 99 / 100),
        millis(last)
    )?;
    Ok(())
}
