//! Servers in separate processes, pinned to a core, with the kernel's figures for their time and
//! memory.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{Result, constant};

/// The first argument of a process that is already pinned.
pub(crate) const PINNED: &str = "pinned";
const SERVER_CORE: usize = 0;
const START: Duration = Duration::from_secs(20);

/// A server that accepts connections; killed on drop.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// The address of the probes, if it is known.
    pub(crate) ops: Option<SocketAddr>,
    pub(crate) ca: PathBuf,
}

impl Server {
    /// The injector.
    pub(crate) fn injector(directory: &Path, log_level: &str) -> Result<Self> {
        let (address, ca) = (free_address()?, directory.join(format!("ca-{log_level}.pem")));
        let mut command = pinned(SERVER_CORE, env!("CARGO_BIN_EXE_scaivault-injector").as_ref());
        command.args([
            "serve",
            "--tls-self-signed",
            "--ops-listen",
            "127.0.0.1:0",
            "--listen",
            &address.to_string(),
        ]);
        command.arg("--ca-out").arg(&ca).env("LOG_LEVEL", log_level);
        Self::start(command, address, ca)
    }

    /// The injector on all cores, with a known operations port.
    pub(crate) fn with_ops(directory: &Path) -> Result<Self> {
        let (address, ops, ca) = (free_address()?, free_address()?, directory.join("ca-ops.pem"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_scaivault-injector"));
        command.args(["serve", "--tls-self-signed", "--listen", &address.to_string()]);
        command.args(["--ops-listen", &ops.to_string()]).arg("--ca-out").arg(&ca);
        let mut server = Self::start(command, address, ca)?;
        server.ops = Some(ops);
        Ok(server)
    }

    /// The same stack with a constant answer.
    pub(crate) fn constant(directory: &Path, answer: &[u8]) -> Result<Self> {
        let (address, ca, body) =
            (free_address()?, directory.join("ca-constant.pem"), directory.join("answer.json"));
        fs::write(&body, answer)?;
        let mut command = pinned(SERVER_CORE, &std::env::current_exe()?);
        command.arg(constant::MODE).arg(address.to_string()).arg(&ca).arg(&body);
        Self::start(command, address, ca)
    }

    fn start(mut command: Command, address: SocketAddr, ca: PathBuf) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = Self { child, address, ops: None, ca };
        let deadline = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                return Err(format!("the server on {address} does not start").into());
            }
            std::thread::yield_now();
        }
        Ok(server)
    }

    /// User and system time of all its threads.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let running = text.split_whitespace().next().ok_or("schedstat is empty")?;
            nanoseconds += running.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Resident memory.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts this program again, pinned to a core, and waits for it.
pub(crate) fn on_core(core: usize, args: &[String]) -> Result<()> {
    let status = pinned(core, &std::env::current_exe()?).arg(PINNED).args(args).status()?;
    if status.success() { Ok(()) } else { Err("the measurement failed".into()) }
}

fn pinned(core: usize, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(core.to_string()).arg(program);
    command
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
